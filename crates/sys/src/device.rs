//! Block devices as `/sys/class/block` shows them, without udev.

use crate::{At as _, PathError};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How many devices are looked at; more is a mistake or an attack.
const LIMIT: usize = 4096;

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The kernel's name: `vda2`, `nvme0n1p1`.
    pub name: String,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// The number of the partition, if it is one.
    pub partition: Option<u32>,
    /// The name of the whole disk, if it is a partition.
    pub disk: Option<String>,
    /// Where the partition begins on the disk, in bytes.
    pub start: u64,
    /// Whether nothing can be written to it.
    pub read_only: bool,
}

impl Device {
    /// `/dev/NAME` (a `!` in the kernel's name is a `/`).
    pub fn path(&self) -> PathBuf {
        Path::new("/dev").join(self.name.replace('!', "/"))
    }

    /// The bytes at the beginning, at most `length`; fewer on a smaller device.
    pub fn start_bytes(&self, length: usize) -> Result<Vec<u8>, PathError> {
        let path = self.path();
        let file = File::open(&path).at("open", &path)?;
        let mut bytes = vec![0; length];
        let mut have = 0;
        while have < length {
            match file
                .read_at(&mut bytes[have..], have as u64)
                .at("read", &path)?
            {
                0 => break,
                n => have += n,
            }
        }
        bytes.truncate(have);
        Ok(bytes)
    }
}

/// Every block device with a size, by name.
pub fn list() -> Result<Vec<Device>, PathError> {
    let class = Path::new("/sys/class/block");
    let mut devices = Vec::new();
    for entry in fs::read_dir(class).at("list", class)?.take(LIMIT) {
        let entry = entry.at("list", class)?;
        // A device that goes away while it is looked at is no error.
        if let Some(device) = entry.file_name().to_str().and_then(named)
            && device.size > 0
        {
            devices.push(device);
        }
    }
    devices.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(devices)
}

/// One device by the kernel's name.
pub fn named(name: &str) -> Option<Device> {
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return None;
    }
    let folder = fs::canonicalize(Path::new("/sys/class/block").join(name)).ok()?;
    let text = |file: &str| {
        Some(
            fs::read_to_string(folder.join(file))
                .ok()?
                .trim()
                .to_owned(),
        )
    };
    let number = |file: &str| text(file)?.parse::<u64>().ok();
    let numbers = text("dev")?;
    let (major, minor) = numbers.split_once(':')?;
    let partition = number("partition").and_then(|n| u32::try_from(n).ok());
    let disk = partition
        .and_then(|_| folder.parent()?.file_name()?.to_str())
        .map(str::to_owned);
    Some(Device {
        name: name.to_owned(),
        number: (major.parse().ok()?, minor.parse().ok()?),
        size: number("size")?.checked_mul(512)?,
        partition,
        disk,
        start: number("start").unwrap_or(0).saturating_mul(512),
        read_only: number("ro") == Some(1),
    })
}

/// The device that holds the file system of a path, where that is one device (`st_dev`; not
/// so on btrfs, which invents numbers).
pub fn of_path(path: &Path) -> Result<Option<Device>, PathError> {
    let number = fs::metadata(path).at("look at", path)?.dev();
    let link = format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    );
    Ok(fs::canonicalize(link)
        .ok()
        .and_then(|folder| named(folder.file_name()?.to_str()?)))
}

/// The device whose first `length` bytes satisfy `matches`. Devices that cannot be read
/// (an empty card reader) are passed over; whole disks come after their partitions.
pub fn find(
    length: usize,
    mut matches: impl FnMut(&Device, &[u8]) -> bool,
) -> Result<Option<Device>, PathError> {
    let mut devices = list()?;
    devices.sort_by_key(|d| d.partition.is_none());
    Ok(devices.into_iter().find(|device| {
        device
            .start_bytes(length)
            .is_ok_and(|bytes| matches(device, &bytes))
    }))
}

/// Asks again and again until there is an answer or the time is over. The pauses grow from
/// 5 ms to 100 ms.
pub fn wait<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begun.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_the_sizes_that_the_kernel_tells_elsewhere() {
        let table = fs::read_to_string("/proc/partitions").unwrap();
        let listed = list().unwrap();
        let mut seen = 0;
        for line in table.lines().skip(2) {
            let words: Vec<_> = line.split_whitespace().collect();
            let Some(device) = listed.iter().find(|d| d.name == words[3]) else {
                continue;
            };
            let number = (words[0].parse().unwrap(), words[1].parse().unwrap());
            assert_eq!(device.number, number, "{line}");
            assert_eq!(
                device.size / 1024,
                words[2].parse::<u64>().unwrap(),
                "{line}"
            );
            seen += 1;
        }
        if seen == 0 {
            eprintln!("skipped: no block devices");
        }
        assert_eq!(named("../block"), None);
        assert_eq!(named("no-such-device"), None);
    }

    #[test]
    fn waiting_ends() {
        let mut asked = 0;
        assert_eq!(wait(Duration::ZERO, || None::<()>), None);
        let answer = wait(Duration::from_mins(1), || {
            asked += 1;
            (asked == 3).then_some(asked)
        });
        assert_eq!(answer, Some(3));
    }
}
