//! How large everything is, and where it lies.
//!
//! Partition types: the Discoverable Partitions Specification (UAPI.2).

use super::contents::Contents;
use super::error::Error;
use super::target::Target;
use super::{random_uuid, tool};
use elea_formats::verity::{BLOCK, DESCRIPTOR};
use serde::{Deserialize, Serialize};

/// Partitions begin and end at multiples of this, in bytes.
pub(super) const ALIGN: u64 = 1 << 20;
/// The smallest boot partition, in bytes.
const BOOT: u64 = 512 << 20;
/// Room on the root for the journal, `/var` and the first boot, in bytes.
const ROOM: u64 = 256 << 20;
/// How many sets of kernel and initrd the boot partition must hold: two good generations, a
/// staged one and a pinned one.
const SETS: u64 = 4;

/// The file system of the root.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// ext4 with 4 KiB blocks and the verity feature.
    #[default]
    Ext4,
    /// btrfs.
    Btrfs,
}

/// When the objects are sealed by fs-verity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sealing {
    /// They are written sealed.
    Born,
    /// The first boot seals them.
    FirstBoot,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The EFI system partition, `$BOOT`.
    Boot,
    /// The physical root.
    Root,
}

impl Role {
    /// The partition type, as in the specification (x86-64 for the root).
    pub fn type_guid(self) -> &'static str {
        match self {
            Self::Boot => "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            Self::Root => "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
        }
    }

    /// The partition's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Boot => "elea-boot",
            Self::Root => "elea-root",
        }
    }
}

/// A partition that will be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What it is for.
    pub role: Role,
    /// Its UUID.
    pub uuid: String,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// Whether the disk can be born sealed.
pub(super) fn sealing(filesystem: Filesystem) -> Sealing {
    match filesystem {
        Filesystem::Ext4 if tool::is_installed("debugfs") => Sealing::Born,
        _ => Sealing::FirstBoot,
    }
}

/// Blocks that an object takes: content, Merkle tree, and one for the descriptor.
pub(super) fn sealed_blocks(size: u64) -> u64 {
    let block = BLOCK as u64;
    let data = size.div_ceil(block);
    let (mut tree, mut level) = (0, data);
    while level > 1 {
        level = level.div_ceil(block / 32);
        tree += level;
    }
    data + tree + (DESCRIPTOR as u64 + 4).div_ceil(block)
}

/// What the root takes at least, in bytes.
pub(super) fn root_needs(contents: &Contents, filesystem: Filesystem) -> u64 {
    let objects = contents.all_objects();
    let blocks: u64 = objects.values().map(|size| sealed_blocks(*size)).sum();
    // Inodes and folders of the store: one inode of 256 bytes and one name for each.
    let names = objects.len() as u64 * 512 + (1 << 20);
    let bytes = blocks * BLOCK as u64 + names;
    // ext4: inode tables are 1/64 of the partition, 1/100 is reserved. btrfs keeps metadata twice.
    let (metadata, room) = match filesystem {
        Filesystem::Ext4 => (bytes / 32, ROOM),
        Filesystem::Btrfs => (bytes / 10, 2 * ROOM),
    };
    round_up(bytes + metadata + room)
}

/// Whether the boot partition and the smallest root have room.
pub(super) fn has_room(target: &Target) -> Result<(), Error> {
    if target.size >= BOOT + ROOM + 2 * ALIGN {
        return Ok(());
    }
    Err(Error::Tiny {
        path: target.path.clone(),
        size: target.size,
        boot: BOOT,
        root: ROOM,
    })
}

/// The two partitions; the root takes what the boot partition leaves.
pub(super) fn partitions(
    contents: &Contents,
    target: &Target,
    filesystem: Filesystem,
) -> Result<Vec<Partition>, Error> {
    let payloads = contents.all_payloads();
    let loader = contents.loader.len() as u64;
    let boot = BOOT.max(round_up(payloads * SETS + 3 * loader + (16 << 20)));
    let begin = ALIGN + boot;
    // The backup of the table stands behind the last partition.
    let end = (target.size / ALIGN * ALIGN).saturating_sub(ALIGN);
    let needed = root_needs(contents, filesystem);
    if end < begin + needed {
        return Err(Error::TooSmall {
            path: target.path.clone(),
            size: target.size,
            needed: begin + needed + ALIGN,
        });
    }
    let partition = |role, start, size| -> Result<_, Error> {
        Ok(Partition {
            role,
            uuid: random_uuid()?,
            start,
            size,
        })
    };
    Ok(vec![
        partition(Role::Boot, ALIGN, boot)?,
        partition(Role::Root, begin, end - begin)?,
    ])
}

fn round_up(bytes: u64) -> u64 {
    bytes.div_ceil(ALIGN) * ALIGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_costs_what_the_kernel_writes() {
        // (size, data + tree + descriptor), from fsverity.rst: 128 hashes a block.
        let cases = [
            (0, 1),
            (1, 1 + 1),
            (4096, 1 + 1),
            (4097, 2 + 1 + 1),
            (128 * 4096, 128 + 1 + 1),
            (128 * 4096 + 1, 129 + 2 + 1 + 1),
        ];
        for (size, blocks) in cases {
            assert_eq!(sealed_blocks(size), blocks, "{size}");
        }
    }
}
