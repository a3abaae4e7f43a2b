//! What strace(1) writes with `-f -y -xx`: every string in hexadecimal, every descriptor with its path.

use std::collections::HashMap;

/// A system call that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) arguments: Vec<Argument>,
    pub(super) result: Argument,
}

/// An argument: what stands before its text or path, and that text or path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Argument {
    /// A number, flags, `AT_FDCWD`; empty for a string.
    pub(super) word: String,
    /// The string, or the path of the descriptor.
    pub(super) bytes: Option<Vec<u8>>,
    /// Whether strace cut the string short.
    pub(super) is_cut: bool,
}

impl Argument {
    pub(super) fn number(&self) -> Option<u64> {
        self.word.parse().ok()
    }

    pub(super) fn octal(&self) -> Option<u32> {
        u32::from_str_radix(&self.word, 8).ok()
    }
}

/// The calls of a trace that succeeded, in the order in which they returned. Descriptors are closed when that begins:
/// another thread may have been given the number again before it returns.
pub(super) fn parse(text: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, String> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix("<unfinished ...>") {
            if start.starts_with("close(") {
                let start = start.trim_end().trim_end_matches(')');
                calls.extend(parse_call(&format!("{start}) = 0")));
                continue;
            }
            begun.insert(thread, start.trim_end().to_owned());
            continue;
        }
        let resumed = rest
            .strip_prefix("<... ")
            .and_then(|rest| rest.split_once(" resumed>"));
        calls.extend(match resumed {
            Some((_, end)) => begun
                .remove(thread)
                .and_then(|start| parse_call(&format!("{start}{end}"))),
            None => parse_call(rest),
        });
    }
    calls
}

fn parse_call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let arguments = arguments.trim_end().strip_suffix(')')?;
    if result.starts_with(['-', '?']) {
        return None;
    }
    Some(Call {
        name: name.to_owned(),
        arguments: split(arguments).into_iter().map(argument).collect(),
        result: argument(result.split(" (").next()?),
    })
}

/// Splits at the commas that stand in no brackets; strings hold nothing but hexadecimal digits.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '<' | '(' => depth += 1,
            '}' | ']' | '>' | ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn argument(text: &str) -> Argument {
    let between = |open, close| {
        let (before, rest) = text.split_once(open)?;
        let (inside, after) = rest.rsplit_once(close)?;
        Some((before, inside, after))
    };
    match between('"', '"').or_else(|| between('<', '>')) {
        Some((before, inside, after)) => Argument {
            word: before.to_owned(),
            bytes: Some(unescape(inside)),
            is_cut: after.starts_with("..."),
        },
        None => Argument {
            word: text.to_owned(),
            bytes: None,
            is_cut: false,
        },
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let hex = |pair: &str| u8::from_str_radix(pair, 16).ok();
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if let Some(byte) = rest.strip_prefix("\\x").and_then(|r| hex(r.get(..2)?)) {
            bytes.push(byte);
            rest = &rest[4..];
        } else {
            bytes.extend(first.to_string().bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_as_strace_writes_them() {
        let text = r#"7 openat(AT_FDCWD<\x2f>, "\x2f\x61", O_WRONLY|O_CREAT|O_CLOEXEC, 0444) = 3<\x2f\x61>
7 write(3<\x2f\x61>, "\x0a\x22\x3c"..., 3 <unfinished ...>
8 fsync(4<\x2f\x62>) = -1 EIO (Input/output error) (INJECTED)
7 <... write resumed>) = 3
8 rename("\x61", "\x62") = 0
8 +++ exited with 0 +++
"#;
        let calls = parse(text);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["openat", "write", "rename"]);
        let open = &calls[0];
        assert_eq!(open.arguments[0].word, "AT_FDCWD");
        assert_eq!(open.arguments[0].bytes.as_deref(), Some(&b"/"[..]));
        assert_eq!(open.arguments[3].octal(), Some(0o444));
        assert_eq!(open.result.number(), Some(3));
        let data = &calls[1].arguments[1];
        assert_eq!(data.bytes.as_deref(), Some(&b"\n\"<"[..]));
        assert!(data.is_cut);
        assert!(!calls[2].arguments[0].is_cut);
        assert_eq!(calls[1].result.number().unwrap(), 3);
    }

    #[test]
    fn a_number_that_is_given_again_belongs_to_the_new_file() {
        let text = r#"7 close(3<\x2f\x61> <unfinished ...>
8 openat(AT_FDCWD<\x2f>, "\x2f\x62", O_WRONLY) = 3<\x2f\x62>
7 <... close resumed>) = 0
8 close(4<\x2f\x63>) <unfinished ...>
"#;
        let calls = parse(text);
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(names, ["close", "openat", "close"]);
        assert_eq!(calls[0].arguments[0].number(), Some(3));
        assert_eq!(calls[2].arguments[0].number(), Some(4));
    }
}
