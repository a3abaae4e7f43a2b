//! fs-verity digests: the name of every object and image.
//!
//! Source: the kernel's `Documentation/filesystems/fsverity.rst`, "Merkle tree" and
//! "fs-verity descriptor"; SHA-256 or SHA-512, 4 KiB blocks, no salt. The tree is also what
//! makes an object sealed on disk, so it can be written out level by level.

use crate::digest::{Digest, Digest512};
use std::fmt;
use std::marker::PhantomData;

/// The size of a data block and of a block of hashes, in bytes.
pub const BLOCK: usize = 4096;
/// The size of the descriptor, in bytes.
pub const DESCRIPTOR: usize = 256;

/// A hash that fs-verity and composefs know. It is a type, so that a tree, an image and a store have one and
/// never a mixture.
pub trait Algorithm: Copy + Ord + fmt::Display + Send + Sync + 'static {
    /// Its number: `FS_VERITY_HASH_ALG_…` of `linux/fsverity.h`, also in overlayfs's metacopy attribute.
    const NUMBER: u8;
    /// Its name in `meta.json` and in the names of kernel arguments: `sha256`.
    const NAME: &str;

    /// How many bytes a hash has.
    const BYTES: usize;

    /// The plain hash of some bytes.
    fn hash(data: &[u8]) -> Self;

    /// The raw bytes of a hash.
    fn bytes(&self) -> &[u8];

    /// The first 64 bits of a hash: good for telling most hashes apart.
    fn start(&self) -> u64 {
        crate::table::read_u64(self.bytes(), 0)
    }

    /// The hash of as many raw bytes as it has.
    fn of_bytes(bytes: &[u8]) -> Self;
}

impl Algorithm for Digest {
    const NUMBER: u8 = 1;
    const NAME: &str = "sha256";
    const BYTES: usize = 32;

    fn hash(data: &[u8]) -> Self {
        Self::sha256(data)
    }

    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut raw = [0; Self::BYTES];
        raw.copy_from_slice(bytes);
        Self::new(raw)
    }
}

impl Algorithm for Digest512 {
    const NUMBER: u8 = 2;
    const NAME: &str = "sha512";
    const BYTES: usize = 64;

    fn hash(data: &[u8]) -> Self {
        Self::sha512(data)
    }

    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let mut raw = [0; Self::BYTES];
        raw.copy_from_slice(bytes);
        Self::new(raw)
    }
}

/// Takes a file's content in pieces of any size and gives its fs-verity digest.
///
/// Needs memory for one block of hashes per level unless [`Hasher::keeping_tree`] is used.
#[derive(Debug)]
pub struct Hasher<A = Digest> {
    pending: Vec<u8>,
    size: u64,
    /// `levels[0]` collects the hashes of data blocks, `levels[n + 1]` those of the blocks of level n.
    levels: Vec<Level>,
    keep: bool,
    algorithm: PhantomData<A>,
}

#[derive(Debug, Default)]
struct Level {
    open: Vec<u8>,
    /// The level's full blocks, if the tree is kept.
    done: Vec<u8>,
}

/// What the hasher found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured<A = Digest> {
    /// The fs-verity digest: the hash of the descriptor.
    pub digest: A,
    /// The content's size in bytes.
    pub size: u64,
    /// The 256-byte descriptor as the file system stores it (no signature).
    pub descriptor: [u8; DESCRIPTOR],
    /// The Merkle tree as the file system stores it, root level first; empty for content
    /// of at most one block, or if it was not kept.
    pub tree: Vec<u8>,
}

impl<A> Default for Hasher<A> {
    fn default() -> Self {
        Self {
            pending: Vec::new(),
            size: 0,
            levels: Vec::new(),
            keep: false,
            algorithm: PhantomData,
        }
    }
}

impl Hasher {
    /// A hasher for the SHA-256 digest alone.
    pub fn new() -> Self {
        Self::default()
    }

    /// A hasher that keeps the whole Merkle tree (1/128 of the content's size) for sealing.
    pub fn keeping_tree() -> Self {
        Self {
            keep: true,
            ..Self::default()
        }
    }
}

impl<A: Algorithm> Hasher<A> {
    /// Takes the next piece of content.
    pub fn update(&mut self, mut data: &[u8]) {
        self.size += data.len() as u64;
        if !self.pending.is_empty() {
            let take = data.len().min(BLOCK - self.pending.len());
            self.pending.extend_from_slice(&data[..take]);
            data = &data[take..];
            if self.pending.len() < BLOCK {
                return;
            }
            let hash = A::hash(&self.pending);
            self.pending.clear();
            self.push(0, &hash);
        }
        let mut blocks = data.chunks_exact(BLOCK);
        for block in &mut blocks {
            let hash = A::hash(block);
            self.push(0, &hash);
        }
        self.pending.extend_from_slice(blocks.remainder());
    }

    /// Adds a hash to a level; a full block of hashes is closed when the next one comes,
    /// since a level of exactly one block is the root.
    fn push(&mut self, level: usize, hash: &A) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        if self.levels[level].open.len() == BLOCK {
            self.close(level);
        }
        self.levels[level].open.extend_from_slice(hash.bytes());
    }

    fn close(&mut self, level: usize) {
        let mut block = std::mem::take(&mut self.levels[level].open);
        block.resize(BLOCK, 0);
        let hash = A::hash(&block);
        if self.keep {
            self.levels[level].done.extend_from_slice(&block);
        }
        self.push(level + 1, &hash);
    }

    /// Ends the content.
    pub fn finish(mut self) -> Measured<A> {
        if !self.pending.is_empty() {
            self.pending.resize(BLOCK, 0);
            let hash = A::hash(&self.pending);
            self.push(0, &hash);
        }
        let mut root = Vec::new();
        let mut level = 0;
        while level < self.levels.len() {
            let top = level + 1 == self.levels.len();
            // One hash alone is the root.
            if top && self.levels[level].open.len() == A::BYTES {
                root.append(&mut self.levels[level].open);
                self.levels.pop();
                break;
            }
            self.close(level);
            level += 1;
        }
        let mut descriptor = [0; DESCRIPTOR];
        descriptor[0] = 1; // version
        descriptor[1] = A::NUMBER;
        descriptor[2] = 12; // log2 of the block size
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        descriptor[16..16 + root.len()].copy_from_slice(&root);
        Measured {
            digest: A::hash(&descriptor),
            size: self.size,
            descriptor,
            tree: self
                .levels
                .iter()
                .rev()
                .flat_map(|l| l.done.iter().copied())
                .collect(),
        }
    }
}

/// The SHA-256 fs-verity digest of content that is in memory.
pub fn measure(data: &[u8]) -> Digest {
    measure_by(data)
}

/// The fs-verity digest of content that is in memory, by any algorithm.
pub fn measure_by<A: Algorithm>(data: &[u8]) -> A {
    let mut hasher = Hasher::<A>::default();
    hasher.update(data);
    hasher.finish().digest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn content(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| u8::try_from(i * 31 % 251).unwrap())
            .collect()
    }

    /// Sizes at every edge: empty, one block, one block of hashes, two levels, three.
    const SIZES: [usize; 12] = [
        0,
        1,
        4095,
        4096,
        4097,
        8192,
        128 * 4096,
        128 * 4096 + 1,
        129 * 4096,
        300 * 4096 - 7,
        128 * 128 * 4096,
        128 * 128 * 4096 + 1,
    ];

    #[test]
    fn agrees_with_the_fsverity_program() {
        agrees::<Digest>(Hasher::keeping_tree);
        agrees::<Digest512>(|| Hasher {
            keep: true,
            ..Hasher::default()
        });
    }

    fn agrees<A: Algorithm + fmt::Debug>(keeping_tree: fn() -> Hasher<A>) {
        if Command::new("fsverity").arg("--version").output().is_err() {
            eprintln!("skipped: no fsverity");
            return;
        }
        let dir =
            std::env::temp_dir().join(format!("elea-verity-{}-{}", A::NAME, std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for size in SIZES {
            let data = content(size);
            let (file, tree, desc) = (dir.join("f"), dir.join("t"), dir.join("d"));
            std::fs::write(&file, &data).unwrap();
            let out = Command::new("fsverity")
                .args(["digest", "--compact", "--hash-alg", A::NAME])
                .arg(&file)
                .arg(format!("--out-merkle-tree={}", tree.display()))
                .arg(format!("--out-descriptor={}", desc.display()))
                .output()
                .unwrap();
            assert!(
                out.status.success(),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
            let theirs = String::from_utf8(out.stdout).unwrap();
            let mut hasher = keeping_tree();
            data.chunks(5000).for_each(|piece| hasher.update(piece));
            let ours = hasher.finish();
            assert_eq!(ours.digest.to_string(), theirs.trim(), "size {size}");
            assert_eq!(ours.digest, measure_by(&data), "size {size}");
            assert_eq!(
                ours.tree,
                std::fs::read(&tree).unwrap_or_default(),
                "tree of {size}"
            );
            assert_eq!(
                ours.descriptor[..],
                std::fs::read(&desc).unwrap()[..],
                "descriptor of {size}"
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
