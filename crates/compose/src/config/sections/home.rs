//! `[home.NAME]`: what one person's home has.

use super::super::home::{Format, Home, HomeFile, HomeUnit, How};
use super::super::reader::{Fields, Located, Reader};
use super::super::value::Place;
use super::super::{Content, check};
use super::files::{is_one, readable};
use super::values;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Reads every home.
pub(in super::super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Home> {
    let mut homes = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "home") {
        super::accounts::named(reader, &name);
        let home = Home {
            files: files(reader, &mut fields),
            units: units(reader, &mut fields),
            environment: environment(reader, &mut fields),
            packages: {
                let rule = "a package's name: lower-case letters, digits and `+.-`";
                values(reader.checked_list(&mut fields, "packages", check::package, rule))
            },
        };
        reader.finish(&fields);
        homes.insert(name.value, home);
    }
    homes
}

fn files(reader: &mut Reader, home: &mut Fields) -> BTreeMap<String, HomeFile> {
    let mut files: BTreeMap<String, HomeFile> = BTreeMap::new();
    let mut entries = reader.tables(home, "files");
    entries.sort_by(|a, b| a.0.value.cmp(&b.0.value));
    for (path, mut fields) in entries {
        let file = file(reader, &mut fields, &path);
        reader.finish(&fields);
        let above = path
            .value
            .match_indices('/')
            .map(|(at, _)| &path.value[..at]);
        // What is named in a folder that is copied stands in place of what the folder has there.
        let is_file = |folder: &&str| files.get(*folder).is_some_and(|file| !file.is_folder());
        let mut above = above.filter(is_file);
        if !check::path(&format!("/{}", path.value)) {
            let shown = path.value.escape_debug();
            reader.problem(
                Some(path.at),
                format!("`{shown}` cannot be a path in a home"),
                "relative to the home, without `.` and `..`",
                None,
            );
        } else if let Some(folder) = above.next() {
            let what = format!("`{folder}` is declared too, and is no folder");
            reader.problem(Some(path.at), what, "this would be in it", None);
        } else if let Some(file) = file {
            files.insert(path.value, file);
        }
    }
    files
}

fn file(reader: &mut Reader, fields: &mut Fields, path: &Located<String>) -> Option<HomeFile> {
    let content = reader.text(fields, "content");
    let source = reader.text(fields, "source");
    let link = reader.text(fields, "symlink");
    let mode = reader.text(fields, "mode");
    let how = reader.checked(
        fields,
        "how",
        |text| way(text).is_some(),
        "copy, link, merge or seed",
    );
    let format = reader.checked(
        fields,
        "format",
        |text| kind(text).is_some(),
        "json, ini or toml",
    );
    let is_link = link.is_some();
    if let (true, Some(text)) = (is_link, mode.as_ref().or(how.as_ref()).or(format.as_ref())) {
        let what = "a link has no `mode`, `how` and `format`";
        reader.problem(Some(text.at), what, "take it out", None);
    }
    let mode = match mode {
        None => None,
        Some(text) => {
            let parsed = check::mode(&text.value).filter(|mode| *mode <= 0o777);
            if parsed.is_none() {
                let what = format!("`{}` cannot be a mode", text.value.escape_debug());
                reader.problem(Some(text.at), what, "octal, such as \"0644\"", None);
            }
            parsed
        }
    };
    let way = how.as_ref().and_then(|how| way(&how.value));
    let mut found = format.as_ref().and_then(|format| kind(&format.value));
    if way == Some(How::Merge) {
        found = found.or_else(|| of_path(&path.value));
        if found.is_none() {
            let what = "the end of this path does not say what the file is written in";
            let help = "add `format = \"json\"`, \"ini\" or \"toml\"".to_owned();
            reader.problem(Some(path.at), what, "to be merged", Some(help));
        }
    } else if let Some(format) = &format {
        let what = "`format` is for `how = \"merge\"` alone";
        reader.problem(Some(format.at), what, "take it out", None);
    }
    let content = one_of(
        reader,
        fields,
        path.at,
        Said {
            content,
            source,
            link,
            folders: true,
        },
    )?;
    let file = HomeFile {
        content,
        mode,
        how: (!is_link).then(|| way.unwrap_or(How::Copy)),
        format: found,
    };
    if let (true, Some(How::Merge), Some(how)) = (file.is_folder(), way, how) {
        let what = "a folder cannot be merged";
        let help = Some("name the files in it, each with its `how`".to_owned());
        reader.problem(Some(how.at), what, "of a `source` that is one", help);
    }
    Some(file)
}

/// What may be said of what stands at a path.
struct Said {
    content: Option<Located<String>>,
    source: Option<Located<String>>,
    link: Option<Located<String>>,
    /// Whether the source may be a folder.
    folders: bool,
}

fn one_of(reader: &mut Reader, fields: &Fields, at: Place, said: Said) -> Option<Content> {
    let given = [&said.content, &said.source, &said.link];
    let count = given.iter().filter(|given| given.is_some()).count();
    let rule = "exactly one of `content`, `source` and, of files, `symlink` is needed";
    if !is_one(reader, fields, at, count, rule) {
        return None;
    }
    if let Some(text) = said.content {
        return Some(Content::Text(text.value));
    }
    if let Some(text) = said.source {
        return copied(reader, &text, said.folders).map(Content::Copy);
    }
    let link = said.link;
    let text = link?;
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
    }
    good.then_some(Content::Link(text.value))
}

/// A file whose content is copied, or a folder.
fn copied(reader: &mut Reader, text: &Located<String>, folders: bool) -> Option<PathBuf> {
    let path = reader.resolve(text);
    if folders && path.is_dir() {
        return Some(path);
    }
    readable(reader, text)
}

fn way(text: &str) -> Option<How> {
    Some(match text {
        "copy" => How::Copy,
        "link" => How::Link,
        "merge" => How::Merge,
        "seed" => How::Seed,
        _ => return None,
    })
}

fn kind(text: &str) -> Option<Format> {
    Some(match text {
        "json" => Format::Json,
        "ini" => Format::Ini,
        "toml" => Format::Toml,
        _ => return None,
    })
}

fn of_path(path: &str) -> Option<Format> {
    match path.rsplit_once('.')?.1 {
        "json" | "jsonc" => Some(Format::Json),
        "ini" | "conf" | "cfg" | "desktop" => Some(Format::Ini),
        "toml" => Some(Format::Toml),
        _ => None,
    }
}

fn units(reader: &mut Reader, home: &mut Fields) -> BTreeMap<String, HomeUnit> {
    let mut units = BTreeMap::new();
    for (name, mut fields) in reader.tables(home, "units") {
        let content = reader.text(&mut fields, "content");
        let source = reader.text(&mut fields, "source");
        let enable = reader.boolean(&mut fields, "enable");
        reader.finish(&fields);
        let said = Said {
            content,
            source,
            link: None,
            folders: false,
        };
        let content = one_of(reader, &fields, name.at, said);
        if !check::unit(&name.value) {
            let what = format!("`{}` cannot be a unit", name.value.escape_debug());
            reader.problem(
                Some(name.at),
                what,
                "a name with its type, such as x.service",
                None,
            );
        } else if let Some(content) = content {
            let enable = enable.unwrap_or(false);
            units.insert(name.value, HomeUnit { content, enable });
        }
    }
    units
}

fn environment(reader: &mut Reader, home: &mut Fields) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in reader.named_texts(home, "environment") {
        let good = name.value.len() <= 128
            && !name.value.starts_with(|c: char| c.is_ascii_digit())
            && name
                .value
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.value.is_empty();
        if !good {
            let what = format!(
                "`{}` cannot be a variable's name",
                name.value.escape_debug()
            );
            reader.problem(Some(name.at), what, "letters, digits and `_`", None);
        } else if value.value.len() > 65_536 || value.value.chars().any(char::is_control) {
            let what = "a variable is one line without control characters";
            reader.problem(Some(value.at), what, "here", None);
        } else {
            all.insert(name.value, value.value);
        }
    }
    all
}
