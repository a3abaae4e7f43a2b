//! What differs between two trees.

use elea_formats::tree::{Content, ContentRef, MetaRef, Node, Tree, walk_both};
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

/// What differs between two trees, by path: folders before what is in them, names in byte order.
pub fn diff(old: &Tree, new: &Tree) -> Vec<Change> {
    let trees = [old, new];
    let names = trees.map(Tree::count_names);
    let mut changes = Vec::new();
    walk_both(old, new, |path, found| {
        let (kind, fields) = match found {
            [None, _] => (Kind::Added, Vec::new()),
            [_, None] => (Kind::Removed, Vec::new()),
            [Some(old), Some(new)] => (Kind::Changed, fields(trees, old, new, &names)),
        };
        if kind != Kind::Changed || !fields.is_empty() {
            let path = shown(path);
            changes.push(Change { path, kind, fields });
        }
    });
    changes
}

fn fields(trees: [&Tree; 2], old: Node, new: Node, names: &[Vec<u32>; 2]) -> Vec<&'static str> {
    match (old, new) {
        (Node::Directory(old), Node::Directory(new)) => {
            meta(&trees[0].meta(old), &trees[1].meta(new))
        }
        (Node::Leaf(old_id), Node::Leaf(new_id)) => {
            let (old, new) = (trees[0].leaf(old_id), trees[1].leaf(new_id));
            let mut fields: Vec<_> = content(&old.content, &new.content).into_iter().collect();
            fields.extend(meta(&old.meta, &new.meta));
            if names[0][old_id.index()] != names[1][new_id.index()] {
                fields.push("links");
            }
            fields
        }
        _ => vec!["type"],
    }
}

fn content(old: &ContentRef<'_>, new: &ContentRef<'_>) -> Option<&'static str> {
    if old == new {
        return None;
    }
    Some(match (old, new) {
        (Content::Symlink(_), Content::Symlink(_)) => "target",
        (old, new) if is_file(old) && is_file(new) => "content",
        (old, new) if std::mem::discriminant(old) == std::mem::discriminant(new) => "content",
        _ => "type",
    })
}

fn is_file(content: &ContentRef<'_>) -> bool {
    matches!(content, Content::Inline(_) | Content::Object { .. })
}

fn meta(old: &MetaRef<'_>, new: &MetaRef<'_>) -> Vec<&'static str> {
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
pub(crate) fn shown(path: &[u8]) -> String {
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

/// The bytes of a path as [`Change`] shows it, if all that looks like an escape is one.
pub fn unescaped(path: &str) -> Vec<u8> {
    let mut parts = path.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).map(|hex| u8::from_str_radix(hex, 16));
        if let Some(Ok(byte)) = byte {
            bytes.push(byte);
            bytes.extend(&part.as_bytes()[2..]);
        } else {
            bytes.extend(b"\\x");
            bytes.extend(part.as_bytes());
        }
    }
    bytes
}

fn escaped(byte: u8) -> Vec<char> {
    format!("\\x{byte:02x}").chars().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::dump;

    #[test]
    fn a_shown_path_has_its_bytes_again() {
        for path in [&b"/etc/a"[..], b"/a\xffb\nc", b"\x80", b"/\\q"] {
            assert_eq!(unescaped(&shown(path)), path);
        }
        assert_eq!(unescaped(r"/dev\x2dsda\xzz\x"), br"/dev-sda\xzz\x");
    }

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
