//! `[update]`: where upgrades come from, and when a machine takes them by itself.

use super::super::check;
use super::super::reader::{Fields, Reader};
use elea_formats::oci::reference::Reference;
use elea_formats::release::Source;
use serde::Serialize;

/// `[update]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// What machines follow.
    #[serde(flatten)]
    pub source: Source,
    /// Whether they upgrade by themselves.
    pub automatic: bool,
    /// When they do: a calendar event of systemd.time(7); none where they do not.
    pub window: Option<String>,
    /// Whether they reboot then, if that is needed.
    pub reboot: bool,
}

/// Reads `[update]`; none if there is no such table.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> Option<Update> {
    let mut fields = reader.table(top, "update");
    let f = &mut fields;
    let reference: fn(&str) -> bool = |text| {
        text.parse::<Reference>()
            .is_ok_and(|r| matches!(r, Reference::Registry(_)))
    };
    let rule = "registry:HOST/NAME:TAG";
    let text = reader.checked(f, "reference", reference, rule);
    let text = if f.at.is_some() {
        let example = "\"registry:HOST/NAME:TAG\"";
        reader.needed(text, f, "reference", example)
    } else {
        text
    };
    let plain = reader.boolean(f, "plain_http");
    let automatic = reader.boolean(f, "automatic").unwrap_or(false);
    let rule = "a calendar event such as daily or Sun 03:00";
    let window = reader.checked(f, "window", check::times::calendar, rule);
    let reboot = reader.boolean(f, "reboot");
    for (key, there) in [
        ("window", window.is_some()),
        ("reboot", reboot == Some(true)),
    ] {
        if there && !automatic {
            let what = format!("`update.{key}` is of automatic upgrades");
            let help = "add `automatic = true`".to_owned();
            reader.problem(f.at, what, "there are none", Some(help));
        }
    }
    reader.finish(&fields);
    text.map(|text| Update {
        source: Source {
            reference: text.value,
            plain_http: plain.unwrap_or(false),
        },
        automatic,
        window: automatic.then(|| window.map_or_else(|| "daily".into(), |l| l.value)),
        reboot: reboot.unwrap_or(false),
    })
}
