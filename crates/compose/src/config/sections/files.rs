//! `[files."/path"]`: what stands in the image beside the files of packages.

use super::super::reader::{Fields, Located, Reader};
use super::super::value::Place;
use super::super::{Content, File, check};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads every entry.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, File> {
    let mut out = BTreeMap::new();
    for (path, mut fields) in reader.tables(top, "files") {
        let file = entry(reader, &mut fields, &path);
        reader.finish(&fields);
        if let (true, Some(file)) = (placed(reader, &path), file) {
            out.insert(path.value, file);
        }
    }
    out
}

/// Whether something can stand at a path of the image.
pub(super) fn placed(reader: &mut Reader, path: &Located<String>) -> bool {
    let (what, why) = if !check::path(&path.value) {
        let shown = path.value.escape_debug();
        let what = format!("`{shown}` cannot be a path in the image");
        (what, "absolute, without `.` and `..`")
    } else if let Some(why) = check::outside(&path.value) {
        (format!("an image has nothing in {}", path.value), why)
    } else {
        return true;
    };
    reader.problem(Some(path.at), what, why, None);
    false
}

/// A mode in octal.
pub(super) fn mode(reader: &mut Reader, text: &Located<String>) -> Option<u32> {
    let parsed = check::mode(&text.value);
    if parsed.is_none() {
        let what = format!("`{}` cannot be a mode", text.value.escape_debug());
        reader.problem(Some(text.at), what, "octal, such as \"0644\"", None);
    }
    parsed
}

fn entry(reader: &mut Reader, fields: &mut Fields, path: &Located<String>) -> Option<File> {
    let content = reader.text(fields, "content");
    let source = reader.text(fields, "source");
    let link = reader.text(fields, "symlink");
    let folder = reader.boolean(fields, "directory");
    let given_mode = reader.text(fields, "mode");
    let user = owner(reader, fields, "owner");
    let group = owner(reader, fields, "group");
    let given = [
        content.is_some(),
        source.is_some(),
        link.is_some(),
        folder == Some(true),
    ];
    let is_folder = folder == Some(true);
    let mode = match given_mode {
        None => Some(if is_folder { 0o755 } else { 0o644 }),
        Some(text) => {
            let parsed = mode(reader, &text);
            if parsed.is_some() && link.is_some() {
                reader.problem(Some(text.at), "a link has no mode", "take it out", None);
            }
            parsed
        }
    };
    let count = given.iter().filter(|given| **given).count();
    let rule = "one of `content`, `source`, `symlink` and `directory = true` is needed";
    if !is_one(reader, fields, path.at, count, rule) {
        return None;
    }
    let content = if let Some(text) = content {
        Content::Text(text.value)
    } else if let Some(text) = source {
        Content::Copy(readable(reader, &text)?)
    } else if let Some(text) = link {
        let good = !text.value.is_empty()
            && text.value.len() <= 1023
            && !text.value.chars().any(char::is_control);
        if !good {
            reader.problem(
                Some(text.at),
                "this cannot be a link's target",
                "here",
                None,
            );
            return None;
        }
        Content::Link(text.value)
    } else {
        Content::Folder
    };
    Some(File {
        content,
        mode: mode?,
        owner: user?,
        group: group?,
    })
}

pub(super) fn readable(reader: &mut Reader, text: &Located<String>) -> Option<PathBuf> {
    let path = reader.resolve(text);
    if reader.instead.files.contains(&path) {
        return Some(path);
    }
    let wrong = match std::fs::metadata(&path) {
        Err(e) => e.to_string(),
        Ok(found) if !found.is_file() => "it is no file".into(),
        Ok(_) => return Some(path),
    };
    reader.problem(
        Some(text.at),
        format!("cannot read {}: {wrong}", path.display()),
        "copied from here",
        Some("paths are relative to the folder of the file that names them".into()),
    );
    None
}

pub(super) fn owner(reader: &mut Reader, fields: &mut Fields, key: &'static str) -> Option<String> {
    let Some(text) = reader.text(fields, key) else {
        return Some("root".into());
    };
    let number = text.value.parse::<u32>().is_ok_and(|id| id < u32::MAX);
    if number || check::account(&text.value) {
        return Some(text.value);
    }
    reader.problem(
        Some(text.at),
        format!(
            "`{}` cannot be `{}`",
            text.value.escape_debug(),
            fields.full(key)
        ),
        "a name or a number",
        None,
    );
    None
}

/// Whether a path says in exactly one way what stands there.
pub(super) fn is_one(
    reader: &mut Reader,
    fields: &Fields,
    at: Place,
    count: usize,
    rule: &str,
) -> bool {
    let what = match count {
        1 => return true,
        0 => "nothing",
        _ => "more than one thing",
    };
    let what = format!("`{}` says {what} of what stands there", fields.name);
    reader.problem(Some(at), what, rule, None);
    false
}
