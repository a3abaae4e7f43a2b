//! Why two trees have two digests: every field that differs, and what the form `os-1` does to it.

use crate::diff::shown;
use elea_formats::digest::Algorithm;
use elea_formats::form::{Form, INLINE_LIMIT, Property, Rule, canonical};
use elea_formats::tree::{Content, ContentRef, LeafId, MetaRef, Node, Tree, walk_both};
use elea_formats::verity;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;

/// At most so many bytes of a value are shown.
const SHOWN: usize = 80;
/// At most so many names of an inode are shown.
const NAMES: usize = 4;

/// A field that differs at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `/usr/bin/sh`; bytes that are not UTF-8 are escaped as `\xNN`.
    pub path: String,
    /// `type`, `content`, `place`, `target`, `device`, `mode`, `uid`, `gid`, `mtime`, `links`, or
    /// `xattr` and a name.
    pub field: String,
    /// What the first tree has; none if it has nothing there.
    pub a: Option<String>,
    /// What the second tree has.
    pub b: Option<String>,
    /// The rule of `os-1` that evens it out; none if it stays in that form.
    pub rule: Option<Rule>,
}

/// How two trees stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// They are the same.
    Same,
    /// The second is the form `os-1` of the first.
    FormOfA,
    /// The first is the form `os-1` of the second.
    FormOfB,
    /// Neither is in the form `os-1`, and in it they are the same.
    SameInForm,
    /// They are two trees in every form.
    Different,
}

/// Why two trees have two digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// How they stand to each other.
    pub verdict: Verdict,
    /// Every field that differs; folders before what is in them.
    pub differences: Vec<Difference>,
}

/// A field that differs, before it is known what the form does to it.
struct Raw {
    path: Vec<u8>,
    field: Field,
    values: [Option<String>; 2],
    rule: Option<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Field {
    Type,
    Content,
    Place,
    Target,
    Device,
    Mode,
    Uid,
    Gid,
    Mtime,
    Xattr(Vec<u8>),
    Links,
}

/// Compares two trees field by field, as they are and in the form `os-1`. They name objects by the same
/// algorithm.
pub fn explain(a: &Tree, b: &Tree) -> Explanation {
    let found = compare(a, b);
    let (mut form_a, mut form_b) = (a.clone(), b.clone());
    canonical(&mut form_a, Form::Os1);
    canonical(&mut form_b, Form::Os1);
    // Where content stands is a rule that `canonical` leaves to those who have the content.
    let stays = |raw: &Raw| raw.field != Field::Place;
    let left = compare(&form_a, &form_b);
    let left: HashSet<(&[u8], &Field)> = left
        .iter()
        .filter(|raw| stays(raw))
        .map(|raw| (raw.path.as_slice(), &raw.field))
        .collect();
    let verdict = if found.is_empty() {
        Verdict::Same
    } else if !left.is_empty() {
        Verdict::Different
    } else if is_placed(b) && !compare(&form_a, b).iter().any(stays) {
        Verdict::FormOfA
    } else if is_placed(a) && !compare(a, &form_b).iter().any(stays) {
        Verdict::FormOfB
    } else {
        Verdict::SameInForm
    };
    let differences = found.into_iter().map(|raw| {
        let stays = left.contains(&(raw.path.as_slice(), &raw.field));
        let [a, b] = raw.values;
        Difference {
            path: shown(&raw.path),
            field: raw.field.name(),
            a,
            b,
            rule: if stays { None } else { raw.rule },
        }
    });
    Explanation {
        verdict,
        differences: differences.collect(),
    }
}

/// Whether content stands where the form has it.
fn is_placed(tree: &Tree) -> bool {
    tree.leaves().all(|id| match tree.content(id) {
        Content::Inline(bytes) => bytes.len() <= INLINE_LIMIT,
        Content::Object { size, .. } => size > INLINE_LIMIT as u64,
        _ => true,
    })
}

impl Field {
    fn name(&self) -> String {
        match self {
            Self::Type => "type".into(),
            Self::Content => "content".into(),
            Self::Place => "place".into(),
            Self::Target => "target".into(),
            Self::Device => "device".into(),
            Self::Mode => "mode".into(),
            Self::Uid => "uid".into(),
            Self::Gid => "gid".into(),
            Self::Mtime => "mtime".into(),
            Self::Xattr(name) => format!("xattr {}", shown(name)),
            Self::Links => "links".into(),
        }
    }
}

/// The names of the leaves that have several.
type Groups = HashMap<LeafId, Vec<Vec<u8>>>;

fn groups(tree: &Tree) -> Groups {
    let names = tree.count_names();
    let mut groups = Groups::new();
    let Ok(()) = tree.walk(|path, node| {
        if let Node::Leaf(id) = node
            && names[id.index()] > 1
        {
            groups.entry(id).or_default().push(path.to_vec());
        }
        Ok::<(), Infallible>(())
    });
    groups
}

fn compare(a: &Tree, b: &Tree) -> Vec<Raw> {
    let groups = [groups(a), groups(b)];
    // Each pair of inodes is compared once, however many names it has.
    let mut same: HashMap<(LeafId, LeafId), bool> = HashMap::new();
    let mut found = Vec::new();
    walk_both(a, b, |path, nodes| {
        let mut at = At {
            path,
            algorithm: a.algorithm(),
            found: &mut found,
        };
        match nodes {
            [Some(Node::Directory(id_a)), Some(Node::Directory(id_b))] => {
                at.meta(&a.meta(id_a), &b.meta(id_b), false);
            }
            [Some(Node::Leaf(id_a)), Some(Node::Leaf(id_b))]
                if kind(&a.content(id_a)) == kind(&b.content(id_b)) =>
            {
                let (leaf_a, leaf_b) = (a.leaf(id_a), b.leaf(id_b));
                at.content(&leaf_a.content, &leaf_b.content);
                let link = matches!(leaf_a.content, Content::Symlink(_));
                at.meta(&leaf_a.meta, &leaf_b.meta, link);
                let names = [groups[0].get(&id_a), groups[1].get(&id_b)];
                if names == [None, None] {
                    return;
                }
                let same = same
                    .entry((id_a, id_b))
                    .or_insert_with(|| names[0] == names[1]);
                if !*same {
                    at.push(Field::Links, names.map(|n| Some(group(n))), Property::Names);
                }
            }
            [on_a, on_b] => {
                let described = [on_a.map(|n| described(a, n)), on_b.map(|n| described(b, n))];
                at.push(Field::Type, described, Property::Type);
            }
        }
    });
    found
}

/// A path at which fields are compared.
struct At<'f> {
    path: &'f [u8],
    /// What both trees name objects by.
    algorithm: Algorithm,
    found: &'f mut Vec<Raw>,
}

impl At<'_> {
    fn push(&mut self, field: Field, values: [Option<String>; 2], property: Property<'_>) {
        self.found.push(Raw {
            path: self.path.to_vec(),
            field,
            values,
            rule: Rule::about(self.path, property),
        });
    }

    /// A field that both have.
    fn field<T: PartialEq>(
        &mut self,
        field: Field,
        [a, b]: [T; 2],
        property: Property<'_>,
        text: impl Fn(&T) -> String,
    ) {
        if a != b {
            self.push(field, [Some(text(&a)), Some(text(&b))], property);
        }
    }

    fn meta(&mut self, a: &MetaRef<'_>, b: &MetaRef<'_>, link: bool) {
        let octal = |mode: &u32| format!("{mode:04o}");
        let mode = Property::Mode { link };
        self.field(Field::Mode, [a.mode, b.mode], mode, octal);
        self.field(Field::Uid, [a.uid, b.uid], Property::Other, u32::to_string);
        self.field(Field::Gid, [a.gid, b.gid], Property::Other, u32::to_string);
        self.field(Field::Mtime, [a.mtime, b.mtime], Property::Time, |time| {
            format!("{}.{:09}", time.seconds, time.nanoseconds)
        });
        let names: BTreeSet<&[u8]> = [a, b]
            .into_iter()
            .flat_map(|meta| meta.xattrs.iter().map(|(name, _)| name))
            .collect();
        for name in names {
            let values = [a.xattrs.get(name), b.xattrs.get(name)];
            if values[0] != values[1] {
                let values = values.map(|value| value.map(bounded));
                self.push(
                    Field::Xattr(name.to_vec()),
                    values,
                    Property::Attribute(name),
                );
            }
        }
    }

    fn content(&mut self, a: &ContentRef<'_>, b: &ContentRef<'_>) {
        match (a, b) {
            (Content::Symlink(a), Content::Symlink(b)) => {
                self.field(Field::Target, [a, b], Property::Other, |t| bounded(t));
            }
            (Content::CharDevice(a), Content::CharDevice(b))
            | (Content::BlockDevice(a), Content::BlockDevice(b)) => {
                self.field(Field::Device, [*a, *b], Property::Other, |n| device(*n));
            }
            (a, b) if a != b => {
                // By the digest that each has as an object, wherever it stands.
                let digests = [a, b].map(|content| file(content, self.algorithm));
                if digests[0] == digests[1] {
                    let place = |content: &ContentRef<'_>| match content {
                        Content::Inline(_) => "in the image".to_owned(),
                        _ => "object".to_owned(),
                    };
                    let places = [a, b].map(|content| Some(place(content)));
                    self.push(Field::Place, places, Property::Place);
                } else {
                    self.push(Field::Content, digests, Property::Other);
                }
            }
            _ => {}
        }
    }
}

/// A file's size and fs-verity digest.
fn file(content: &ContentRef<'_>, algorithm: Algorithm) -> Option<String> {
    match content {
        Content::Inline(bytes) => {
            let digest = verity::measure(algorithm, bytes);
            Some(format!("{} bytes, {digest}", bytes.len()))
        }
        Content::Object { digest, size } => Some(format!("{size} bytes, {digest}")),
        _ => None,
    }
}

fn kind(content: &ContentRef<'_>) -> &'static str {
    match content {
        Content::Inline(_) | Content::Object { .. } => "file",
        Content::Symlink(_) => "symbolic link",
        Content::BlockDevice(_) => "block device",
        Content::CharDevice(0) => "whiteout",
        Content::CharDevice(_) => "character device",
        Content::Fifo => "pipe",
        Content::Socket => "socket",
    }
}

fn described(tree: &Tree, node: Node) -> String {
    match node {
        Node::Directory(_) => "directory".into(),
        Node::Leaf(id) => kind(&tree.content(id)).into(),
    }
}

fn device(number: u64) -> String {
    // The kernel's encoding in 32 bits (`linux/kdev_t.h`, `new_encode_dev`).
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    format!("{major}:{minor}")
}

fn bounded(value: &[u8]) -> String {
    if value.len() <= SHOWN {
        return value.escape_ascii().to_string();
    }
    let head = value[..SHOWN].escape_ascii();
    let digest = elea_formats::digest::Sha256::of(value);
    format!(
        "{head}… ({} bytes, SHA-256 {})",
        value.len(),
        digest.short()
    )
}

fn group(names: Option<&Vec<Vec<u8>>>) -> String {
    let Some(names) = names else {
        return "1 name".into();
    };
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| shown(name)).collect();
    let more = if names.len() > NAMES { ", …" } else { "" };
    format!("{} names: {}{more}", names.len(), shown.join(", "))
}

#[cfg(test)]
mod tests;
