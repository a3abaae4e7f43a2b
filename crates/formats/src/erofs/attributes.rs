//! Extended attributes: prefixes, the shared table, the name filter.

use super::BLOCK;
use super::collect::Inode;
use std::collections::BTreeMap;
use xxhash_rust::xxh32::xxh32;

/// Seed of the name filter (`EROFS_XATTR_FILTER_SEED`).
const SEED: u32 = 0x25bb_e08f;
/// The header of an inode's attributes.
pub(super) const HEADER: usize = 12;
/// An inode names at most this many shared attributes; more stay its own.
const MAX_SHARED: usize = 128;

/// An attribute: full name and value. The order is the one of the format: by full name, then
/// by the length of the value, then by its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Ord for Attribute {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name
            .cmp(&other.name)
            .then(self.value.len().cmp(&other.value.len()))
            .then_with(|| self.value.cmp(&other.value))
    }
}

impl PartialOrd for Attribute {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The prefixes that have a number. 5 (`lustre.`) is not used by the canonical form.
pub(super) const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

impl Attribute {
    pub(super) fn new(name: &[u8], value: &[u8]) -> Self {
        Self {
            name: name.to_vec(),
            value: value.to_vec(),
        }
    }

    /// The number of the prefix and the rest of the name.
    fn split(&self) -> (u8, &[u8]) {
        PREFIXES
            .iter()
            .rev()
            .find_map(|(index, prefix)| Some((*index, self.name.strip_prefix(*prefix)?)))
            .unwrap_or((0, &self.name))
    }

    pub(super) fn is_acl(&self) -> bool {
        matches!(self.split(), (2 | 3, b""))
    }

    /// The bit of the filter that says "maybe here".
    fn filter_bit(&self) -> u32 {
        let (index, suffix) = self.split();
        1 << (xxh32(suffix, SEED + u32::from(index)) % 32)
    }

    /// Its bytes in the image, padded to 4.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (index, suffix) = self.split();
        let mut out = vec![truncate(suffix.len()), index];
        out.extend(
            u16::try_from(self.value.len())
                .unwrap_or(u16::MAX)
                .to_le_bytes(),
        );
        out.extend_from_slice(suffix);
        out.extend_from_slice(&self.value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }
}

fn truncate(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// The table of shared attributes, in the order of the image.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) table: Vec<u8>,
    /// Where each stands in the table.
    offsets: Vec<usize>,
}

impl Shared {
    /// What an inode writes to name a shared attribute: its place in words, counted from the
    /// start of the block in which the inodes end.
    fn reference(&self, index: usize, inodes_end: usize) -> u32 {
        let words = (inodes_end % BLOCK + self.offsets[index]) / 4;
        u32::try_from(words).unwrap_or(u32::MAX)
    }
}

/// Sorts each inode's attributes and moves those that more than one inode has to the shared
/// table. The table stands in descending order of names.
pub(super) fn share(inodes: &mut [Inode<'_>]) -> Shared {
    let mut uses: BTreeMap<Attribute, usize> = BTreeMap::new();
    for inode in &mut *inodes {
        inode.own.sort();
        for attribute in &inode.own {
            *uses.entry(attribute.clone()).or_default() += 1;
        }
    }
    uses.retain(|_, count| *count > 1);
    let mut shared = Shared::default();
    let mut places: BTreeMap<Attribute, usize> = BTreeMap::new();
    for (attribute, _) in uses.into_iter().rev() {
        places.insert(attribute.clone(), shared.offsets.len());
        shared.offsets.push(shared.table.len());
        shared.table.extend(attribute.encode());
    }
    for inode in inodes {
        for attribute in std::mem::take(&mut inode.own) {
            inode.filter |= attribute.filter_bit();
            match places.get(&attribute) {
                Some(place) if inode.shared.len() < MAX_SHARED => inode.shared.push(*place),
                _ => inode.own.push(attribute),
            }
        }
    }
    shared
}

impl Inode<'_> {
    /// The size of its attributes in the image.
    pub(super) fn attributes_size(&self) -> usize {
        if self.filter == 0 {
            return 0;
        }
        let own: usize = self.own.iter().map(|a| a.encode().len()).sum();
        HEADER + 4 * self.shared.len() + own
    }

    /// Its attributes as the image has them.
    pub(super) fn encode_attributes(&self, shared: &Shared, inodes_end: usize) -> Vec<u8> {
        if self.filter == 0 {
            return Vec::new();
        }
        let mut out = Vec::new();
        out.extend((!self.filter).to_le_bytes());
        out.push(truncate(self.shared.len()));
        out.extend([0; 7]);
        for index in &self.shared {
            out.extend(shared.reference(*index, inodes_end).to_le_bytes());
        }
        for attribute in &self.own {
            out.extend(attribute.encode());
        }
        out
    }
}
