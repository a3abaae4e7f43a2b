//! What differs between two locks.

use super::{Lock, Package};
use crate::debian::version;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What differs between two locks, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Packages that only the new one has.
    pub added: Vec<Package>,
    /// Packages that only the old one has.
    pub removed: Vec<Package>,
    /// Packages that both have, and not with the same file; the loader's too.
    pub changed: Vec<Change>,
}

/// A package with another file than before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// `upgrade`, `downgrade`, or `rebuild` for another file of the same version.
    pub kind: &'static str,
    /// The old version.
    pub from: String,
    /// The new version.
    pub to: String,
    /// The size of the old file in bytes.
    pub old_size: u64,
    /// The size of the new file in bytes.
    pub size: u64,
}

impl Changes {
    /// Whether the locks have the same packages.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// What differs. Without an old lock everything is new.
pub fn changes(old: Option<&Lock>, new: &Lock) -> Changes {
    let index = |lock: &Lock| -> BTreeMap<String, Package> {
        let list = lock.all();
        list.map(|p| (p.name.clone(), p.clone())).collect()
    };
    let mut old = old.map(index).unwrap_or_default();
    let mut out = Changes::default();
    for (name, to) in index(new) {
        match old.remove(&name) {
            None => out.added.push(to),
            Some(from) if from.sha256 == to.sha256 => {}
            Some(from) => out.changed.push(Change {
                name,
                kind: match version::compare(&from.version, &to.version) {
                    Ordering::Less => "upgrade",
                    Ordering::Greater => "downgrade",
                    Ordering::Equal => "rebuild",
                },
                from: from.version,
                to: to.version,
                old_size: from.size,
                size: to.size,
            }),
        }
    }
    out.removed = old.into_values().collect();
    out
}
