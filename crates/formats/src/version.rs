//! The order of versions: the UAPI.10 Version Format Specification.
//!
//! The same order as systemd-boot's for the `version` key of boot entries, so that what
//! Elea calls newer is what the boot loader shows first.

use std::cmp::Ordering;

/// Compares two versions by UAPI.10. Total, never fails; texts that differ only in
/// separators without meaning are equal (`1_` and `1`).
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_foreign(a);
        b = skip_foreign(b);
        // `~` sorts before everything, even the end.
        match separator(&mut a, &mut b, b'~') {
            Ordering::Equal => {}
            order => return order,
        }
        if a.is_empty() || b.is_empty() {
            return a.is_empty().cmp(&b.is_empty()).reverse();
        }
        for mark in [b'-', b'^', b'.'] {
            match separator(&mut a, &mut b, mark) {
                Ordering::Equal => {}
                order => return order,
            }
        }
        let order = if starts_with_digit(a) || starts_with_digit(b) {
            numbers(&mut a, &mut b)
        } else {
            letters(&mut a, &mut b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Bytes outside the alphabet of versions separate segments and mean nothing.
fn skip_foreign(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|b| b.is_ascii_alphanumeric() || b"-.~^".contains(b))
        .unwrap_or(text.len());
    &text[start..]
}

/// Takes `mark` from both; the one that alone has it is the older.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Ordering {
    match (a.first() == Some(&mark), b.first() == Some(&mark)) {
        (true, true) => {
            *a = &a[1..];
            *b = &b[1..];
            Ordering::Equal
        }
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => Ordering::Equal,
    }
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_digit)
}

/// Splits off the longest head whose bytes are all `is`.
fn head<'a>(text: &mut &'a [u8], is: fn(&u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|b| !is(b)).unwrap_or(text.len());
    let (head, rest) = text.split_at(end);
    *text = rest;
    head
}

/// A number of any length; a missing one is older than any.
fn numbers(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    let (x, y) = (head(a, u8::is_ascii_digit), head(b, u8::is_ascii_digit));
    if x.is_empty() || y.is_empty() {
        return x.is_empty().cmp(&y.is_empty()).reverse();
    }
    let (x, y) = (without_zeros(x), without_zeros(y));
    x.len().cmp(&y.len()).then_with(|| x.cmp(y))
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    let start = digits
        .iter()
        .position(|&b| b != b'0')
        .unwrap_or(digits.len());
    &digits[start..]
}

/// Letters by byte value; a head of the other is the older.
fn letters(a: &mut &[u8], b: &mut &[u8]) -> Ordering {
    let (x, y) = (
        head(a, u8::is_ascii_alphabetic),
        head(b, u8::is_ascii_alphabetic),
    );
    x.cmp(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The chain and the pairs that UAPI.10 publishes under "Examples", and the chain of
    /// its description (`122.1` … `124-1`).
    const CHAINS: &[&[&str]] = &[
        &[
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
        ],
        &["~1", "~11"],
        &["", "11"],
        &["~1", ""],
        &["1.3.3", "1_2_3"],
        &["12", "12.3"],
        &["A", "B", "a", "aa"],
        &["1.0.0~rc1", "1.0.0", "1.0.1"],
        &["257.13-1~deb13u1", "258-1", "262.1-1"],
    ];
    /// Pairs that are equal.
    const EQUAL: &[(&str, &str)] = &[
        ("11", "11"),
        ("systemd-123", "systemd-123"),
        ("11α", "11β"),
        ("00123", "123"),
        ("1_", "1"),
        ("", "_"),
    ];
    /// `(older, newer)` pairs of the specification's list.
    const PAIRS: &[(&str, &str)] = &[
        ("bar-123", "foo-123"),
        ("123", "123a"),
        ("123a", "123b"),
        ("123.a", "123.b"),
        ("123.a", "123.1"),
        ("123a", "124"),
        ("11α", "12"),
        ("1", "1-"),
        ("1.", "1-1x"),
    ];

    #[test]
    fn the_published_examples_are_in_their_order() {
        for chain in CHAINS {
            for (i, older) in chain.iter().enumerate() {
                for newer in &chain[i + 1..] {
                    assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
                    assert_eq!(compare(newer, older), Ordering::Greater, "{newer} {older}");
                }
                assert_eq!(compare(older, older), Ordering::Equal);
            }
        }
        for (a, b) in EQUAL {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    /// systemd's own comparison is the oracle for each text and those after it in its list.
    #[test]
    fn systemd_agrees() {
        let ask = |a: &str, b: &str| {
            Command::new("systemd-analyze")
                .args(["compare-versions", "--", a, b])
                .output()
                .ok()
                .and_then(|o| o.status.code())
        };
        if ask("1", "1") != Some(0) {
            println!("skipped: no systemd-analyze compare-versions");
            return;
        }
        let mut pairs: Vec<(&str, &str)> = EQUAL.iter().chain(PAIRS).copied().collect();
        for chain in CHAINS {
            pairs.extend(chain.windows(2).map(|w| (w[0], w[1])));
            pairs.extend(chain.windows(3).map(|w| (w[2], w[0])));
        }
        for (a, b) in pairs {
            let expected = match ask(a, b) {
                Some(0) => Ordering::Equal,
                Some(11) => Ordering::Greater,
                Some(12) => Ordering::Less,
                other => panic!("systemd-analyze said {other:?} for `{a}` `{b}`"),
            };
            assert_eq!(compare(a, b), expected, "`{a}` `{b}`");
        }
    }
}
