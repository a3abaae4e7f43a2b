//! What differs between two trees.

use elea_formats::tree::Tree;
use serde::Serialize;

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Both have it, and content or metadata differ.
    Changed,
}

/// A path that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `/usr/bin/sh`; bytes that are not UTF-8 are escaped as `\xNN`.
    pub path: String,
    /// How.
    pub kind: Kind,
    /// What differs: `content`, `mode`, `owner`, `mtime`, `type`, `target`, `xattrs`, `links`.
    pub fields: Vec<&'static str>,
}

/// What differs between two trees, by path.
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let _ = (old, new);
    todo!()
}
