//! The EFI system partition, for the one thing that the initrd writes there: a good entry
//! that failed twice gets a used-up counter, so that the loader takes the next older one.

use crate::drivers::Drivers;
use crate::error::Error;
use crate::loader::Loader;
use elea_formats::bls::{Counter, FileName, Owner};
use elea_sys::device::{self, Device};
use elea_sys::mount::{Attributes, Filesystem, detach};
use elea_sys::{At as _, PathError, durable};
use std::fs;
use std::path::{Path, PathBuf};

const AT: &str = "/run/elea/esp";
/// `c12a7328-f81f-11d2-ba4b-00a0c93ec93b` as GPT stores it.
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// Entries of a partition table that are looked at.
const ENTRIES: usize = 256;

/// How a generation that failed twice gave way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GaveWay {
    /// The loader will take another good generation.
    Yes,
    /// There is no other good generation.
    NoOther,
    /// The entry is not there, or has a counter already.
    NotNamed,
}

/// Lets the good generation give way to another good one.
pub(crate) fn give_way(
    number: u64,
    disk: Option<&str>,
    loader: &Loader,
    drivers: &mut Drivers,
) -> Result<GaveWay, Error> {
    drivers.load_esp();
    let at = Path::new(AT);
    fs::create_dir_all(at).at("create", at)?;
    for device in candidates(disk, loader.partition.as_deref()) {
        let vfat = Filesystem::new("vfat")
            .source(device.path())
            .attributes(
                Attributes::NO_SUID
                    .and(Attributes::NO_DEVICES)
                    .and(Attributes::NO_EXEC),
            )
            .mount(at);
        if vfat.is_err() {
            continue;
        }
        let entries = at.join("loader/entries");
        let outcome = if entries.is_dir() {
            use_up(&entries, number)
        } else {
            Ok(GaveWay::NotNamed)
        };
        let synced = durable::sync_filesystem(at);
        let _ = detach(at);
        match outcome? {
            GaveWay::NotNamed => {}
            outcome => {
                synced?;
                return Ok(outcome);
            }
        }
    }
    Ok(GaveWay::NotNamed)
}

/// Renames the entry, if another good one stays.
fn use_up(entries: &Path, number: u64) -> Result<GaveWay, PathError> {
    let mut mine: Option<PathBuf> = None;
    let mut other = false;
    for entry in fs::read_dir(entries).at("list", entries)?.take(4096) {
        let name = entry.at("list", entries)?.file_name();
        let Some(parsed) = name.to_str().and_then(FileName::parse) else {
            continue;
        };
        match (parsed.owner, parsed.counter) {
            (Owner::Generation(n), None) if n == number => mine = Some(entries.join(name)),
            (Owner::Generation(_), None) => other = true,
            _ => {}
        }
    }
    let Some(mine) = mine else {
        return Ok(GaveWay::NotNamed);
    };
    if !other {
        return Ok(GaveWay::NoOther);
    }
    let used = FileName {
        owner: Owner::Generation(number),
        counter: Some(Counter { left: 0, done: 2 }),
    };
    fs::rename(&mine, entries.join(used.to_string())).at("rename", &mine)?;
    durable::sync_folder(entries)?;
    Ok(GaveWay::Yes)
}

/// EFI system partitions: the loader's own first, then those on the root's disk.
fn candidates(disk: Option<&str>, partition: Option<&str>) -> Vec<Device> {
    let devices = device::list().unwrap_or_default();
    let mut found: Vec<(bool, bool, Device)> = Vec::new();
    for whole in devices.iter().filter(|d| d.partition.is_none()) {
        let Ok(start) = whole.start_bytes(64 << 10) else {
            continue;
        };
        for (guid, begin) in partitions(&start) {
            let device = devices
                .iter()
                .find(|d| d.disk.as_deref() == Some(&whole.name) && d.start == begin);
            if let Some(device) = device {
                let not_mine = partition != Some(guid.as_str());
                let elsewhere = disk != Some(whole.name.as_str());
                found.push((not_mine, elsewhere, device.clone()));
            }
        }
    }
    found.sort_by(|a, b| (a.0, a.1, &a.2.name).cmp(&(b.0, b.1, &b.2.name)));
    found.into_iter().map(|(_, _, device)| device).collect()
}

/// The partition GUID and first byte of each EFI system partition of a GPT (UEFI
/// specification, section 5.3), for sectors of 512 or 4,096 bytes.
fn partitions(disk: &[u8]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for sector in [512_usize, 4096] {
        let Some(header) = disk.get(sector..sector + 92) else {
            continue;
        };
        if header[..8] != *b"EFI PART" {
            continue;
        }
        let (Ok(table), Ok(count), Ok(size)) = (
            usize::try_from(le64(header, 72)),
            usize::try_from(le32(header, 80)),
            usize::try_from(le32(header, 84)),
        ) else {
            continue;
        };
        if size < 128 {
            continue;
        }
        for i in 0..count.min(ENTRIES) {
            let at = table
                .checked_mul(sector)
                .and_then(|start| start.checked_add(i.checked_mul(size)?));
            let Some(entry) = at.and_then(|at| disk.get(at..at.checked_add(128)?)) else {
                break;
            };
            let begin = le64(entry, 32).checked_mul(sector as u64);
            if entry[..16] == ESP
                && let Some(begin) = begin
            {
                found.push((guid(&entry[16..32]), begin));
            }
        }
    }
    found
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// A GUID as text: its first three fields are little-endian.
fn guid(b: &[u8]) -> String {
    format!(
        "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}{:02x}{:02x}{:02x}{:02x}",
        b[3],
        b[2],
        b[1],
        b[0],
        b[5],
        b[4],
        b[7],
        b[6],
        b[8],
        b[9],
        b[10],
        b[11],
        b[12],
        b[13],
        b[14],
        b[15]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    #[test]
    fn the_partition_that_sfdisk_made_is_found() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let uuid = "3E5D7A10-1111-2222-3333-445566778899";
        let script = format!(
            "label: gpt\nsize=4M, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709\nsize=8M, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid={uuid}\n"
        );
        let child = Command::new("sfdisk")
            .arg("-q")
            .arg(file.path())
            .stdin(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: no sfdisk");
            return;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
        let disk = fs::read(file.path()).unwrap();
        assert_eq!(partitions(&disk), [(uuid.to_lowercase(), 5 << 20)]);
        assert_eq!(partitions(&disk[..600]), []);
        assert_eq!(partitions(&[]), []);
    }

    #[test]
    fn the_last_good_entry_stays() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |name: &str| fs::write(dir.path().join(name), "").unwrap();
        touch("elea-rescue.conf");
        touch("elea-4+3-0.conf");
        touch("windows.conf");
        assert_eq!(use_up(dir.path(), 3).unwrap(), GaveWay::NotNamed);
        touch("elea-3.conf");
        assert_eq!(use_up(dir.path(), 3).unwrap(), GaveWay::NoOther);
        touch("elea-2.conf");
        assert_eq!(use_up(dir.path(), 3).unwrap(), GaveWay::Yes);
        assert!(dir.path().join("elea-3+0-2.conf").exists());
        assert!(!dir.path().join("elea-3.conf").exists());
        assert_eq!(use_up(dir.path(), 2).unwrap(), GaveWay::NoOther);
    }
}
