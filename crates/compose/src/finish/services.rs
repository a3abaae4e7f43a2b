//! Which units start: what packages chose, then Elea's, then what the config says.

use super::tree::Tree;
use super::{Job, enable, units};
use crate::config::Config;
use crate::lock::Error;
use crate::render;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Units that packages start and that have nothing to do on an image: there is nothing to
/// install, the package database never changes, and e2scrub needs LVM.
const OFF: [&str; 5] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
];

const PRESET: &str = "usr/lib/systemd/system-preset/00-elea.preset";

/// Enables, disables and masks, then writes the presets that say the same.
pub(super) fn settle(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let services = &job.config.services;
    let made = render::render(job.config).units;
    known(job.config, tree, &made)?;
    let off: Vec<&str> = OFF
        .into_iter()
        .filter(|unit| exists(tree, unit) && !services.enable.iter().any(|u| u == unit))
        .chain(services.disable.iter().map(String::as_str))
        .collect();
    let ours: Vec<&str> = units::enabled().collect();
    let on: Vec<&str> = ours
        .into_iter()
        .filter(|unit| !services.disable.iter().any(|u| u == unit))
        .chain(services.enable.iter().map(String::as_str))
        .chain(made.keys().map(String::as_str))
        .collect();
    let mask: Vec<&str> = services.mask.iter().map(String::as_str).collect();
    enable::disable(tree, &off)?;
    enable::enable(tree, &on)?;
    enable::mask(tree, &mask)?;
    let presets = presets(&enable::states(tree)?);
    tree.put(PRESET, presets.as_bytes())
}

/// Presets after which `systemctl preset-all` changes nothing.
fn presets(states: &BTreeMap<String, bool>) -> String {
    let line = |(unit, on): (&String, &bool)| {
        let word = if *on { "enable" } else { "disable" };
        format!("{word} {unit}")
    };
    let mut lines: Vec<String> = states.iter().map(line).collect();
    lines.sort();
    let mut out =
        String::from("# What this image starts, so that `systemctl preset-all` changes nothing.\n");
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Every unit that the config names must be there.
pub(super) fn known(
    config: &Config,
    tree: &Tree<'_>,
    made: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let lists = [
        ("services.enable", &config.services.enable),
        ("services.disable", &config.services.disable),
        ("services.mask", &config.services.mask),
        ("health.units", &config.health.units),
    ];
    let mut wrong = Vec::new();
    for (key, list) in lists {
        for unit in list.iter().filter(|unit| !exists(tree, unit)) {
            let help = "add its file or the package that brings it".to_owned();
            wrong.push((
                format!("{key}[{unit}]"),
                format!("the image has no unit `{unit}`"),
                Some(help),
            ));
        }
    }
    for (unit, key) in made.iter().filter(|(unit, _)| !exists(tree, unit)) {
        let what = format!("the image has no unit `{unit}`, which `{key}` starts");
        let help = "add the package that brings it".to_owned();
        wrong.push((key.clone(), what, Some(help)));
    }
    let bare = config.units.iter().filter(|(_, unit)| !unit.has_text());
    for (unit, _) in bare.filter(|(unit, _)| !exists(tree, unit) && !made.contains_key(*unit)) {
        let what = format!("the image has no unit `{unit}` that could read files");
        let help = "add its file or the package that brings it".to_owned();
        wrong.push((format!("units.{unit:?}"), what, Some(help)));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Config(config.errors(wrong)))
    }
}

fn exists(tree: &Tree<'_>, unit: &str) -> bool {
    enable::exists(tree, unit) || made_by_systemd(unit)
}

/// Units that generators make at each boot.
fn made_by_systemd(unit: &str) -> bool {
    matches!(unit.rsplit_once('.'), Some((_, "mount" | "swap")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_say_what_is_so() {
        let states = [("ssh.service", true), ("b.timer", false)];
        let states = states.map(|(unit, on)| (unit.to_owned(), on)).into();
        let text = presets(&states);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines, ["disable b.timer", "enable ssh.service"]);
    }
}
