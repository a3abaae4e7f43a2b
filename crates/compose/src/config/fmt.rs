//! A config's text as it is usually written, with its comments and in its own order.

use toml_edit::{Array, Decor, DocumentMut, InlineTable, Item, KeyMut, RawString, Table, Value};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

/// A list is on one line if it is not longer, in characters.
const WIDTH: usize = 100;

/// Why a text was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FmtError {
    /// It is no TOML.
    #[error("this is no TOML: {0}")]
    Toml(#[from] toml_edit::TomlError),
    /// It would not say the same, or lose a comment: a fault of the formatter, which changes nothing then.
    #[error("the text was left alone, since it would not have been the same afterwards")]
    Changed,
}

/// Formats a text: one blank around `=` and between items, a blank line before a table, long lists on lines of their
/// own; no blanks at the ends of lines and no two blank lines. Comments, the order, and how values are written stay.
pub fn format(text: &str) -> Result<String, FmtError> {
    let mut document: DocumentMut = text.parse()?;
    let trailing = lines_of(document.trailing());
    let mut is_first = true;
    table(document.as_table_mut(), &mut is_first);
    document.set_trailing(trailing);
    let formatted = document.to_string();
    let same = toml::from_str::<toml::Table>(text).ok() == toml::from_str(&formatted).ok();
    if !same || comments(text) != comments(&formatted) {
        return Err(FmtError::Changed);
    }
    Ok(formatted)
}

/// The lines of comments between values, none with blanks at its ends, no two blank ones one after the other.
fn lines_of(raw: &RawString) -> String {
    let text = raw.as_str().unwrap_or_default();
    let mut lines: Vec<&str> = Vec::new();
    // What stands behind the last line's end is where the value begins, unless it is a comment at the end of the text.
    let ended = text.matches('\n').count();
    let all = text.lines().map(str::trim).enumerate();
    for (_, line) in all.filter(|(number, line)| *number < ended || !line.is_empty()) {
        if !(line.is_empty() && lines.last().is_none_or(|last| last.is_empty())) {
            lines.push(line);
        }
    }
    // A blank line at the beginning parts it from what is before.
    let begins_blank = text.starts_with('\n') || text.starts_with("\r\n");
    let begin = if begins_blank { "\n" } else { "" };
    lines
        .iter()
        .fold(begin.to_owned(), |all, line| format!("{all}{line}\n"))
}

/// A comment at the end of a line.
fn behind(raw: Option<&RawString>) -> String {
    match raw.and_then(RawString::as_str).map(str::trim) {
        Some(comment) if !comment.is_empty() => format!(" {comment}"),
        _ => String::new(),
    }
}

fn table(table: &mut Table, is_first: &mut bool) {
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::Value(value) => {
                entry(&mut key, is_first);
                let end = behind(value.decor().suffix());
                inside(value, 0, key.get().len());
                *value.decor_mut() = Decor::new(" ", end);
            }
            Item::Table(inner) if inner.is_dotted() => {
                key.dotted_decor_mut().clear();
                self::table(inner, is_first);
            }
            Item::Table(inner) => {
                bare(&mut key);
                header(inner, is_first);
                self::table(inner, is_first);
            }
            Item::ArrayOfTables(list) => {
                bare(&mut key);
                for inner in list.iter_mut() {
                    header(inner, is_first);
                    self::table(inner, is_first);
                }
            }
            Item::None => {}
        }
    }
}

/// What stands before a key.
fn entry(key: &mut KeyMut<'_>, is_first: &mut bool) {
    let before = key.leaf_decor().prefix().map(lines_of).unwrap_or_default();
    let before = if *is_first {
        before.trim_start().to_owned()
    } else {
        before
    };
    *is_first = false;
    *key.leaf_decor_mut() = Decor::new(before, " ");
    key.dotted_decor_mut().clear();
}

/// A name in a table's header has nothing around it.
fn bare(key: &mut KeyMut<'_>) {
    key.leaf_decor_mut().clear();
    key.dotted_decor_mut().clear();
}

/// What stands before and behind the name of a table.
fn header(table: &mut Table, is_first: &mut bool) {
    // One that is not written itself has nothing around it.
    if table.is_implicit() {
        return;
    }
    let before = table.decor().prefix().map(lines_of).unwrap_or_default();
    let before = before.trim_start();
    let blank = if *is_first { "" } else { "\n" };
    let end = behind(table.decor().suffix());
    *table.decor_mut() = Decor::new(format!("{blank}{before}"), end);
    *is_first = false;
}

/// The inside of a value, which stands so deep and behind so many characters.
fn inside(value: &mut Value, depth: usize, before: usize) {
    match value {
        Value::Array(list) => array(list, depth, before),
        Value::InlineTable(table) => inline(table, depth),
        _ => {}
    }
}

fn inline(table: &mut InlineTable, depth: usize) {
    // Over several lines, or with comments, it is as its author wants it.
    if table.to_string().trim().contains('\n') {
        return;
    }
    let last = table.len().saturating_sub(1);
    for (number, (mut key, value)) in table.iter_mut().enumerate() {
        *key.leaf_decor_mut() = Decor::new(" ", " ");
        key.dotted_decor_mut().clear();
        inside(value, depth + 1, 0);
        *value.decor_mut() = Decor::new(" ", if number == last { " " } else { "" });
    }
    if table.is_empty() {
        table.set_trailing("");
    }
}

fn array(list: &mut Array, depth: usize, before: usize) {
    let text = list.to_string();
    // Who puts a comma behind the last of several lines wants it so.
    let stays = list.trailing_comma() && text.contains('\n') || !comments(&text).is_empty();
    for item in list.iter_mut() {
        inside(item, depth + 1, 0);
    }
    let length: usize = list
        .iter()
        .map(|item| item.to_string().trim().len() + 2)
        .sum();
    let fits =
        before + length + 4 <= WIDTH && !list.iter().any(|v| v.to_string().trim().contains('\n'));
    if fits && !stays {
        for (number, item) in list.iter_mut().enumerate() {
            *item.decor_mut() = Decor::new(if number == 0 { "" } else { " " }, "");
        }
        list.set_trailing("");
        list.set_trailing_comma(false);
        return;
    }
    let indent = "  ".repeat(depth + 1);
    let mut end = around(Some(list.trailing()));
    if !list.trailing_comma()
        && let Some(last) = list.iter_mut().last()
    {
        // Behind the comma that comes.
        end.splice(0..0, around(last.decor().suffix()));
        last.decor_mut().set_suffix("");
    }
    for item in list.iter_mut() {
        let (prefix, suffix) = (around(item.decor().prefix()), around(item.decor().suffix()));
        *item.decor_mut() = Decor::new(
            format!("{}\n{indent}", own_lines(&prefix, &indent)),
            own_lines(&suffix, &indent),
        );
    }
    list.set_trailing(format!(
        "{}\n{}",
        own_lines(&end, &indent),
        "  ".repeat(depth)
    ));
    list.set_trailing_comma(true);
}

/// The comments around an item: whether each is behind something, and its text.
fn around(raw: Option<&RawString>) -> Vec<(bool, String)> {
    let text = raw.and_then(RawString::as_str).unwrap_or_default();
    let lines = text.split('\n').enumerate();
    lines
        .map(|(number, line)| (number == 0, line.trim().to_owned()))
        .filter(|(_, line)| !line.is_empty())
        .collect()
}

/// Comments as they stand in a list: the first behind what is before it if it was, others on lines of their own.
fn own_lines(comments: &[(bool, String)], indent: &str) -> String {
    comments
        .iter()
        .fold(String::new(), |all, (behind, comment)| {
            if *behind {
                format!("{all} {comment}")
            } else {
                format!("{all}\n{indent}{comment}")
            }
        })
}

/// The comments of a text, sorted: they may change places with what they belong to.
pub(super) fn comments(text: &str) -> Vec<&str> {
    let tokens = Source::new(text).lex();
    let mut found: Vec<&str> = tokens
        .filter(|token| token.kind() == TokenKind::Comment)
        .filter_map(|token| text.get(token.span().start()..token.span().end()))
        .map(str::trim_end)
        .collect();
    found.sort_unstable();
    found
}
