//! `[update]`: where upgrades come from, and when a machine takes them by itself.

use super::super::check;
use super::super::reader::{Fields, Located, Reader};
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::release::Source;
use serde::Serialize;

/// `[update]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Update {
    /// What machines follow.
    #[serde(flatten)]
    pub source: Source,
    /// The tag that they follow, if it was said apart from the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
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
    let tag: fn(&str) -> bool = |text| {
        let parsed = format!("registry:host/name:{text}").parse::<Reference>();
        parsed.is_ok_and(|r| tag_of(&r).is_some_and(|tag| tag == text))
    };
    let channel = reader.checked(f, "channel", tag, "a tag such as stable");
    let text = match (text, &channel) {
        (Some(text), Some(channel)) => Some(followed(reader, text, channel)),
        (text, _) => text,
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
        channel: channel.map(|l| l.value),
        automatic,
        window: automatic.then(|| window.map_or_else(|| "daily".into(), |l| l.value)),
        reboot: reboot.unwrap_or(false),
    })
}

fn tag_of(reference: &Reference) -> Option<&str> {
    match reference {
        Reference::Registry(location) => match &location.target {
            Target::Tag(tag) => Some(tag),
            Target::Digest(_) => None,
        },
        _ => None,
    }
}

/// The reference with the channel as its tag, which must not name another one.
fn followed(
    reader: &mut Reader,
    mut text: Located<String>,
    channel: &Located<String>,
) -> Located<String> {
    let parsed = text.value.parse::<Reference>().ok();
    let tag = parsed.as_ref().and_then(tag_of);
    let is_written = tag.is_some_and(|tag| text.value.ends_with(&format!(":{tag}")));
    if tag.is_some() && !is_written {
        text.value = format!("{}:{}", text.value, channel.value);
    } else if tag != Some(&channel.value) {
        let what = "`update.reference` says itself what machines follow, and not this channel";
        reader.problem_of_two(
            channel.at,
            what,
            "the channel",
            text.at,
            "a tag or a digest",
        );
    }
    text
}
