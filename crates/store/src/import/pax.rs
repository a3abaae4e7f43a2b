//! PAX extended headers.
//!
//! Source: POSIX.1-2017, pax, "pax Extended Header"; the keys `SCHILY.xattr.*` and
//! `SCHILY.acl.*` are star's and GNU tar's. Values may hold any bytes, line ends included.

/// The records of an extended header, in their order; none if it is malformed.
pub(super) fn parse(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().take(12).position(|b| *b == b' ')?;
        let digits = std::str::from_utf8(&data[..space]).ok()?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let length: usize = digits.parse().ok()?;
        let record = data.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        if equals == 0 {
            return None;
        }
        records.push((&record[..equals], &record[equals + 1..]));
        data = &data[length..];
    }
    Some(records)
}

/// The name of an attribute, which GNU tar writes with `%25` for `%` and `%3D` for `=`, since a key ends
/// at the first `=`.
pub(super) fn attribute(key: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(key.len());
    let mut rest = key;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        name.push(match (byte, after) {
            (b'%', [b'2', b'5', tail @ ..]) => {
                rest = tail;
                b'%'
            }
            (b'%', [b'3', b'D', tail @ ..]) => {
                rest = tail;
                b'='
            }
            _ => *byte,
        });
    }
    name
}

/// A decimal number of seconds, with a sign and a fraction: seconds (rounded down) and nanoseconds.
pub(super) fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let decimal = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !decimal(whole) || !decimal(fraction) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let nanoseconds = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if !negative {
        return Some((seconds, nanoseconds));
    }
    match nanoseconds {
        0 => Some((-seconds, 0)),
        _ => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

/// An ACL in star's text form (`user::rw-,user:lisa:rw-:1000,…`) as the kernel's attribute
/// (`linux/posix_acl_xattr.h`). People and groups must have numbers: names mean something
/// on one machine alone.
pub(super) fn acl(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    const MALFORMED: &str = "has a malformed ACL";
    let text = std::str::from_utf8(text).map_err(|_| MALFORMED)?;
    let mut entries = Vec::new();
    for part in text.split([',', '\n']) {
        let part = part.split('#').next().unwrap_or(part).trim();
        if part.is_empty() {
            continue;
        }
        let fields: Vec<&str> = part.split(':').collect();
        let (kind, who, rights) = match fields.as_slice() {
            [kind, who, rights] | [kind, who, rights, _] => (*kind, *who, *rights),
            [kind @ ("mask" | "other" | "m" | "o"), rights] => (*kind, "", *rights),
            _ => return Err(MALFORMED),
        };
        let tag: u16 = match (kind, who.is_empty()) {
            ("user" | "u", true) => 0x01,
            ("user" | "u", false) => 0x02,
            ("group" | "g", true) => 0x04,
            ("group" | "g", false) => 0x08,
            ("mask" | "m", true) => 0x10,
            ("other" | "o", true) => 0x20,
            _ => return Err(MALFORMED),
        };
        let id = if who.is_empty() {
            u32::MAX
        } else {
            who.parse()
                .ok()
                .or_else(|| fields.get(3)?.parse().ok())
                .ok_or("has an ACL for a name without a number; pack it with --numeric-owner")?
        };
        let mut bits: u16 = 0;
        for c in rights.trim_end().chars() {
            bits |= match c {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return Err(MALFORMED),
            };
        }
        entries.push((tag, id, bits));
    }
    entries.sort_unstable();
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, id, bits) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_bytes() {
        let data = b"11 a=b\nc=d\n8 x=\0\n=\n";
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a", b"b\nc=d"), (b"x", b"\0\n=")];
        assert_eq!(parse(data).unwrap(), expected);
        for bad in [
            &b"11 a=b\nc=d"[..],
            b"12 a=b\nc=d\n",
            b"6 a=\n",
            b"4 a\n",
            b"-5 a=b\n",
            b"+6 a=b\n",
            b"5  =b\n\n",
            b"4 =\n",
            b"99999999999999999999 a=b\n",
            b"3 \n",
            b"2 ",
            b"x",
        ] {
            assert_eq!(parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn attributes_have_any_name() {
        for (key, name) in [
            ("user.a", "user.a"),
            ("user.b%3D%25c", "user.b=%c"),
            ("user.%253D", "user.%3D"),
            ("user.%3d%2", "user.%3d%2"),
        ] {
            assert_eq!(attribute(key.as_bytes()), name.as_bytes());
        }
    }

    #[test]
    fn times_round_down() {
        for (text, expected) in [
            ("0", Some((0, 0))),
            ("1700000000.123456789", Some((1_700_000_000, 123_456_789))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-3.5", Some((-4, 500_000_000))),
            ("5.", Some((5, 0))),
            ("99999999999999999999", None),
            ("", None),
            (".5", None),
            ("1e9", None),
            ("1.-5", None),
            ("--1", None),
        ] {
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn acls_become_the_kernels() {
        let text = b"user::rw-,user:1000:r--,user:lisa:rwx:77,group::r--,mask::r-x,other::---";
        let mut expected = vec![2, 0, 0, 0];
        for (tag, bits, id) in [
            (1, 6, u32::MAX),
            (2, 7, 77),
            (2, 4, 1000),
            (4, 4, u32::MAX),
            (16, 5, u32::MAX),
            (32, 0, u32::MAX),
        ] {
            expected.extend([tag, 0, bits, 0]);
            expected.extend(id.to_le_bytes());
        }
        assert_eq!(acl(text), Ok(expected));
        assert!(
            acl(b"user:lisa:rwx")
                .unwrap_err()
                .contains("--numeric-owner")
        );
        assert!(acl(b"nobody::rwx").is_err());
        assert!(acl(b"user::rwz").is_err());
    }
}
