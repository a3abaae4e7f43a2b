//! Records of panics that the firmware kept (pstore), put together again.
//!
//! The kernel splits one panic into parts of about 1.6 KB with the header `Panic#N PartM`, part 1 the
//! newest. systemd-pstore moves them to `/var/lib/systemd/pstore/<seconds>/`, and splits one
//! panic over two folders when its parts carry two different seconds. Both places are read, and parts
//! are grouped by the number of the panic and neighbouring seconds.

use super::read_all;
use elea_formats::booted::Try;
use elea_formats::cmdline::CommandLine;
use elea_formats::generation::GENERATION_ARGUMENT;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel shows the records of earlier boots.
const KERNEL: &str = "/sys/fs/pstore";
/// Where systemd-pstore moves them.
const MOVED: &str = "/var/lib/systemd/pstore";
/// The largest part.
const MAX_PART: u64 = 1 << 20;
/// Folders of moved records that are looked at.
const MAX_FOLDERS: usize = 256;
/// Parts of one panic are written within this many seconds.
const NEAR: u64 = 3;
/// Seconds that the clock of a try's record may be behind the panic: a boot takes that long at most.
const BOOT: u64 = 3600;

/// Parts of one second: number and text.
type Parts<'a> = BTreeSet<(u64, &'a str)>;

/// One panic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panic {
    /// Seconds since 1970 of its first part, by the machine's clock.
    pub seconds: u64,
    /// The generation, if the command line is in the text.
    pub generation: Option<u64>,
    /// "kernel panic: sysrq triggered crash".
    pub reason: String,
    /// The end of the kernel's log.
    pub text: String,
}

/// Reads all records.
pub(super) fn load() -> Vec<Panic> {
    let mut files = read_all(Path::new(KERNEL), MAX_PART);
    for folder in moved(Path::new(MOVED)) {
        files.extend(read_all(&folder, MAX_PART));
    }
    group(&files)
}

/// `<seconds>/` and `<seconds>/001/` below the place of moved records.
fn moved(root: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let paths = entries.map(|e| e.path()).filter(|p| p.is_dir());
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.sort();
        paths
    };
    let mut all = vec![root.to_owned()];
    for folder in folders(root) {
        all.extend(folders(&folder));
        all.push(folder);
    }
    let skip = all.len().saturating_sub(MAX_FOLDERS);
    all.split_off(skip)
}

/// Puts panics together from files by name: `dmesg-efi_pstore-<id>` with the kernel's header in
/// the first line. Oldest first. Files that are no part of a panic are left out.
pub fn group(files: &[(String, String)]) -> Vec<Panic> {
    let mut parts: BTreeMap<u64, BTreeMap<u64, Parts<'_>>> = BTreeMap::new();
    for (name, text) in files {
        if let Some((number, part)) = header(text)
            && let Some(seconds) = seconds(name)
        {
            let body = text.split_once('\n').map_or("", |(_, body)| body);
            let times = parts.entry(number).or_default();
            times.entry(seconds).or_default().insert((part, body));
        }
    }
    let mut panics = Vec::new();
    for times in parts.values() {
        let mut group: Vec<(u64, &str)> = Vec::new();
        let mut begin = 0;
        let mut last = None;
        for (seconds, these) in times {
            if last.is_some_and(|last| seconds - last > NEAR) {
                panics.push(panic(begin, std::mem::take(&mut group)));
            }
            if group.is_empty() {
                begin = *seconds;
            }
            group.extend(these.iter().copied());
            last = Some(*seconds);
        }
        panics.push(panic(begin, group));
    }
    panics.sort_by_key(|p| p.seconds);
    panics
}

fn panic(seconds: u64, mut parts: Vec<(u64, &str)>) -> Panic {
    // Part 1 is the newest. A part that both places have stands once.
    parts.sort_by(|a, b| b.cmp(a));
    parts.dedup();
    let text: String = parts.iter().map(|(_, body)| *body).collect();
    let line = text
        .lines()
        .find_map(|l| Some(l.split_once("Kernel panic - not syncing: ")?.1));
    Panic {
        seconds,
        generation: generation(&text),
        reason: match line {
            Some(why) => format!("kernel panic: {}", why.trim()),
            None => "kernel panic".into(),
        },
        text,
    }
}

/// `Panic#2 Part1` in the first line.
fn header(text: &str) -> Option<(u64, u64)> {
    let first = text.lines().next()?;
    let (number, part) = first.strip_prefix("Panic#")?.split_once(" Part")?;
    Some((number.parse().ok()?, part.trim().parse().ok()?))
}

/// The time in a file's name: the id is `(seconds * 100 + part) * 1000 + count`
/// (`drivers/firmware/efi/efi-pstore.c`).
fn seconds(name: &str) -> Option<u64> {
    let id = name
        .strip_prefix("dmesg-efi_pstore-")
        .or_else(|| name.strip_prefix("dmesg-efi-"))?;
    let digits: String = id.chars().take_while(char::is_ascii_digit).collect();
    Some(digits.parse::<u64>().ok()? / 100_000)
}

/// The generation that the kernel's log names in the command line.
fn generation(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| Some(l.split_once("ommand line: ")?.1))?;
    CommandLine::parse(line)
        .value(GENERATION_ARGUMENT)?
        .parse()
        .ok()
}

/// The panics of a generation: those that name it, and those without a name that fall into
/// one of its tries. `tries` are those of all generations.
pub(super) fn of_generation<'a>(
    panics: &'a [Panic],
    number: u64,
    tries: &'a [Try],
) -> Vec<(&'a Panic, Option<&'a Try>)> {
    let mine = panics.iter().filter_map(|panic| {
        let boot = boot_of(panic, tries);
        let named = panic.generation.or(boot.map(|t| t.number));
        let boot = boot.filter(|t| t.number == number);
        (named == Some(number)).then_some((panic, boot))
    });
    mine.collect()
}

/// The last boot that had begun when it happened, if that was not long before.
fn boot_of<'a>(panic: &Panic, tries: &'a [Try]) -> Option<&'a Try> {
    let begun = |t: &Try| {
        let time: jiff::Timestamp = t.time.parse().ok()?;
        u64::try_from(time.as_second()).ok()
    };
    let before = tries.iter().filter_map(|t| Some((begun(t)?, t)));
    let last = before
        .filter(|(begin, _)| *begin <= panic.seconds)
        .max_by_key(|(begin, _)| *begin);
    let (start, boot) = last?;
    (panic.seconds - start < BOOT).then_some(boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(number: u64, part: u64, seconds: u64, body: &str) -> (String, String) {
        let id = (seconds * 100 + part) * 1000 + number;
        (
            format!("dmesg-efi_pstore-{id}"),
            format!("Panic#{number} Part{part}\n{body}"),
        )
    }

    #[test]
    fn parts_of_neighbouring_seconds_are_one_panic() {
        let files = [
            file(
                1,
                1,
                1_760_000_001,
                "<0>[9] Kernel panic - not syncing: sysrq triggered crash\n",
            ),
            file(1, 2, 1_760_000_000, "<6>[1] middle\n"),
            file(
                1,
                3,
                1_760_000_000,
                "<5>[0] Command line: ro elea.generation=4 quiet\n",
            ),
            // A second panic, also the first of its boot.
            file(
                1,
                1,
                1_760_000_060,
                "<0>[9] Kernel panic - not syncing: Attempted to kill init!\n",
            ),
            // The same part in both places.
            file(
                1,
                1,
                1_760_000_060,
                "<0>[9] Kernel panic - not syncing: Attempted to kill init!\n",
            ),
            (
                "dmesg-efi_pstore-176000000010001".into(),
                "Oops#1 Part1\nno panic\n".into(),
            ),
            (
                "dmesg.txt".into(),
                "Panic#1 Part1\nput together by systemd\n".into(),
            ),
        ];
        let panics = group(&files);
        assert_eq!(panics.len(), 2, "{panics:?}");
        assert_eq!(panics[0].generation, Some(4));
        assert_eq!(panics[0].reason, "kernel panic: sysrq triggered crash");
        assert!(
            panics[0].text.starts_with("<5>[0] Command") && panics[0].text.ends_with("crash\n")
        );
        assert_eq!(panics[1].text.lines().count(), 1);
        let record = Try {
            schema: String::new(),
            boot_id: "b".into(),
            time: "2025-10-09T08:54:00Z".into(),
            number: 5,
            ended: None,
        };
        // 1760000060 is 2025-10-09T08:54:20Z.
        let earlier = Try {
            time: "2025-10-09T08:00:00Z".into(),
            number: 4,
            ..record.clone()
        };
        let tries = [record, earlier];
        let told = |number, tries| -> Vec<u64> {
            let own = of_generation(&panics, number, tries);
            own.iter().map(|(panic, _)| panic.seconds).collect()
        };
        assert_eq!(told(5, &tries), [1_760_000_060]);
        assert_eq!(told(4, &tries), [1_760_000_000]);
        assert_eq!(told(4, &tries[1..]), [1_760_000_000, 1_760_000_060]);
        assert_eq!(told(4, &[]), [1_760_000_000]);
        assert_eq!(told(5, &[]), [0; 0]);
    }

    #[test]
    fn no_file_makes_it_fail() {
        for text in [
            "",
            "Panic#",
            "Panic#1 Part",
            "Panic#99999999999999999999 Part1\nx",
        ] {
            assert_eq!(group(&[("dmesg-efi_pstore-1".into(), text.into())]), []);
        }
        assert_eq!(seconds("dmesg-efi_pstore-x"), Some(0).filter(|_| false));
    }
}
