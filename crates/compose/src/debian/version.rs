//! The order of Debian's versions (Debian Policy 5.6.12).

use std::cmp::Ordering;

/// Compares two versions: epoch, upstream's version, Debian's revision. Total, never fails.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let ((epoch_a, a), (epoch_b, b)) = (epoch(a), epoch(b));
    let ((upstream_a, revision_a), (upstream_b, revision_b)) = (revision(a), revision(b));
    number(epoch_a, epoch_b)
        .then_with(|| part(upstream_a, upstream_b))
        .then_with(|| part(revision_a, revision_b))
}

fn epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("", version))
}

fn revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Compares texts and numbers in turn.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b);
        (text_a, a) = split(a, |c| !c.is_ascii_digit());
        (text_b, b) = split(b, |c| !c.is_ascii_digit());
        let (number_a, number_b);
        (number_a, a) = split(a, |c| c.is_ascii_digit());
        (number_b, b) = split(b, |c| c.is_ascii_digit());
        let order = text(text_a, text_b).then_with(|| number(number_a, number_b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn split(text: &str, is_in: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_in(c)).unwrap_or(text.len()))
}

/// `~` sorts before the end, the end before letters, letters before all else.
fn text(a: &str, b: &str) -> Ordering {
    let weight = |c: u8| match c {
        b'~' => -1,
        c if c.is_ascii_alphabetic() => i32::from(c),
        c => i32::from(c) + 256,
    };
    // The end counts as nothing, which is more than `~`.
    let weights = |s: &str| s.bytes().map(weight).chain([0]).collect::<Vec<i32>>();
    weights(a).cmp(&weights(b))
}

/// Numbers of any length; none is zero.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        if !Path::new("/usr/bin/dpkg").exists() {
            println!("skipped: no dpkg");
            return;
        }
        let versions = [
            "1.0",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1~bpo12+1",
            "1.0~rc1-1",
            "1.0~rc1~x",
            "1:0.5",
            "0:1.0",
            "1.10",
            "1.9",
            "1.0+git2",
            "1.0a",
            "1.0.1",
            "1.00-01",
            "2-1-1",
            "1.0-0",
            "1.0+",
            "18446744073709551617",
            "9",
        ];
        for a in versions {
            for b in versions {
                let says = |how: &str| {
                    let words = ["--compare-versions", a, how, b];
                    Command::new("dpkg")
                        .args(words)
                        .stderr(std::process::Stdio::null())
                        .status()
                        .unwrap()
                        .success()
                };
                let expected = match (says("lt"), says("eq")) {
                    (true, _) => Ordering::Less,
                    (_, true) => Ordering::Equal,
                    _ => Ordering::Greater,
                };
                assert_eq!(compare(a, b), expected, "{a} {b}");
            }
        }
    }
}
