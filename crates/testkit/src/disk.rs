//! A disk file of a machine that is switched off: what is on it, and damage done to it.
//!
//! Only other people's programs touch the file systems: mtools the EFI system partition,
//! debugfs and e2fsck an ext4 root.

use crate::{Error, Result, Said, run, say};
use elea_sys::At as _;
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of a sector of the partition table.
const SECTOR: u64 = 512;
/// Bytes of a partition table with its headers, and where the entries begin.
const TABLE: usize = 34 * 512;
const ENTRIES: usize = 2 * 512;
/// The type of an EFI system partition, as it stands in a table.
const ESP: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];

/// A disk file with a GPT, an EFI system partition and a root.
#[derive(Debug, Clone)]
pub struct Disk {
    path: PathBuf,
    /// Where the EFI system partition begins, in bytes.
    esp: u64,
    /// Where the root begins and how long it is, in bytes.
    root: (u64, u64),
}

impl Disk {
    /// Reads the partition table.
    pub fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).at("open", path)?;
        let mut table = vec![0; TABLE];
        file.read_exact(&mut table).at("read", path)?;
        let mut disk = Self {
            path: path.to_owned(),
            esp: 0,
            root: (0, 0),
        };
        for entry in table[ENTRIES..].chunks(128) {
            let number = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&entry[at..at + 8]);
                u64::from_le_bytes(bytes)
            };
            let (first, last) = (number(32), number(40));
            if entry[..16] == ESP {
                disk.esp = first * SECTOR;
            } else if entry[..16] != [0; 16] {
                disk.root = (first * SECTOR, (last + 1 - first) * SECTOR);
            }
        }
        if disk.esp == 0 || disk.root.0 == 0 {
            return Err(Error::other(format!(
                "{} has no EFI system partition or no root",
                path.display()
            )));
        }
        Ok(disk)
    }

    /// A sparse copy at another path.
    pub fn copy(&self, to: &Path) -> Result<Self> {
        let _ = fs::remove_file(to);
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]);
        run(copy.arg(&self.path).arg(to))?;
        Ok(Self {
            path: to.to_owned(),
            ..self.clone()
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn mtool(&self, program: &str, words: &[&str]) -> Result<String> {
        let place = format!("{}@@{}", self.path.display(), self.esp);
        let mut command = Command::new(program);
        command.env("MTOOLS_SKIP_CHECK", "1").args(["-i", &place]);
        run(command.args(words))
    }

    /// The names in a folder of the EFI system partition (`loader/entries`).
    pub fn esp_list(&self, folder: &str) -> Result<Vec<String>> {
        let prefix = format!("::/{folder}/");
        let said = self.mtool("mdir", &["-b", &format!("::/{folder}")])?;
        let names = said
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(|name| name.trim_end_matches('/').to_owned())
            .filter(|name| !name.is_empty());
        Ok(names.collect())
    }

    /// A file of the EFI system partition.
    pub fn esp_read(&self, name: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().at("create", std::env::temp_dir())?;
        let copy = folder.path().join("file");
        let place = copy.display().to_string();
        self.mtool("mcopy", &["-n", &format!("::/{name}"), &place])?;
        Ok(fs::read(&copy).at("read", &copy)?)
    }

    /// Writes a file of the EFI system partition.
    pub fn esp_write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let folder = tempfile::tempdir().at("create", std::env::temp_dir())?;
        let copy = folder.path().join("file");
        fs::write(&copy, bytes).at("write", &copy)?;
        let place = copy.display().to_string();
        self.mtool("mcopy", &["-o", &place, &format!("::/{name}")])?;
        Ok(())
    }

    /// Removes a file of the EFI system partition.
    pub fn esp_remove(&self, name: &str) -> Result<()> {
        self.mtool("mdel", &[&format!("::/{name}")]).map(drop)
    }

    /// Renames a file of the EFI system partition within its folder.
    pub fn esp_rename(&self, from: &str, to: &str) -> Result<()> {
        self.mtool("mren", &[&format!("::/{from}"), &format!("::/{to}")])
            .map(drop)
    }

    /// What `fsck.vfat` says of the EFI system partition, changing nothing.
    pub fn esp_check(&self) -> Result<Said> {
        let length = self.root.0.saturating_sub(self.esp);
        let part = self.part(self.esp, length)?;
        say(Command::new("fsck.vfat").arg("-n").arg(part.path()))
    }

    /// A copy of a part of the disk.
    fn part(&self, start: u64, length: u64) -> Result<tempfile::NamedTempFile> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let part = tempfile::NamedTempFile::new_in(folder).at("create", folder)?;
        let mut copy = Command::new("dd");
        copy.args([
            "status=none",
            "conv=sparse",
            "bs=1M",
            "iflag=skip_bytes,count_bytes",
        ]);
        copy.arg(format!("if={}", self.path.display()));
        copy.arg(format!("of={}", part.path().display()));
        run(copy.args([format!("skip={start}"), format!("count={length}")]))?;
        Ok(part)
    }

    /// The root as e2fsprogs name it.
    fn root_place(&self) -> String {
        format!("{}?offset={}", self.path.display(), self.root.0)
    }

    /// Runs one debugfs request on an ext4 root.
    fn debugfs(&self, request: &str) -> Result<String> {
        let mut command = Command::new("debugfs");
        run(command.args(["-R", request, &self.root_place()]))
    }

    /// The names in a folder of an ext4 root.
    pub fn root_list(&self, folder: &str) -> Result<Vec<String>> {
        // `/inode/mode/uid/gid/name/size/`, a line each.
        let said = self.debugfs(&format!("ls -p /{folder}"))?;
        let names = said.lines().filter_map(|line| line.split('/').nth(5));
        Ok(names
            .filter(|name| !matches!(*name, "" | "." | ".."))
            .map(str::to_owned)
            .collect())
    }

    /// A file of an ext4 root.
    pub fn root_read(&self, name: &str) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().at("create", std::env::temp_dir())?;
        let copy = folder.path().join("file");
        self.debugfs(&format!("dump /{name} {}", copy.display()))?;
        Ok(fs::read(&copy).at("read", &copy)?)
    }

    /// Where a byte of a file of an ext4 root is on the disk.
    pub fn root_byte(&self, name: &str, at: u64) -> Result<u64> {
        let size = self.debugfs("stats -h")?;
        let size = size
            .lines()
            .find_map(|line| line.strip_prefix("Block size:")?.trim().parse().ok())
            .unwrap_or(4096_u64);
        let said = self.debugfs(&format!("bmap /{name} {}", at / size))?;
        let block: u64 = said.trim().parse().unwrap_or(0);
        if block == 0 {
            return Err(Error::other(format!(
                "/{name} has no block at byte {at}: {said}"
            )));
        }
        Ok(self.root.0 + block * size + at % size)
    }

    /// Turns one bit of a file of an ext4 root, behind the file system's back.
    pub fn root_flip(&self, name: &str, at: u64) -> Result<()> {
        let place = self.root_byte(name, at)?;
        self.flip(place)
    }

    /// Turns one bit of the disk.
    pub fn flip(&self, at: u64) -> Result<()> {
        let path = &self.path;
        let mut file = File::options().read(true).write(true).open(path);
        let file = file
            .as_mut()
            .map_err(|e| Error::other(format!("cannot open {}: {e}", path.display())))?;
        let mut byte = [0];
        file.seek(SeekFrom::Start(at)).at("seek in", path)?;
        file.read_exact(&mut byte).at("read", path)?;
        byte[0] ^= 0x10;
        file.seek(SeekFrom::Start(at)).at("seek in", path)?;
        file.write_all(&byte).at("write", path)?;
        Ok(())
    }

    /// Whether an ext4 root is sound once its journal is replayed and files that were open without a name are gone, as
    /// the kernel does it at the next mount: what e2fsck says of a copy. (With an offset it cannot go on after a
    /// journal.)
    pub fn root_check(&self) -> Result<Said> {
        let copy = self.path.with_extension("root");
        let (from, length) = self.root;
        let copied = copy_data(&self.path, from..from + length, &copy);
        copied.at("copy the root to", &copy)?;
        // Without -f a file system that says that it is clean is not looked at further.
        let mut checked = say(Command::new("e2fsck").arg("-p").arg(&copy))?;
        if checked.ok() {
            checked = say(Command::new("e2fsck").arg("-fn").arg(&copy))?;
        }
        fs::remove_file(&copy).at("remove", &copy)?;
        Ok(checked)
    }
}

/// Copies what of a part of a file is not holes.
fn copy_data(from: &Path, part: Range<u64>, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    to.set_len(part.end - part.start)?;
    let mut at = part.start;
    loop {
        let data = match rustix::fs::seek(&from, rustix::fs::SeekFrom::Data(at)) {
            // Nothing but holes.
            Err(Errno::NXIO) => return Ok(()),
            data => data?,
        };
        if data >= part.end {
            return Ok(());
        }
        at = rustix::fs::seek(&from, rustix::fs::SeekFrom::Hole(data))?.min(part.end);
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data - part.start))?;
        io::copy(&mut (&from).take(at - data), &mut to)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_between_holes_is_copied_to_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        let mut file = File::create(&from).unwrap();
        file.set_len(9 << 20).unwrap();
        for (at, content) in [
            (0, "before"),
            (3 << 20, "first"),
            ((8 << 20) - 2, "at the end"),
        ] {
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(content.as_bytes()).unwrap();
        }
        let part = (2 << 20)..(8 << 20);
        copy_data(&from, part.clone(), &to).unwrap();
        let [start, end] = [part.start, part.end].map(|at| usize::try_from(at).unwrap());
        assert!(fs::read(&to).unwrap() == fs::read(&from).unwrap()[start..end]);
    }
}
