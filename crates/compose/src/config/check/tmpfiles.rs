//! Lines of tmpfiles.d(5).

use super::{account, line, times};

/// The types, which of them may have a plus, and whether they need an argument.
const TYPES: [(char, bool, bool); 26] = [
    ('f', true, false),
    ('w', true, true),
    ('d', false, false),
    ('D', false, false),
    ('e', false, false),
    ('v', false, false),
    ('q', false, false),
    ('Q', false, false),
    ('p', true, false),
    ('L', true, false),
    ('c', true, true),
    ('b', true, true),
    ('C', true, false),
    ('x', false, false),
    ('X', false, false),
    ('r', false, false),
    ('R', false, false),
    ('z', false, false),
    ('Z', false, false),
    ('t', false, true),
    ('T', false, true),
    ('h', false, true),
    ('H', false, true),
    ('a', true, true),
    ('A', true, true),
    ('F', false, false),
];

/// What is wrong with a line; nothing if nothing is.
pub(in super::super) fn wrong(text: &str) -> Option<&'static str> {
    if !line(text) {
        return Some("it is more than one line, or has control characters");
    }
    let Some(fields) = fields(text) else {
        return Some("a quotation has no end");
    };
    let field = |number: usize| fields.get(number).map_or("-", String::as_str);
    let mut kind = field(0).chars();
    let Some((letter, plus, argument)) = kind
        .next()
        .and_then(|letter| TYPES.into_iter().find(|(known, ..)| *known == letter))
    else {
        return Some("its type is unknown");
    };
    let more: Vec<char> = kind.collect();
    let fits =
        |c: &char| "!-=~^$".contains(*c) || (*c == '+' && plus) || (*c == '?' && letter == 'L');
    let twice = (1..more.len()).any(|at| more[..at].contains(&more[at]));
    if twice || !more.iter().all(fits) {
        return Some("its type has letters behind it that mean nothing there");
    }
    let path = field(1);
    let inside = path.split('/').all(|name| !matches!(name, "." | ".."));
    if !(path.starts_with('/') || path.starts_with('%')) || !inside {
        return Some("its path is not absolute");
    }
    if !mode(field(2)) {
        return Some("its mode is not octal");
    }
    if !owner(field(3)) || !owner(field(4)) {
        return Some("its owner or group cannot be one");
    }
    if !age(field(5)) {
        return Some("its age is no span of time");
    }
    let given = fields.len() > 6 && field(6) != "-";
    if argument && !given {
        return Some("its type needs an argument");
    }
    if matches!(letter, 'c' | 'b') && !device(field(6)) {
        return Some("its argument is not MAJOR:MINOR");
    }
    None
}

/// The fields: six words, and the rest of the line.
fn fields(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && out.len() < 6 {
        let mut word = String::new();
        let mut quote = None;
        let mut end = rest.len();
        let mut chars = rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match (c, quote) {
                ('\\', _) => word.extend(chars.next().map(|(_, c)| c)),
                (c, Some(open)) if c == open => quote = None,
                ('"' | '\'', None) => quote = Some(c),
                (c, None) if c.is_whitespace() => {
                    end = at;
                    break;
                }
                (c, _) => word.push(c),
            }
        }
        if quote.is_some() {
            return None;
        }
        out.push(word);
        rest = rest[end..].trim_start();
    }
    if !rest.is_empty() {
        out.push(rest.to_owned());
    }
    Some(out)
}

fn mode(text: &str) -> bool {
    let digits = text.trim_start_matches(['~', ':']);
    let octal = digits.chars().all(|c| ('0'..='7').contains(&c));
    text == "-" || ((1..=5).contains(&digits.len()) && octal)
}

fn owner(text: &str) -> bool {
    let name = text.strip_prefix(':').unwrap_or(text);
    text == "-"
        || account(name)
        || name.parse::<u32>().is_ok_and(|id| id < u32::MAX)
        || (name.starts_with('%') && name.chars().count() == 2)
}

fn age(text: &str) -> bool {
    let text = text.strip_prefix('~').unwrap_or(text);
    let span = match text.split_once(':') {
        Some((by, span)) if !by.is_empty() && by.chars().all(|c| "abcmABCM".contains(c)) => span,
        Some(_) => return false,
        None => text,
    };
    text == "-" || times::span(span)
}

fn device(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().is_ok();
    text.split_once(':')
        .is_some_and(|(major, minor)| number(major) && number(minor))
}

#[cfg(test)]
mod tests {
    use super::wrong;
    use std::fs;
    use std::process::Command;

    const LINES: &[&str] = &[
        "d /run/a 0755 root root 10d -",
        "d /run/a",
        "D! /run/b 1777 root root 1h30min",
        "f+ /run/c 0644 - - - a text  with blanks",
        "w /run/c - - - - x",
        "L /run/l - - - - ../target",
        "L+ /run/l - - - - /etc/x",
        "p /run/p 0600",
        "x /run/x*",
        "r! /run/r",
        "R /run/r/*",
        "z /run/a ~0750 root root",
        "e /run/a - - - m:10d",
        "\"d\" \"/run/a b\" 0755",
        "C /run/copy - - - - /etc/none",
        "- /run/x",
        "",
        "k /run/x",
        "d run/x",
        "d /run/x 888",
        "d /run/x rwx",
        "d /run/x 0755 root root soon",
        "d /run/x 0755 root root q:1d",
        "d \"/run/x",
        "c /run/x 0600 root root -",
        "c /run/x 0600 root root - 1",
        "t /run/a - - - -",
        "a /run/a - - - -",
        "d!! /run/x",
        "d",
    ];

    #[test]
    fn lines_are_those_that_systemd_takes() {
        for text in LINES {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("x.conf");
            fs::write(&file, format!("{text}\n")).unwrap();
            for folder in ["run", "etc"] {
                fs::create_dir(dir.path().join(folder)).unwrap();
            }
            fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
            fs::write(dir.path().join("etc/group"), "root:x:0:\n").unwrap();
            let mut command = Command::new("systemd-tmpfiles");
            command
                .arg("--create")
                .arg("--root")
                .arg(dir.path())
                .arg(&file);
            let Ok(output) = command.output() else {
                println!("skipped: no systemd-tmpfiles");
                return;
            };
            // 65 is what it says of lines that it does not understand. An empty one says nothing, which is no wish.
            let taken = output.status.code() != Some(65) && !text.is_empty();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                wrong(text).is_none(),
                taken,
                "{text:?}: {:?} {said}",
                wrong(text)
            );
        }
        // Slips that systemd lets pass.
        for text in ["d /run/../etc", "d /run/a\nR /etc", "d+ /run/x"] {
            assert!(wrong(text).is_some(), "{text:?}");
        }
    }
}
