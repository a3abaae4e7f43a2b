//! FAT's two names for a file: eleven bytes of capitals, and the real one in records before it.

use std::collections::BTreeSet;
use std::io;

/// The names of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// The records of the long name, in their order on disk; none if the short one says all.
    pub(super) long: Vec<[u8; 32]>,
    /// The short name.
    pub(super) short: [u8; 11],
}

/// The names of a folder's files, in the same order.
pub(super) fn records(names: &[String]) -> io::Result<Vec<Names>> {
    let mut taken: BTreeSet<[u8; 11]> = names.iter().filter_map(|n| exact(n)).collect();
    names
        .iter()
        .map(|name| {
            if let Some(short) = exact(name) {
                return Ok(Names {
                    long: Vec::new(),
                    short,
                });
            }
            let short = shortened(name, &taken)?;
            taken.insert(short);
            let long = long(name, checksum(&short))?;
            Ok(Names { long, short })
        })
        .collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_-".contains(&byte)
}

/// The short form of a name that is one already.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    let ends = name.contains('.') && extension.is_empty();
    let plain = |byte| is_plain(byte) || byte == b'~';
    let plain = base.bytes().chain(extension.bytes()).all(plain);
    (fits && plain && !ends).then(|| joined(base, extension))
}

/// Both are short enough.
fn joined(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    short
}

/// `LOADER~1.CON`: a short name that no other file of the folder has.
fn shortened(name: &str, taken: &BTreeSet<[u8; 11]>) -> io::Result<[u8; 11]> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let plain = |text: &str, most: usize| -> String {
        let capitals = text.to_ascii_uppercase();
        capitals
            .chars()
            .filter(|c| u8::try_from(*c).is_ok_and(is_plain))
            .take(most)
            .collect()
    };
    let (base, extension) = (plain(base, 6), plain(extension, 3));
    (1..1_000_000)
        .map(|number| {
            let tail = format!("~{number}");
            let keep = base.len().min(8 - tail.len());
            joined(&format!("{}{tail}", &base[..keep]), &extension)
        })
        .find(|short| !taken.contains(short))
        .ok_or_else(|| io::ErrorKind::InvalidFilename.into())
}

/// Ties the records of a long name to the short one.
fn checksum(short: &[u8; 11]) -> u8 {
    short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Thirteen characters of UTF-16 in each record, the last piece of the name first.
fn long(name: &str, checksum: u8) -> io::Result<Vec<[u8; 32]>> {
    let mut units: Vec<u16> = name.encode_utf16().collect();
    let refused = name
        .chars()
        .any(|c| c.is_control() || "\"*/:<>?\\|".contains(c));
    if refused || units.is_empty() || units.len() > 255 || name.ends_with(['.', ' ']) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    // A zero ends a name that does not fill its last record, and ones fill it.
    if !units.len().is_multiple_of(13) {
        units.push(0);
        units.resize(units.len().next_multiple_of(13), 0xffff);
    }
    let count = units.len() / 13;
    let pieces = (1_u8..).zip(units.chunks(13)).map(|(number, piece)| {
        let last = usize::from(number) == count;
        let mut bytes = [0; 32];
        bytes[0] = if last { number | 0x40 } else { number };
        bytes[11] = 0x0f;
        bytes[13] = checksum;
        let places = (1..11)
            .step_by(2)
            .chain((14..26).step_by(2))
            .chain([28, 30]);
        for (at, unit) in places.zip(piece) {
            bytes[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    });
    let mut records: Vec<_> = pieces.collect();
    records.reverse();
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
        let names = records(&names).unwrap();
        names
            .iter()
            .map(|n| String::from_utf8(n.short.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn short_names_are_capitals_and_differ() {
        assert_eq!(
            short(&["BOOTX64.EFI", "EFI"]),
            ["BOOTX64 EFI", "EFI        "]
        );
        assert_eq!(
            short(&[
                "elea-1.conf",
                "elea-12.conf",
                "elea-rescue.conf",
                "ELEA-1~1.CON"
            ]),
            ["ELEA-1~2CON", "ELEA-1~3CON", "ELEA-R~1CON", "ELEA-1~1CON"]
        );
        let many: Vec<String> = (0..12).map(|n| format!("entries.{n}.long")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(short(&many)[8..10], ["ENTRIE~9LON", "ENTRI~10LON"]);
        assert_eq!(short(&["é"]), ["~1         "]);
    }

    #[test]
    fn long_names_fill_records_of_thirteen() {
        for (name, count) in [
            ("loader.conf", 1),
            ("thirteen.chrs", 1),
            ("fourteen.chars", 2),
        ] {
            let names = records(&[name.to_owned()]).unwrap();
            assert_eq!(names[0].long.len(), count, "{name}");
            assert_eq!(names[0].long[0][0], 0x40 | u8::try_from(count).unwrap());
        }
        for bad in ["", "a/b", "a:b", "a\n", "dot.", "blank ", &"x".repeat(256)] {
            assert!(records(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
    }
}
