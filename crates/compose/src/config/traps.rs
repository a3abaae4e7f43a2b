//! What is allowed and most likely not meant: warnings, which no command fails by.
//!
//! A trap is looked for where the config alone shows it. What another part of the config may have put right (files of
//! the program's own settings, rules of nft) is left alone: a warning that is wrong teaches people to overlook the others.

mod ports;
mod ssh;

use super::reader::Reader;
use super::{Config, Content, quoted};
use crate::render::Rendered;
use elea_formats::unit::Unit;

/// Looks for all of them.
pub(super) fn look(reader: &mut Reader, config: &Config, rendered: &Rendered) {
    ports::look(reader, config, rendered);
    ssh::look(reader, config);
    upgrades(reader, config);
    not_yet(reader, config);
    health(reader, config);
    devices(reader, config);
    programs(reader, config, rendered);
}

impl Config {
    fn installs(&self, package: &str) -> bool {
        self.packages.install.iter().any(|name| name == package)
    }

    /// Whether something keeps a unit from starting.
    fn stops(&self, unit: &str) -> bool {
        let off = [&self.services.disable, &self.services.mask];
        off.iter().any(|list| list.iter().any(|name| name == unit))
    }

    /// Whether the config has a file at the path, or below it.
    fn writes(&self, path: &str) -> bool {
        let all = self.files.keys().chain(self.templates.keys());
        all.filter_map(|file| file.strip_prefix(path))
            .any(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// What is understood, and that nobody does anything with.
fn not_yet(reader: &mut Reader, config: &Config) {
    for (name, is_there) in [
        ("apps", !config.apps.is_empty()),
        ("boxes", !config.boxes.is_empty()),
    ] {
        if is_there {
            let what =
                format!("`{name}` are read and shown, and this Elea does nothing with them yet");
            let help = "leave them in for a later Elea, or install them by other means";
            reader.warn(config.place(name), what, "not acted on", help);
        }
    }
}

fn upgrades(reader: &mut Reader, config: &Config) {
    let trusts = !config.trust.keys.is_empty() || config.trust.policy.is_some();
    // A machine may have a key that does not come with the image: `writes`.
    if config.update.is_some() && !trusts && !config.writes("/etc/elea") {
        let what = "machines follow `update.reference` and trust nobody who could sign it";
        let help = "add the public key to `trust.keys` (`elea image keygen` makes a pair), or put one into /etc/elea/trust.d on each machine";
        let at = config.place("update.reference");
        reader.warn(at, what, "every upgrade would be refused", help);
    }
}

fn health(reader: &mut Reader, config: &Config) {
    for unit in &config.health.units {
        if config.services.disable.contains(unit) {
            let what = format!("`{unit}` must be active after a boot, and is disabled");
            let off = config.place(&format!("services.disable[{unit}]"));
            let at = config.place(&format!("health.units[{unit}]"));
            let help = "unless another unit starts it, no boot is ever good: take it out of one of the lists";
            reader.warn_of_two(
                at,
                what,
                "must be active",
                off.map(|at| (at, "disabled")),
                help,
            );
        }
    }
}

/// The kernel gives these names in the order in which devices answer.
fn devices(reader: &mut Reader, config: &Config) {
    let mounts = config
        .mounts
        .iter()
        .map(|(path, mount)| (format!("mounts.{}.what", quoted(path)), &mount.what));
    let swap = config.swap.device.iter();
    let all = mounts.chain(swap.map(|device| ("swap.device".to_owned(), device)));
    for (key, device) in all {
        let Some(name) = device.strip_prefix("/dev/") else {
            continue;
        };
        let kinds = ["sd", "vd", "hd", "xvd", "nvme", "mmcblk"];
        if kinds.iter().any(|kind| name.starts_with(kind)) && !name.contains('/') {
            let what = format!("`{device}` may be another device at the next boot");
            let help =
                "name what is on it: `UUID=…` or `LABEL=…`, or for swap a link in /dev/disk/by-id";
            reader.warn(
                config.place(&key),
                what,
                "the order of devices is not fixed",
                help,
            );
        }
    }
}

/// Programs that the config brings itself and that nobody may run.
fn programs(reader: &mut Reader, config: &Config, rendered: &Rendered) {
    for (path, made) in &rendered.files {
        let is_service = path.ends_with(".service");
        let text = match &made.file.content {
            Content::Text(text) if is_service => text,
            _ => continue,
        };
        let Ok(unit) = Unit::parse(text.as_bytes()) else {
            continue;
        };
        for program in [
            "ExecStart",
            "ExecStartPre",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
        ]
        .iter()
        .flat_map(|name| unit.values("Service", name))
        .filter_map(|line| program_of(line))
        {
            let Some(file) = config.files.get(program) else {
                continue;
            };
            let is_plain = matches!(file.content, Content::Text(_) | Content::Copy(_));
            if is_plain && file.mode & 0o111 == 0 {
                let what = format!(
                    "{program} is started by `{}`, and nobody may run it",
                    made.key
                );
                let key = format!("files.{program:?}");
                let at = config
                    .place(&format!("{key}.mode"))
                    .or_else(|| config.place(&key));
                let other = config.place(&made.key).map(|at| (at, "started here"));
                let label = format!("its mode is {:04o}", file.mode);
                reader.warn_of_two(at, what, &label, other, "add `mode = \"0755\"`");
            }
        }
    }
}

/// The program of a command line (systemd.service(5)), if it is named by its path.
fn program_of(line: &str) -> Option<&str> {
    let line = line.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    let word = line.split_ascii_whitespace().next()?;
    let word = word.trim_matches(['"', '\'']);
    word.starts_with('/').then_some(word)
}

#[cfg(test)]
mod tests;
