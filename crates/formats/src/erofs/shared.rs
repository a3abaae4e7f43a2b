//! The table of attributes that more than one inode has: in descending order of names and values.

use super::attributes::{Attribute, Plain, escaped, size};
use super::order::{Order, Source};
use super::{METACOPY, REDIRECT, Version};
use crate::digest::Digest;
use crate::tree::{LeafId, Tree};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::BuildHasher as _;

/// The table. Those that name an object are kept as one leaf for each object.
pub(super) struct Shared<'t> {
    tree: &'t Tree,
    /// With its place in the table.
    plain: HashMap<Plain<'static>, usize>,
    /// The same in the order of the table.
    order: Vec<Plain<'static>>,
    /// Leaves with one object each, by digest; where their attributes begin in the table.
    objects: Vec<LeafId>,
    /// How their digests begin: most of what is looked for is not among them.
    starts: HashSet<u64>,
    redirects: usize,
    metacopies: usize,
    size: usize,
    /// Whether an ACL is among the attributes of the image, shared or not.
    pub(super) has_acl: bool,
}

/// The sizes of the attributes that name objects: without the prefix `trusted.`.
fn redirect_size(tree: &Tree) -> usize {
    size(REDIRECT.len() - 8, 2 * tree.algorithm().bytes() + 2)
}

fn metacopy_size(tree: &Tree) -> usize {
    size(METACOPY.len() - 8, 4 + tree.algorithm().bytes())
}

fn digest(tree: &Tree, leaf: LeafId) -> Option<Digest> {
    tree.object(leaf).map(|(digest, _)| digest)
}

impl<'t> Shared<'t> {
    /// Finds them.
    pub(super) fn of(order: &Order<'t>, version: Version) -> Self {
        let mut has_acl = false;
        let mut shared = Self {
            tree: order.tree,
            plain: HashMap::new(),
            order: repeated(order, version, &mut has_acl),
            objects: repeated_objects(order),
            starts: HashSet::new(),
            redirects: 0,
            metacopies: 0,
            size: 0,
            has_acl,
        };
        let digests = shared.objects.iter().filter_map(|l| digest(order.tree, *l));
        shared.starts = digests.map(|digest| digest.start()).collect();
        let (mut redirects, mut metacopies) = (None, None);
        let objects = shared.objects.len();
        let mut at = 0;
        let mut place = |name: Option<&[u8]>, at: &mut usize| {
            if redirects.is_none() && name.is_none_or(|name| name < REDIRECT) {
                redirects = Some(*at);
                *at += objects * redirect_size(order.tree);
            }
            if metacopies.is_none() && name.is_none_or(|name| name < METACOPY) {
                metacopies = Some(*at);
                *at += objects * metacopy_size(order.tree);
            }
        };
        for plain in &shared.order {
            place(Some(&plain.name), &mut at);
            shared.plain.insert(plain.clone(), at);
            at += Attribute::Plain(plain.clone()).size();
        }
        place(None, &mut at);
        shared.redirects = redirects.unwrap_or_default();
        shared.metacopies = metacopies.unwrap_or_default();
        shared.size = at;
        shared
    }

    /// Bytes of the table.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Where an attribute stands in the table, if it does.
    pub(super) fn find(&self, attribute: &Attribute<'t>) -> Option<usize> {
        let rank = |wanted: &Digest| {
            if !self.starts.contains(&wanted.start()) {
                return None;
            }
            let found = self
                .objects
                .binary_search_by(|leaf| digest(self.tree, *leaf).cmp(&Some(*wanted)));
            found.ok().map(|rank| self.objects.len() - 1 - rank)
        };
        match attribute {
            Attribute::Plain(plain) => self.plain.get(plain).copied(),
            Attribute::Redirect(digest) => {
                Some(self.redirects + rank(digest)? * redirect_size(self.tree))
            }
            Attribute::Metacopy(digest) => {
                Some(self.metacopies + rank(digest)? * metacopy_size(self.tree))
            }
        }
    }

    /// Gives the table to `out`, an attribute at a time.
    pub(super) fn encode<E>(&self, mut out: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut bytes = Vec::new();
        let mut give = |attribute: Attribute<'_>, bytes: &mut Vec<u8>| {
            bytes.clear();
            attribute.encode(bytes);
            out(bytes)
        };
        let digests = || {
            self.objects
                .iter()
                .rev()
                .filter_map(|l| digest(self.tree, *l))
        };
        let mut at = 0;
        let mut plain = self.order.iter().peekable();
        while at < self.size {
            if !self.objects.is_empty() && at == self.redirects {
                for digest in digests() {
                    give(Attribute::Redirect(digest), &mut bytes)?;
                }
                at += self.objects.len() * redirect_size(self.tree);
            } else if !self.objects.is_empty() && at == self.metacopies {
                for digest in digests() {
                    give(Attribute::Metacopy(digest), &mut bytes)?;
                }
                at += self.objects.len() * metacopy_size(self.tree);
            } else if let Some(next) = plain.next() {
                give(Attribute::Plain(next.clone()), &mut bytes)?;
                at += bytes.len();
            } else {
                break;
            }
        }
        Ok(())
    }
}

/// One leaf of each object that more than one inode has, by digest.
fn repeated_objects(order: &Order<'_>) -> Vec<LeafId> {
    let tree = order.tree;
    // Sorting the few that can be is done without a look at all the others.
    let several = tree.repeated_objects();
    let may = |id: &LeafId| {
        let object = tree.object(*id);
        order.names(*id) > 0 && object.is_some_and(|(digest, _)| several.contains(&digest.start()))
    };
    let mut leaves: Vec<LeafId> = tree.leaves().filter(may).collect();
    leaves.sort_unstable_by_key(|leaf| digest(tree, *leaf));
    let mut repeated: Vec<LeafId> = leaves
        .windows(2)
        .filter(|pair| digest(tree, pair[0]) == digest(tree, pair[1]))
        .map(|pair| pair[0])
        .collect();
    repeated.dedup_by_key(|leaf| digest(tree, *leaf));
    repeated
}

/// The other attributes that more than one inode has, in descending order.
fn repeated(order: &Order<'_>, version: Version, has_acl: &mut bool) -> Vec<Plain<'static>> {
    // Of most, a hash is enough to see that no other inode has it.
    let state = RandomState::new();
    let mut hashes = Vec::new();
    uses(order, version, |plain, count| {
        *has_acl |= plain.is_acl();
        let hash = state.hash_one(plain);
        hashes.extend(std::iter::repeat_n(hash, count.min(2)));
    });
    hashes.sort_unstable();
    let twice: HashSet<u64> = hashes
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    drop(hashes);
    let mut counts: BTreeMap<Plain<'static>, usize> = BTreeMap::new();
    uses(order, version, |plain, count| {
        if twice.contains(&state.hash_one(plain)) {
            *counts.entry(plain.clone().into_owned()).or_default() += count;
        }
    });
    counts.retain(|_, count| *count > 1);
    counts.into_keys().rev().collect()
}

/// Calls `use_of` for the attributes of all inodes, but those that name objects, with the number of inodes
/// that have them. The same may come again.
fn uses(order: &Order<'_>, version: Version, mut use_of: impl FnMut(&Plain<'_>, usize)) {
    // Most inodes have the attributes of a set, and nothing more.
    let mut sets: HashMap<u32, (usize, usize)> = HashMap::new();
    for inode in 0..order.len() {
        if let Source::Node(node) = order.source(inode)
            && order.marks(inode, version).next().is_none()
        {
            let set = sets.entry(order.tree.set_of(node)).or_insert((0, inode));
            set.0 += 1;
            continue;
        }
        for attribute in order.attributes(inode, version) {
            if let Attribute::Plain(plain) = attribute {
                use_of(&plain, 1);
            }
        }
    }
    for (count, inode) in sets.into_values() {
        for plain in escaped(order.meta(inode).xattrs) {
            use_of(&plain, count);
        }
    }
}
