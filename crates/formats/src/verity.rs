//! fs-verity digests: the name of every object and image.
//!
//! Source: the kernel's `Documentation/filesystems/fsverity.rst`, "Merkle tree" and
//! "fs-verity descriptor"; SHA-256 or SHA-512, 4 KiB blocks, no salt. The tree is also what
//! makes an object sealed on disk, so it can be written out level by level.

use crate::digest::{Algorithm, Digest};

/// The size of a data block and of a block of hashes, in bytes.
pub const BLOCK: usize = 4096;
/// The size of the descriptor, in bytes.
pub const DESCRIPTOR: usize = 256;

/// Takes a file's content in pieces of any size and gives its fs-verity digest.
///
/// Needs memory for one block of hashes per level unless [`Hasher::keeping_tree`] is used.
#[derive(Debug)]
pub struct Hasher {
    algorithm: Algorithm,
    pending: Vec<u8>,
    size: u64,
    /// `levels[0]` collects the hashes of data blocks, `levels[n + 1]` those of the blocks of level n.
    levels: Vec<Level>,
    keep: bool,
}

#[derive(Debug, Default)]
struct Level {
    open: Vec<u8>,
    /// The level's full blocks, if the tree is kept.
    done: Vec<u8>,
}

/// What the hasher found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The fs-verity digest: the hash of the descriptor.
    pub digest: Digest,
    /// The content's size in bytes.
    pub size: u64,
    /// The 256-byte descriptor as the file system stores it (no signature).
    pub descriptor: [u8; DESCRIPTOR],
    /// The Merkle tree as the file system stores it, root level first; empty for content
    /// of at most one block, or if it was not kept.
    pub tree: Vec<u8>,
}

impl Hasher {
    /// A hasher for the digest alone.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            pending: Vec::new(),
            size: 0,
            levels: Vec::new(),
            keep: false,
        }
    }

    /// A hasher that keeps the whole Merkle tree (with SHA-256 1/128 of the content's size) for sealing.
    pub fn keeping_tree(algorithm: Algorithm) -> Self {
        Self {
            keep: true,
            ..Self::new(algorithm)
        }
    }

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
            let hash = self.algorithm.hash(&self.pending);
            self.pending.clear();
            self.push(0, &hash);
        }
        let mut blocks = data.chunks_exact(BLOCK);
        for block in &mut blocks {
            let hash = self.algorithm.hash(block);
            self.push(0, &hash);
        }
        self.pending.extend_from_slice(blocks.remainder());
    }

    /// Adds a hash to a level; a full block of hashes is closed when the next one comes,
    /// since a level of exactly one block is the root.
    fn push(&mut self, level: usize, hash: &Digest) {
        if self.levels.len() == level {
            self.levels.push(Level::default());
        }
        if self.levels[level].open.len() == BLOCK {
            self.close(level);
        }
        self.levels[level].open.extend_from_slice(hash.as_bytes());
    }

    fn close(&mut self, level: usize) {
        let mut block = std::mem::take(&mut self.levels[level].open);
        block.resize(BLOCK, 0);
        let hash = self.algorithm.hash(&block);
        if self.keep {
            self.levels[level].done.extend_from_slice(&block);
        }
        self.push(level + 1, &hash);
    }

    /// Ends the content.
    pub fn finish(mut self) -> Measured {
        if !self.pending.is_empty() {
            self.pending.resize(BLOCK, 0);
            let hash = self.algorithm.hash(&self.pending);
            self.push(0, &hash);
        }
        let mut root = Vec::new();
        let mut level = 0;
        while level < self.levels.len() {
            let top = level + 1 == self.levels.len();
            // One hash alone is the root.
            if top && self.levels[level].open.len() == self.algorithm.bytes() {
                root.append(&mut self.levels[level].open);
                self.levels.pop();
                break;
            }
            self.close(level);
            level += 1;
        }
        let mut descriptor = [0; DESCRIPTOR];
        descriptor[0] = 1; // version
        descriptor[1] = self.algorithm.number();
        descriptor[2] = 12; // log2 of the block size
        descriptor[8..16].copy_from_slice(&self.size.to_le_bytes());
        descriptor[16..16 + root.len()].copy_from_slice(&root);
        Measured {
            digest: self.algorithm.hash(&descriptor),
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

/// The fs-verity digest of content that is in memory.
pub fn measure(algorithm: Algorithm, data: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
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
        for algorithm in Algorithm::ALL {
            agrees(algorithm);
        }
    }

    fn agrees(algorithm: Algorithm) {
        if Command::new("fsverity").arg("--version").output().is_err() {
            eprintln!("skipped: no fsverity");
            return;
        }
        let dir =
            std::env::temp_dir().join(format!("elea-verity-{algorithm}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for size in SIZES {
            let data = content(size);
            let (file, tree, desc) = (dir.join("f"), dir.join("t"), dir.join("d"));
            std::fs::write(&file, &data).unwrap();
            let out = Command::new("fsverity")
                .args(["digest", "--compact", "--hash-alg", algorithm.name()])
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
            let mut hasher = Hasher::keeping_tree(algorithm);
            data.chunks(5000).for_each(|piece| hasher.update(piece));
            let ours = hasher.finish();
            assert_eq!(ours.digest.to_string(), theirs.trim(), "size {size}");
            assert_eq!(ours.digest, measure(algorithm, &data), "size {size}");
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
