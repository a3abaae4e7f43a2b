//! Boot Loader Specification type 1 entries (UAPI.1): their text and their file names.
//!
//! Elea writes `elea-<n>+3-0.conf` for a generation whose tries are counted, `elea-<n>.conf`
//! for a good one and `elea-rescue.conf`. Everything else in the folder is somebody
//! else's and is copied byte for byte. `docs/formats/boot-entry.md` describes the profile.

use std::fmt;
use std::fmt::Write as _;

/// How often a new generation may try to boot. One digit, so that the loader's renames keep
/// the name's length (UAPI.1, "Boot counting").
pub const TRIES: u32 = 3;
/// The sort-key of generations.
pub const SORT_KEY: &str = "elea";
/// The sort-key of the rescue entry: after every generation.
pub const RESCUE_SORT_KEY: &str = "elea-zz";
/// The sort-key of specialisations: after the rescue entry, so that none boots by itself.
pub const SPECIALISATION_SORT_KEY: &str = "elea-zz-specialisation";
/// The longest entry text that is read, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// A text that is not a boot entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_TEXT`] bytes.
    #[error("a boot entry of {0} bytes; at most {MAX_TEXT} are read")]
    TooLong(usize),
    /// A line without a value, or with control characters.
    #[error("line {line} of the boot entry is not `key value`: `{text}`")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its text, shortened.
        text: String,
    },
    /// A key that may be given only once.
    #[error("line {line} of the boot entry gives `{key}` a second time")]
    Twice {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// Neither `linux` nor `efi` nor `uki`.
    #[error("the boot entry names nothing to boot (no `linux`, `efi` or `uki` line)")]
    Nothing,
}

/// A boot entry. Keys that have no field are kept in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the menu shows.
    pub title: Option<String>,
    /// The version, ordered by UAPI.10; Elea's number.
    pub version: Option<String>,
    /// The first criterion of the order.
    pub sort_key: Option<String>,
    /// The kernel, from the root of `$BOOT`: `/elea/<sha256>`.
    pub linux: Option<String>,
    /// The initrds, in the order of loading.
    pub initrds: Vec<String>,
    /// The kernel command line; several `options` lines are joined by blanks.
    pub options: Option<String>,
    /// All other keys.
    pub others: Vec<(String, String)>,
}

impl Entry {
    /// Reads the text of an entry: comments and blank lines are skipped, a line without a
    /// value, a repeated single key and an entry with nothing to boot are errors.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_TEXT {
            return Err(Error::TooLong(text.len()));
        }
        let mut entry = Self::default();
        for (index, raw) in text.lines().enumerate() {
            let line = index + 1;
            let raw = raw.trim();
            if raw.is_empty() || raw.starts_with('#') {
                continue;
            }
            let bad = || Error::Line {
                line,
                text: raw.chars().take(80).collect(),
            };
            let (key, value) = raw.split_once([' ', '\t']).ok_or_else(bad)?;
            let value = value.trim();
            if value.is_empty() || value.chars().any(|c| c.is_control() && c != '\t') {
                return Err(bad());
            }
            entry
                .set(key, value)
                .map_err(|key| Error::Twice { line, key })?;
        }
        let boots = |key| entry.others.iter().any(|(k, _)| k == key);
        if entry.linux.is_none() && !["efi", "uki", "uki-url"].into_iter().any(boots) {
            return Err(Error::Nothing);
        }
        Ok(entry)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let single = match key {
            "title" => &mut self.title,
            "version" => &mut self.version,
            "sort-key" => &mut self.sort_key,
            "linux" => &mut self.linux,
            "initrd" => {
                self.initrds.push(value.to_owned());
                return Ok(());
            }
            "options" => {
                let options = self.options.get_or_insert_default();
                if !options.is_empty() {
                    options.push(' ');
                }
                options.push_str(value);
                return Ok(());
            }
            _ => {
                self.others.push((key.to_owned(), value.to_owned()));
                return Ok(());
            }
        };
        if single.is_some() {
            return Err(key.to_owned());
        }
        *single = Some(value.to_owned());
        Ok(())
    }

    /// The text, one key a line, in the order of the specification.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} {value}");
        };
        let singles = [
            ("title", &self.title),
            ("version", &self.version),
            ("sort-key", &self.sort_key),
        ];
        for (key, value) in singles {
            if let Some(value) = value {
                line(key, value);
            }
        }
        for (key, value) in &self.others {
            line(key, value);
        }
        if let Some(linux) = &self.linux {
            line("linux", linux);
        }
        for initrd in &self.initrds {
            line("initrd", initrd);
        }
        if let Some(options) = &self.options {
            line("options", options);
        }
        text
    }
}

/// Tries left and done, as the loader counts them in the file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Counter {
    /// Tries left; at 0 the entry is bad and sorts last.
    pub left: u32,
    /// Tries done.
    pub done: u32,
}

/// Whose an entry file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// Generation `n` of Elea.
    Generation(u64),
    /// The rescue entry.
    Rescue,
}

/// The file name of an entry of Elea's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName {
    /// Which entry.
    pub owner: Owner,
    /// Its counter; none for a good one.
    pub counter: Option<Counter>,
}

impl FileName {
    /// The name of generation `number` without a counter.
    pub fn good(number: u64) -> Self {
        Self {
            owner: Owner::Generation(number),
            counter: None,
        }
    }

    /// The name of generation `number` with a full counter.
    pub fn counted(number: u64) -> Self {
        Self {
            owner: Owner::Generation(number),
            counter: Some(Counter {
                left: TRIES,
                done: 0,
            }),
        }
    }

    /// The rescue entry's.
    pub fn rescue() -> Self {
        Self {
            owner: Owner::Rescue,
            counter: None,
        }
    }

    /// Reads a file name as the loader does: letter case does not matter, the counter is what
    /// stands behind the last `+`. `None` for every name that is not Elea's.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let id = name.strip_prefix("elea-")?.strip_suffix(".conf")?;
        let (id, counter) = match id.rsplit_once('+') {
            None => (id, None),
            Some((id, counter)) => (id, Some(parse_counter(counter)?)),
        };
        let owner = match id {
            "rescue" => Owner::Rescue,
            _ => Owner::Generation(parse_number(id)?),
        };
        Some(Self { owner, counter })
    }

    /// Whether the loader still boots it by itself: no counter, or tries left.
    pub fn is_bootable(&self) -> bool {
        self.counter.is_none_or(|c| c.left > 0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.owner {
            Owner::Generation(number) => write!(f, "elea-{number}")?,
            Owner::Rescue => f.write_str("elea-rescue")?,
        }
        if let Some(counter) = self.counter {
            write!(f, "+{}-{}", counter.left, counter.done)?;
        }
        f.write_str(".conf")
    }
}

/// Whether a name is what FAT leaves of one of Elea's entries when the loader's rename was
/// torn: the 8.3 name of a record without its long name, such as `ELEA-2~1.CON`. The loader
/// does not read it, and nobody else writes it.
pub fn is_debris(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let Some(stem) = name.strip_suffix(".con") else {
        return false;
    };
    stem.starts_with("elea-") && stem.contains('~')
}

/// The generation of the entry id that the loader reports (`LoaderEntrySelected`): the file
/// name without its counter, with or without `.conf`.
pub fn generation_of_id(id: &str) -> Option<u64> {
    let id = id.to_ascii_lowercase();
    let id = id.strip_suffix(".conf").unwrap_or(&id);
    let id = id.strip_prefix("elea-")?;
    parse_number(id.rsplit_once('+').map_or(id, |(id, _)| id))
}

fn parse_counter(text: &str) -> Option<Counter> {
    let (left, done) = text.split_once('-').unwrap_or((text, "0"));
    let number = |s: &str| -> Option<u32> {
        (s.len() <= 9 && !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit()))
            .then(|| s.parse().ok())?
    };
    Some(Counter {
        left: number(left)?,
        done: number(done)?,
    })
}

/// A decimal number without leading zeros, so that one generation has one name.
fn parse_number(text: &str) -> Option<u64> {
    let plain = !text.is_empty()
        && text.len() <= 18
        && text.bytes().all(|b| b.is_ascii_digit())
        && !(text.len() > 1 && text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = "title Hello 2.0 (2)\nversion 2\nsort-key elea\narchitecture x64\n\
        linux /elea/aa\ninitrd /elea/bb\ninitrd /elea/cc\noptions elea.generation=2 ro\n";

    #[test]
    fn the_text_of_an_entry_round_trips() {
        let entry = Entry::parse(GOLDEN).unwrap();
        assert_eq!(entry.initrds, ["/elea/bb", "/elea/cc"]);
        assert_eq!(entry.others, [("architecture".into(), "x64".into())]);
        assert_eq!(entry.encode(), GOLDEN);
        let split =
            Entry::parse("# made by hand\n\nlinux  /a\r\noptions a\noptions\tb c\n").unwrap();
        assert_eq!(split.options.as_deref(), Some("a b c"));
    }

    #[test]
    fn broken_entries_are_refused_with_their_line() {
        let cases = [
            ("linux /a\ntitle\n", "line 2"),
            (
                "linux /a\nlinux /b\n",
                "line 2 of the boot entry gives `linux` a second",
            ),
            ("linux /a\u{1}\n", "line 1"),
            ("title x\n", "nothing to boot"),
        ];
        for (text, expected) in cases {
            let error = Entry::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(Entry::parse(&"x y\n".repeat(MAX_TEXT)).is_err());
    }

    #[test]
    fn names_are_read_as_the_loader_writes_them() {
        let counter = |left, done| Some(Counter { left, done });
        let cases = [
            ("elea-2+3-0.conf", Owner::Generation(2), counter(3, 0)),
            ("ELEA-12+2-1.CONF", Owner::Generation(12), counter(2, 1)),
            ("elea-7+0-3.conf", Owner::Generation(7), counter(0, 3)),
            ("elea-7+3.conf", Owner::Generation(7), counter(3, 0)),
            ("elea-7.conf", Owner::Generation(7), None),
            ("elea-rescue.conf", Owner::Rescue, None),
        ];
        for (name, owner, counter) in cases {
            assert_eq!(
                FileName::parse(name),
                Some(FileName { owner, counter }),
                "{name}"
            );
        }
        for foreign in [
            "debian.conf",
            "elea-.conf",
            "elea-2",
            "elea-02.conf",
            "elea-2+x.conf",
            "elea-2+1-99999999999.conf",
            "elea-2.conf.new",
            "elea-x.conf",
            "ELEA-2~1.CON",
            "",
        ] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
        assert!(
            is_debris("ELEA-2~1.CON") && !is_debris("MYOS-D~2.CON") && !is_debris("elea-2.conf")
        );
        assert_eq!(generation_of_id("elea-12.conf"), Some(12));
        assert_eq!(generation_of_id("elea-rescue.conf"), None);
    }

    proptest! {
        #[test]
        fn every_name_reads_back(number in 0..u64::pow(10, 17), left in 0..10u32, done in 0..10u32) {
            for name in [
                FileName::good(number),
                FileName { owner: Owner::Generation(number), counter: Some(Counter { left, done }) },
            ] {
                prop_assert_eq!(FileName::parse(&name.to_string()), Some(name));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = (Entry::parse(&text), FileName::parse(&text), generation_of_id(&text));
        }
    }
}
