//! Values as a person reads them.

use elea_formats::digest::Sha256;
use jiff::Timestamp;

/// Rows as columns, two blanks between them.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|&name| name.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            let blanks = width.saturating_sub(cell.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        text.line(line.trim_end());
        text
    })
}

/// Names and values, one a line, the values in one column. Rows without a value are left out.
pub(crate) fn facts(rows: &[(&str, Option<String>)]) -> String {
    let width = rows
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, value) in rows {
        let Some(value) = value else { continue };
        let mut lines = value.lines();
        let first = lines.next().unwrap_or_default();
        text.line(format!("{name:width$}  {first}").trim_end());
        for line in lines {
            text.line(format!("{:width$}  {line}", ""));
        }
    }
    text
}

/// A text that may hold what others wrote, without the characters that drive a terminal.
pub(crate) fn plain(text: &str) -> String {
    let is_kept = |c: char| !c.is_control() || c == '\n' || c == '\t';
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_kept(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_default());
        }
    }
    plain
}

/// A text that grows line by line.
pub(crate) trait Lines {
    /// Adds a line, which has no end yet.
    fn line(&mut self, line: impl AsRef<str>);
}

impl Lines for String {
    fn line(&mut self, line: impl AsRef<str>) {
        self.push_str(line.as_ref());
        self.push('\n');
    }
}

/// Lines that have no end yet, as one text.
pub(crate) fn lines(lines: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        text.line(line);
    }
    text
}

/// Who signed, and what decided that this is enough.
pub(crate) fn signers(keys: &[Sha256], rule: &str) -> String {
    let keys: Vec<String> = keys.iter().map(Sha256::short).collect();
    let who = match keys.as_slice() {
        [] => "nobody".into(),
        keys => keys.join(" and "),
    };
    format!("{who}; decided by {rule}")
}

/// A size for people, in decimal units.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 {
        return format!("1 {one}");
    }
    match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{number} {stem}ies"),
        _ => format!("{number} {one}s"),
    }
}

/// The word that a value is in JSON.
pub(crate) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// How long ago a time of RFC 3339 was: `2 hours ago`. Other texts stay as they are.
pub(crate) fn ago(time: &str) -> String {
    since(time, Timestamp::now())
}

fn since(time: &str, now: Timestamp) -> String {
    let Ok(then) = time.parse::<Timestamp>() else {
        return time.to_owned();
    };
    let seconds = now.as_second() - then.as_second();
    // A clock that was set back since: the time itself says more.
    let Ok(seconds) = u64::try_from(seconds) else {
        return time.to_owned();
    };
    let (number, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..1_209_600 => (seconds / 86_400, "day"),
        1_209_600..5_184_000 => (seconds / 604_800, "week"),
        5_184_000..63_072_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{} ago", count(number, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_drives_no_terminal() {
        assert_eq!(
            plain("a\x1b[31mé\r\u{9b}b\tc\nd"),
            "a\\u{1b}[31mé\\r\\u{9b}b\tc\nd"
        );
    }

    #[test]
    fn times_are_relative_and_odd_ones_stay() {
        let now: Timestamp = "2026-03-10T12:00:00Z".parse().unwrap();
        for (time, expected) in [
            ("2026-03-10T11:59:30Z", "just now"),
            ("2026-03-10T11:58:59Z", "1 minute ago"),
            ("2026-03-10T09:00:00Z", "3 hours ago"),
            ("2026-03-08T12:00:00Z", "2 days ago"),
            ("2026-02-10T12:00:00Z", "4 weeks ago"),
            ("2025-03-10T12:00:00Z", "12 months ago"),
            ("2020-03-10T12:00:00Z", "6 years ago"),
            ("2026-03-10T12:00:01Z", "2026-03-10T12:00:01Z"),
            ("yesterday", "yesterday"),
        ] {
            assert_eq!(since(time, now), expected);
        }
    }

    #[test]
    fn columns_are_aligned_and_have_no_blanks_at_the_end() {
        let rows = vec![
            vec!["a".into(), "1".into()],
            vec!["long name".into(), String::new()],
        ];
        assert_eq!(
            table(&["NAME", "N"], rows),
            "NAME       N\na          1\nlong name\n"
        );
        let rows = [
            ("image", Some("x".to_owned())),
            ("no", None),
            ("a", Some("1\n2".to_owned())),
        ];
        assert_eq!(facts(&rows), "image  x\na      1\n       2\n");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(0, "day"), "0 days");
    }
}
