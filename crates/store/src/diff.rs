//! What differs between two trees.

use elea_formats::tree::{Content, Directory, Entry, LeafId, Meta, Node, Tree};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

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

/// A tree and how many names each of its leaves has.
struct Side<'t> {
    tree: &'t Tree,
    links: HashMap<LeafId, usize>,
}

struct Differ<'t> {
    old: Side<'t>,
    new: Side<'t>,
    path: Vec<u8>,
    changes: Vec<Change>,
}

/// What differs between two trees, by path: folders before what is in them, names in byte order.
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let mut differ = Differ {
        old: Side::new(old),
        new: Side::new(new),
        path: Vec::new(),
        changes: Vec::new(),
    };
    let fields = meta(&old.root.meta, &new.root.meta);
    differ.changed(fields);
    differ.folders(Some(&old.root), Some(&new.root));
    differ.changes
}

impl<'t> Side<'t> {
    fn new(tree: &'t Tree) -> Self {
        let mut links = HashMap::new();
        let Ok(()) = tree.walk(|_, entry| {
            if let Entry::Leaf(id, _) = entry {
                *links.entry(id).or_insert(0) += 1;
            }
            Ok::<(), Infallible>(())
        });
        Self { tree, links }
    }
}

impl<'t> Differ<'t> {
    fn folders(&mut self, old: Option<&'t Directory>, new: Option<&'t Directory>) {
        let keys =
            |folder: Option<&'t Directory>| folder.into_iter().flat_map(|f| f.entries.keys());
        let names: BTreeSet<&Vec<u8>> = keys(old).chain(keys(new)).collect();
        for name in names {
            let length = self.path.len();
            self.path.push(b'/');
            self.path.extend_from_slice(name);
            self.nodes(
                old.and_then(|folder| folder.entries.get(name)),
                new.and_then(|folder| folder.entries.get(name)),
            );
            self.path.truncate(length);
        }
    }

    fn nodes(&mut self, old: Option<&'t Node>, new: Option<&'t Node>) {
        match (old, new) {
            (None, Some(_)) => self.push(Kind::Added, Vec::new()),
            (Some(_), None) => self.push(Kind::Removed, Vec::new()),
            (Some(Node::Directory(old)), Some(Node::Directory(new))) => {
                self.changed(meta(&old.meta, &new.meta));
            }
            (Some(Node::Leaf(old)), Some(Node::Leaf(new))) => {
                let fields = self.leaves(*old, *new);
                self.changed(fields);
            }
            (Some(_), Some(_)) => self.changed(vec!["type"]),
            (None, None) => {}
        }
        let folder = |node: Option<&'t Node>| match node {
            Some(Node::Directory(folder)) => Some(folder),
            _ => None,
        };
        self.folders(folder(old), folder(new));
    }

    fn leaves(&self, old: LeafId, new: LeafId) -> Vec<&'static str> {
        let (a, b) = (self.old.tree.leaf(old), self.new.tree.leaf(new));
        let mut fields = Vec::new();
        if std::mem::discriminant(&a.content) == std::mem::discriminant(&b.content) {
            if a.content != b.content {
                fields.push(match a.content {
                    Content::Symlink(_) => "target",
                    _ => "content",
                });
            }
        } else if is_file(&a.content) && is_file(&b.content) {
            fields.push("content");
        } else {
            fields.push("type");
        }
        fields.extend(meta(&a.meta, &b.meta));
        if self.old.links[&old] != self.new.links[&new] {
            fields.push("links");
        }
        fields
    }

    fn changed(&mut self, fields: Vec<&'static str>) {
        if !fields.is_empty() {
            self.push(Kind::Changed, fields);
        }
    }

    fn push(&mut self, kind: Kind, fields: Vec<&'static str>) {
        let path = if self.path.is_empty() {
            "/".to_owned()
        } else {
            shown(&self.path)
        };
        self.changes.push(Change { path, kind, fields });
    }
}

fn is_file(content: &Content) -> bool {
    matches!(content, Content::Inline(_) | Content::Object { .. })
}

fn meta(old: &Meta, new: &Meta) -> Vec<&'static str> {
    let differs = [
        ("mode", old.mode != new.mode),
        ("owner", (old.uid, old.gid) != (new.uid, new.gid)),
        ("mtime", old.mtime != new.mtime),
        ("xattrs", old.xattrs != new.xattrs),
    ];
    differs
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
}

/// A path as text: what is not UTF-8, and control characters, as `\xNN`.
fn shown(path: &[u8]) -> String {
    let mut out = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() {
                out.extend(c.to_string().bytes().flat_map(escaped));
            } else {
                out.push(c);
            }
        }
        out.extend(chunk.invalid().iter().copied().flat_map(escaped));
    }
    out
}

fn escaped(byte: u8) -> Vec<char> {
    format!("\\x{byte:02x}").chars().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::dump;

    #[test]
    fn every_kind_of_change_is_told() {
        let old = "\
/ 0 40755 4 0 0 0 1.0 - - -
/a 3 100644 1 0 0 0 1.0 - abc -
/b 3 100644 1 0 0 0 1.0 - abc -
/c 0 40755 2 0 0 0 1.0 - - -
/c/inside 0 100644 1 0 0 0 1.0 - - -
/d 1 120777 1 0 0 0 1.0 x - -
/gone 0 40755 2 0 0 0 1.0 - - -
/gone/too 0 100644 1 0 0 0 1.0 - - -
/h 1 100644 2 0 0 0 1.0 - h -
/i 0 @120000 - - - - 0.0 /h - -
/same 3 100644 1 0 0 0 1.0 - abc - user.x=y
";
        let new = "\
/ 0 40755 4 0 0 0 2.0 - - -
/a 3 100644 1 0 0 0 1.0 - abd -
/b 3 104755 1 1 0 0 2.0 - abc - user.x=y
/c 1 120777 1 0 0 0 1.0 x - -
/d 1 120777 1 0 0 0 1.0 y - -
/h 1 100644 1 0 0 0 1.0 - h -
/new 0 40755 2 0 0 0 1.0 - - -
/new/\\xff\\n 0 100644 1 0 0 0 1.0 - - -
/same 3 100644 1 0 0 0 1.0 - abc - user.x=y
";
        let tree = |text: &str| dump::parse(text.as_bytes()).unwrap();
        let found: Vec<String> = diff(&tree(old), &tree(new))
            .into_iter()
            .map(|c| format!("{:?} {} {}", c.kind, c.path, c.fields.join(",")))
            .collect();
        assert_eq!(
            found,
            [
                "Changed / mtime",
                "Changed /a content",
                "Changed /b mode,owner,mtime,xattrs",
                "Changed /c type",
                "Removed /c/inside ",
                "Changed /d target",
                "Removed /gone ",
                "Removed /gone/too ",
                "Changed /h links",
                "Removed /i ",
                "Added /new ",
                "Added /new/\\xff\\x0a ",
            ]
        );
        assert!(diff(&tree(old), &tree(old)).is_empty());
    }
}
