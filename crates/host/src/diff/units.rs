//! Units that two systems have, and which of them start.

use crate::live::{FOLDERS, Files, Found, Units};
use elea_formats::unit::{Name, Unit};
use serde::Serialize;
use std::collections::BTreeSet;
use std::rc::Rc;

/// What differs between the units of two systems. A unit is what its file and its drop-ins say together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct UnitChanges {
    /// Only the new one has them.
    pub added: Vec<String>,
    /// Only the old one has them; or the new one has them masked.
    pub removed: Vec<String>,
    /// Both have them, with other settings.
    pub changed: Vec<String>,
    /// Others want or require them by links in the new one alone.
    pub enabled: Vec<String>,
    /// The same in the old one alone.
    pub disabled: Vec<String>,
}

/// Compares them.
pub(super) fn changes(old: Files, new: Files) -> UnitChanges {
    let names: BTreeSet<String> = [&old, &new].into_iter().flat_map(names).collect();
    let old = Units::new(old);
    let new = old.beside(new);
    let started = |units: &Units| -> BTreeSet<String> {
        names.iter().flat_map(|name| units.linked(name)).collect()
    };
    let (started_before, started_now) = (started(&old), started(&new));
    let mut changes = UnitChanges::default();
    for name in names.clone() {
        // An alias is told under the name that it stands for.
        if old.canonical(&name) != name || new.canonical(&name) != name {
            continue;
        }
        match (started_before.contains(&name), started_now.contains(&name)) {
            (false, true) => changes.enabled.push(name.clone()),
            (true, false) => changes.disabled.push(name.clone()),
            _ => {}
        }
        match (defined(&old, &name), defined(&new, &name)) {
            (None, Some(_)) => changes.added.push(name),
            (Some(_), None) => changes.removed.push(name),
            (Some(a), Some(b)) if a != b => changes.changed.push(name),
            _ => {}
        }
    }
    changes
}

/// The names that stand in the folders of units.
fn names(files: &Files) -> BTreeSet<String> {
    let listed = FOLDERS.iter().flat_map(|folder| files.list(folder));
    let names = listed.map(|(name, _)| name.to_owned());
    names.filter(|name| Name::parse(name).is_ok()).collect()
}

/// What a unit says; one that cannot be read says that.
fn defined(units: &Units, name: &str) -> Option<Result<Rc<Unit>, String>> {
    match units.get(name) {
        Ok(Found::Defined(definition)) => Some(Ok(Rc::clone(&definition.unit))),
        Ok(Found::Missing | Found::Masked) => None,
        Err(e) => Some(Err(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Entry;

    fn files(entries: &[(&str, &str)]) -> Files {
        let mut files = Files::new();
        for (path, text) in entries {
            let entry = match text.strip_prefix("-> ") {
                Some(target) => Entry::Link(target.to_owned()),
                None => Entry::File(text.as_bytes().to_vec()),
            };
            files.insert(path, entry);
        }
        files
    }

    #[test]
    fn units_come_go_change_start_and_stop_starting() {
        let service = |arguments: &str| format!("[Service]\nExecStart=/bin/x {arguments}\n");
        let lib = "/usr/lib/systemd/system";
        let wants = "/etc/systemd/system/multi-user.target.wants";
        let (a, b) = (service("a"), service("b"));
        let old = files(&[
            (&format!("{lib}/gone.service"), &a),
            (&format!("{lib}/same.service"), &a),
            (&format!("{lib}/other.service"), &a),
            (&format!("{lib}/dropped.service"), &a),
            (&format!("{lib}/masked.service"), &a),
            (&format!("{lib}/multi-user.target"), "[Unit]\n"),
            (
                &format!("{wants}/same.service"),
                "-> /usr/lib/systemd/system/same.service",
            ),
        ]);
        let new = files(&[
            (
                &format!("{lib}/same.service"),
                &format!("# A comment.\n{a}"),
            ),
            (&format!("{lib}/other.service"), &b),
            (&format!("{lib}/dropped.service"), &a),
            (
                &format!("{lib}/dropped.service.d/x.conf"),
                "[Unit]\nAfter=y.service\n",
            ),
            (&format!("{lib}/masked.service"), &a),
            ("/etc/systemd/system/masked.service", "-> /dev/null"),
            (&format!("{lib}/multi-user.target"), "[Unit]\n"),
            (&format!("{lib}/new.service"), &a),
            (
                "/etc/systemd/system/alias.service",
                "-> /usr/lib/systemd/system/new.service",
            ),
            (
                &format!("{wants}/new.service"),
                "-> /usr/lib/systemd/system/new.service",
            ),
        ]);
        let found = changes(old.clone(), new);
        let words = |list: &[String]| list.join(" ");
        assert_eq!(words(&found.added), "new.service");
        assert_eq!(words(&found.removed), "gone.service masked.service");
        assert_eq!(words(&found.changed), "dropped.service other.service");
        assert_eq!(words(&found.enabled), "new.service");
        assert_eq!(words(&found.disabled), "same.service");
        assert_eq!(changes(old.clone(), old), UnitChanges::default());
    }
}
