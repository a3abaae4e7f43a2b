//! `[secrets]`: encrypted credentials, and drop-ins that hand them to units (systemd.exec(5), "Credentials").

use super::Rendered;
use super::units::FOLDER;
use crate::config::{Config, Content};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const STORE: &str = "/etc/credstore.encrypted";

pub(super) fn render(config: &Config, out: &mut Rendered) {
    let mut units: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, secret) in &config.secrets {
        let key = format!("secrets.{}", crate::config::quoted(name));
        let content = Content::Copy(secret.from.clone());
        out.content(&key, format!("{STORE}/{name}"), content, 0o600);
        for unit in &secret.units {
            units.entry(unit).or_default().push(name);
        }
    }
    if !config.secrets.is_empty() {
        out.content("secrets", STORE, Content::Folder, 0o700);
    }
    for (unit, names) in units {
        let (_, kind) = unit.rsplit_once('.').unwrap_or_default();
        let section = match kind {
            "socket" => "Socket",
            "mount" => "Mount",
            "swap" => "Swap",
            _ => "Service",
        };
        let mut text = format!("# From [secrets] of the config.\n[{section}]\n");
        for name in names {
            // Writing to a string does not fail.
            let _ = writeln!(text, "LoadCredentialEncrypted={name}:{STORE}/{name}");
        }
        out.text(
            "secrets",
            format!("{FOLDER}/{unit}.d/60-elea-secrets.conf"),
            text,
        );
    }
}
