//! What a unit that changed needs.

use super::Unit;
use std::collections::{BTreeMap, BTreeSet};

/// What a running unit needs to become another version of itself, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// They say the same; only `[Install]` may differ, which is for `systemctl enable`.
    None,
    /// What changed is read by the manager alone (descriptions, what may be started by hand):
    /// a daemon-reload is enough.
    Manager,
    /// The unit can take the change by a reload.
    Reload,
    /// Anything else.
    Restart,
}

/// Settings of `[Unit]` that no process of the unit sees.
const MANAGERS: &[&str] = &[
    "AllowIsolate",
    "CollectMode",
    "Description",
    "Documentation",
    "IgnoreOnIsolate",
    "OnFailure",
    "OnFailureJobMode",
    "OnSuccess",
    "RefuseManualStart",
    "RefuseManualStop",
    "SourcePath",
    "StopWhenUnneeded",
    // What they name is looked at, not how.
    "X-Reload-On",
    "X-Restart-On",
];

impl Unit {
    /// Compares with a newer version, as NixOS's `switch-to-configuration` does: reload
    /// triggers (`[Unit] X-Reload-Triggers`), an `ExecReload=` that is new or another one, and
    /// other options of a mount are taken by a reload; a trigger or an `ExecReload=` that is
    /// gone needs nothing.
    pub fn compare(&self, new: &Self) -> Difference {
        let sections: BTreeSet<&String> = self.sections.keys().chain(new.sections.keys()).collect();
        let empty = BTreeMap::new();
        sections
            .into_iter()
            .filter(|section| *section != "Install")
            .map(|section| {
                let old = self.sections.get(section).unwrap_or(&empty);
                let new = new.sections.get(section).unwrap_or(&empty);
                settings(section, old, new)
            })
            .max()
            .unwrap_or(Difference::None)
    }
}

type Settings = BTreeMap<String, Vec<String>>;

fn settings(section: &str, old: &Settings, new: &Settings) -> Difference {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .map(|key| setting(section, key, old.get(key), new.get(key)))
        .max()
        .unwrap_or(Difference::None)
}

fn setting(
    section: &str,
    key: &str,
    old: Option<&Vec<String>>,
    new: Option<&Vec<String>>,
) -> Difference {
    if old == new {
        return Difference::None;
    }
    match (section, key) {
        ("Unit", "X-Reload-Triggers") | ("Service", "ExecReload") => {
            if new.is_none_or(Vec::is_empty) {
                Difference::Manager
            } else {
                Difference::Reload
            }
        }
        ("Mount", "Options") if old.is_some() && new.is_some() => Difference::Reload,
        ("Unit", key) if MANAGERS.contains(&key) => Difference::Manager,
        _ => Difference::Restart,
    }
}
