//! Which file system lies on a device, from its first bytes: ext4, btrfs, xfs.
//!
//! Sources: ext4 `struct ext4_super_block` (`fs/ext4/ext4.h`, at byte 1024), btrfs
//! `struct btrfs_super_block` (at byte 65,536), xfs `struct xfs_dsb` (at byte 0, big-endian).

use std::fmt::{self, Write as _};

/// How many bytes of a device's beginning are needed to tell.
pub const NEEDED: usize = 65_536 + 4096;

/// The kinds that Elea boots from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ext4 (ext2 and ext3 have the same superblock and are told as ext4).
    Ext4,
    /// btrfs.
    Btrfs,
    /// xfs.
    Xfs,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Xfs => "xfs",
        })
    }
}

/// What a superblock says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The kind, which is also the name for `mount`.
    pub kind: Kind,
    /// The UUID as text, lower case with hyphens, as `root=UUID=` has it.
    pub uuid: String,
    /// The label; bytes that are not UTF-8 are replaced.
    pub label: String,
    /// The size of the file system in bytes, as it says itself.
    pub size: u64,
    /// The size of a block in bytes (fs-verity on ext4 needs 4096).
    pub block: u32,
}

/// Reads the beginning of a device ([`NEEDED`] bytes; fewer find fewer kinds).
pub fn read(start: &[u8]) -> Option<Superblock> {
    xfs(start).or_else(|| btrfs(start)).or_else(|| ext4(start))
}

fn ext4(start: &[u8]) -> Option<Superblock> {
    let block = start.get(1024..2048)?;
    if block[0x38..0x3a] != [0x53, 0xef] {
        return None;
    }
    let shift = le32(block, 0x18);
    let bytes = 1024_u32.checked_shl(shift).filter(|b| *b <= 65_536)?;
    let is_64bit = le32(block, 0x60) & 0x80 != 0;
    let high = if is_64bit { le32(block, 0x150) } else { 0 };
    let blocks = u64::from(high) << 32 | u64::from(le32(block, 0x04));
    Some(Superblock {
        kind: Kind::Ext4,
        uuid: uuid(&block[0x68..0x78]),
        label: text(&block[0x78..0x88]),
        size: blocks.saturating_mul(bytes.into()),
        block: bytes,
    })
}

fn btrfs(start: &[u8]) -> Option<Superblock> {
    let block = start.get(65_536..65_536 + 4096)?;
    if block[0x40..0x48] != *b"_BHRfS_M" {
        return None;
    }
    Some(Superblock {
        kind: Kind::Btrfs,
        uuid: uuid(&block[0x20..0x30]),
        label: text(&block[0x12b..0x22b]),
        size: u64::from_le_bytes(block[0x70..0x78].try_into().ok()?),
        block: le32(block, 0x90),
    })
}

fn xfs(start: &[u8]) -> Option<Superblock> {
    let block = start.get(..512)?;
    if block[..4] != *b"XFSB" {
        return None;
    }
    let bytes = u32::from_be_bytes(block[4..8].try_into().ok()?);
    let blocks = u64::from_be_bytes(block[8..16].try_into().ok()?);
    Some(Superblock {
        kind: Kind::Xfs,
        uuid: uuid(&block[32..48]),
        label: text(&block[108..120]),
        size: blocks.saturating_mul(bytes.into()),
        block: bytes,
    })
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const UUID: &str = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

    fn made_by(program: &str, args: &[&str]) -> Option<Vec<u8>> {
        let path = std::env::temp_dir().join(format!("elea-sb-{program}-{}", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(320 << 20).unwrap();
        let out = Command::new(program).args(args).arg(&path).output();
        let mut start = vec![0; NEEDED];
        let file = std::fs::File::open(&path).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut start, 0).unwrap();
        std::fs::remove_file(&path).unwrap();
        match out {
            Ok(out) if out.status.success() => Some(start),
            _ => {
                eprintln!("skipped: no {program}");
                None
            }
        }
    }

    #[test]
    fn reads_what_mkfs_wrote() {
        let cases: [(Kind, &str, &[&str]); 3] = [
            (
                Kind::Ext4,
                "mke2fs",
                &[
                    "-q", "-F", "-t", "ext4", "-b", "4096", "-U", UUID, "-L", "elea",
                ],
            ),
            (Kind::Btrfs, "mkfs.btrfs", &["-q", "-U", UUID, "-L", "elea"]),
            (
                Kind::Xfs,
                "mkfs.xfs",
                &["-q", "-m", &format!("uuid={UUID}"), "-L", "elea"],
            ),
        ];
        for (kind, program, args) in cases {
            let Some(start) = made_by(program, args) else {
                continue;
            };
            let found = read(&start).unwrap();
            assert_eq!((found.kind, found.uuid.as_str()), (kind, UUID));
            assert_eq!(found.label, "elea");
            assert_eq!((found.size, found.block), (320 << 20, 4096), "{kind}");
        }
    }

    #[test]
    fn short_and_foreign_starts_are_nothing() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&vec![0xff; NEEDED]), None);
        let mut absurd = vec![0; NEEDED];
        absurd[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        absurd[1024 + 0x18] = 77;
        assert_eq!(read(&absurd), None);
    }
}
