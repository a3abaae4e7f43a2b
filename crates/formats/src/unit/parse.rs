//! The lines of a unit file (`systemd.syntax(7)`).

/// The longest text of one file that is read, in bytes: systemd's limit for one line.
pub const MAX_TEXT: usize = 1 << 20;
/// The most values that one unit with its drop-ins may have.
pub const MAX_SETTINGS: usize = 65_536;

/// A text that systemd would not load. Lines that systemd passes over with a warning are passed
/// over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More than [`MAX_TEXT`] bytes.
    #[error("a unit file of {0} bytes; at most {MAX_TEXT} are read")]
    TooLong(usize),
    /// More than [`MAX_SETTINGS`] values.
    #[error("a unit with more than {MAX_SETTINGS} values")]
    TooMany,
    /// A line that begins with `[` and does not end with `]`.
    #[error("line {line}: `{text}` begins a section and has no `]` at its end")]
    Section {
        /// The line, from 1.
        line: usize,
        /// Its text, shortened.
        text: String,
    },
}

const BLANKS: &[char] = &[' ', '\t', '\n', '\r'];

/// Calls `set(section, key, value)` for each assignment of a text, in order.
pub(super) fn lay(
    text: &[u8],
    mut set: impl FnMut(&str, &str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::TooLong(text.len()));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut section = None;
    let mut continued = String::new();
    let mut number = 0;
    for (at, line) in lines(text) {
        number = at;
        // What is not UTF-8 systemd passes over.
        let Ok(line) = std::str::from_utf8(line) else {
            continued.clear();
            continue;
        };
        let begin = line.trim_start_matches(BLANKS);
        // Comments and empty lines do not even end a continued line.
        if begin.is_empty() || begin.starts_with(['#', ';']) {
            continue;
        }
        continued.push_str(line);
        let backslashes = continued.bytes().rev().take_while(|b| *b == b'\\').count();
        if backslashes % 2 == 1 {
            continued.pop();
            continued.push(' ');
            continue;
        }
        assignment(&continued, number, &mut section, &mut set)?;
        continued.clear();
    }
    assignment(&continued, number, &mut section, &mut set)
}

/// Lines with their numbers. They end at `\n`, `\r\n`, and, as systemd's reader has it, at `\r` and
/// at a zero byte, which are not counted.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = text.split(|b| *b == b'\n').enumerate();
    lines.flat_map(|(at, line)| {
        let parts = line.split(|b| matches!(b, b'\r' | 0));
        parts.map(move |part| (at + 1, part))
    })
}

fn assignment(
    line: &str,
    number: usize,
    section: &mut Option<String>,
    set: &mut impl FnMut(&str, &str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let line = line.trim_matches(BLANKS);
    if let Some(rest) = line.strip_prefix('[') {
        let name = rest.strip_suffix(']').ok_or_else(|| Error::Section {
            line: number,
            text: line.chars().take(60).collect(),
        })?;
        *section = Some(name.to_owned());
    } else if let (Some(section), Some((key, value))) = (section, line.split_once('=')) {
        let key = key.trim_matches(BLANKS);
        if !key.is_empty() {
            set(section, key, value.trim_matches(BLANKS))?;
        }
    }
    Ok(())
}
