//! What lies on a disk, told by its first and last bytes, so that nobody's data is
//! destroyed unasked.
//!
//! Sources: UEFI 5.3 (GPT), `linux/swap.h`, LUKS1 and LUKS2 on-disk formats, `md_p.h`, LVM2's
//! `format_text`, and the superblocks of the file systems named.

use elea_formats::superblock;

/// How many bytes of the beginning are looked at.
pub(super) const START: usize = superblock::NEEDED;
/// How many bytes of the end are looked at (mdraid 0.90 lies up to 128 KiB before it).
pub(super) const END: usize = 128 << 10;

/// Something at a fixed place.
type Mark = (usize, &'static [u8], &'static str);

const MARKS: [Mark; 22] = [
    (512, b"EFI PART", "a GPT partition table"),
    (4096, b"EFI PART", "a GPT partition table"),
    (82, b"FAT32   ", "a FAT file system"),
    (54, b"FAT16   ", "a FAT file system"),
    (54, b"FAT12   ", "a FAT file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (4086, b"SWAPSPACE2", "swap space"),
    (65_526, b"SWAPSPACE2", "swap space"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (0, b"verity\0\0", "a dm-verity tree"),
    (0, b"hsqs", "a squashfs file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (1024, b"\x10\x20\xf5\xf2", "an F2FS file system"),
    (32_769, b"CD001", "an ISO 9660 file system"),
    (0, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (24, b"LVM2 001", "an LVM volume"),
    (512 + 24, b"LVM2 001", "an LVM volume"),
    (1024 + 24, b"LVM2 001", "an LVM volume"),
    (
        4096 + 24,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        "a bcache device",
    ),
    (
        4096 + 24,
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
        "a bcachefs file system",
    ),
];

/// What the first bytes and the last bytes of a disk say, for people; empty if nothing is known there.
pub(super) fn found(start: &[u8], end: &[u8]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |what: String| {
        if !found.contains(&what) {
            found.push(what);
        }
    };
    for (at, mark, what) in MARKS {
        if start.get(at..at + mark.len()) == Some(mark) {
            add(what.to_owned());
        }
    }
    if let Some(superblock) = superblock::read(start) {
        let label = match superblock.label.as_str() {
            "" => String::new(),
            label => format!(" labelled `{}`", label.escape_debug()),
        };
        add(format!("a file system ({}){label}", superblock.kind));
    }
    let backup = |sector: usize| {
        let at = end.len().checked_sub(sector);
        at.is_some_and(|at| end[at..].starts_with(b"EFI PART"))
    };
    if backup(512) || backup(4096) {
        add("a GPT partition table".into());
    }
    // mdraid 0.90 and 1.0 stand at the end, at multiples of 4 KiB.
    if end
        .chunks_exact(4096)
        .any(|c| c.starts_with(b"\xfc\x4e\x2b\xa9"))
    {
        add("a RAID member".into());
    }
    if found.is_empty() && has_partitions(start) {
        found.push("an MBR partition table".into());
    }
    found
}

/// An MBR with at least one partition: a boot sector alone is not a table.
fn has_partitions(start: &[u8]) -> bool {
    let Some(sector) = start.get(..512) else {
        return false;
    };
    let records = sector[446..510].chunks_exact(16);
    sector[510..] == [0x55, 0xaa]
        && records.clone().all(|r| matches!(r[0], 0 | 0x80))
        && records.clone().any(|r| r[4] != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_found_on_an_empty_or_short_disk() {
        assert!(found(&[], &[]).is_empty());
        assert!(found(&vec![0; START], &vec![0; END]).is_empty());
        assert!(found(&vec![0xff; START], &vec![0xff; END]).is_empty());
    }

    #[test]
    fn a_table_is_found_at_either_end() {
        let mut end = vec![0; END];
        end[END - 512..END - 504].copy_from_slice(b"EFI PART");
        assert_eq!(found(&[], &end), ["a GPT partition table"]);
        let mut start = vec![0; START];
        start[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(found(&start, &[]).is_empty());
        start[446 + 4] = 0x83;
        assert_eq!(found(&start, &[]), ["an MBR partition table"]);
    }
}
