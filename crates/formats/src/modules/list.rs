//! `/elea/modules` of an initrd: which modules are loaded, in which order, and for what.
//!
//! Lines of words. `always PATH`, `watchdog PATH` (where no watchdog appeared), `esp PATH`
//! (before the EFI system partition is mounted), `loop PATH`; `driver PATH…` (its
//! dependencies first) followed by `alias PATTERN` lines: it is loaded when a device's
//! `modalias` matches. `docs/formats/initrd.md` has the rules.

use std::fmt::Write as _;

/// The first line.
const HEAD: &str = "elea-modules 1";
/// More lines than any kernel's storage drivers make.
const LINES: usize = 100_000;

/// What an initrd loads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadList {
    /// At once, in this order.
    pub always: Vec<String>,
    /// When no hardware watchdog was found.
    pub watchdog: Vec<String>,
    /// Before the EFI system partition is mounted.
    pub esp: Vec<String>,
    /// Before a loop device is needed.
    pub loop_device: Vec<String>,
    /// When a device asks for them.
    pub drivers: Vec<Driver>,
}

/// A driver and what asks for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    /// Its dependencies and, last, itself.
    pub paths: Vec<String>,
    /// Patterns of `modalias` texts, with `*`, `?` and `[a-z]`.
    pub aliases: Vec<String>,
}

/// Why a list was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of /elea/modules is not understood: `{text}`")]
pub struct ListError {
    /// Counted from 1.
    pub line: usize,
    /// Its beginning.
    pub text: String,
}

impl LoadList {
    /// The text of the list.
    pub fn encode(&self) -> String {
        let mut out = format!("{HEAD}\n");
        let groups = [
            ("always", &self.always),
            ("watchdog", &self.watchdog),
            ("esp", &self.esp),
            ("loop", &self.loop_device),
        ];
        for (word, paths) in groups {
            for path in paths {
                let _ = writeln!(out, "{word} {path}");
            }
        }
        for driver in &self.drivers {
            let _ = writeln!(out, "driver {}", driver.paths.join(" "));
            for alias in &driver.aliases {
                let _ = writeln!(out, "alias {alias}");
            }
        }
        out
    }

    /// Reads the text of a list.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let mut list = Self::default();
        for (i, line) in text.lines().enumerate() {
            let error = || ListError {
                line: i + 1,
                text: line.chars().take(80).collect(),
            };
            if i == 0 && line == HEAD {
                continue;
            }
            let (word, rest) = line.split_once(' ').ok_or_else(error)?;
            if i == 0 || i > LINES || rest.is_empty() {
                return Err(error());
            }
            match word {
                "always" => list.always.push(rest.to_owned()),
                "watchdog" => list.watchdog.push(rest.to_owned()),
                "esp" => list.esp.push(rest.to_owned()),
                "loop" => list.loop_device.push(rest.to_owned()),
                "driver" => list.drivers.push(Driver {
                    paths: rest.split(' ').map(str::to_owned).collect(),
                    aliases: Vec::new(),
                }),
                "alias" => {
                    let driver = list.drivers.last_mut().ok_or_else(error)?;
                    driver.aliases.push(rest.to_owned());
                }
                _ => return Err(error()),
            }
        }
        Ok(list)
    }
}

/// Whether a `modalias` text matches a pattern of `modules.alias`, as `fnmatch(3)` without
/// flags does. Takes time in proportion to both lengths multiplied at most.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last `*` does not fit.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(&pattern[p..], text[t]),
            Some(c) if *c == text[t] => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((after, from))) => {
                retry = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// The length of a `[…]` that holds the byte.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let end = pattern.iter().position(|c| *c == b']')?;
    let mut set = &pattern[1..end];
    let mut found = false;
    while let Some(first) = set.first() {
        if set.len() >= 3 && set[1] == b'-' {
            found |= (*first..=set[2]).contains(&byte);
            set = &set[3..];
        } else {
            found |= *first == byte;
            set = &set[1..];
        }
    }
    found.then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_reads_back() {
        let list = LoadList {
            always: vec!["kernel/a.ko.xz".into(), "kernel/b.ko".into()],
            watchdog: vec!["kernel/softdog.ko".into()],
            esp: vec!["kernel/vfat.ko".into()],
            loop_device: vec!["kernel/loop.ko".into()],
            drivers: vec![Driver {
                paths: vec!["kernel/ring.ko".into(), "kernel/blk.ko".into()],
                aliases: vec!["virtio:d00000002v*".into()],
            }],
        };
        assert_eq!(LoadList::parse(&list.encode()), Ok(list));
        for bad in [
            "always a",
            "elea-modules 2\n",
            "elea-modules 1\nalias x",
            "elea-modules 1\nwhat x",
        ] {
            assert!(LoadList::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match_as_in_fnmatch() {
        for (pattern, text, expected) in [
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("virtio:d00000008v*", "virtio:d00000002v00001AF4", false),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
                true,
            ),
            (
                "pci:v*d*sv*sd*bc01sc08i02*",
                "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc06i01",
                false,
            ),
            ("usb:v04E6d0006p0[1-2]*", "usb:v04E6d0006p01", true),
            ("usb:v04E6d0006p0[1-2]*", "usb:v04E6d0006p03", false),
            ("usb:v04E6d0006p0[13]", "usb:v04E6d0006p03", true),
            ("scsi:t-0x00*", "scsi:t-0x00", true),
            ("a?c", "abc", true),
            ("a[b", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let slow = "*a".repeat(40);
        assert!(!matches(&slow, &"a".repeat(39)));
    }
}
