//! What a config says of a home, as plain values: with the contents of the files that it names.

use crate::failure::{Code, Failure, Outcome};
use elea_compose::config::Content;
use elea_compose::config::home::folder::{self, Item};
use elea_compose::config::home::{Format, Home, HomeFile, How};
use elea_host::home::declared::{self, File, LARGEST, Unit};
use elea_host::home::merge;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads everything.
pub(super) fn of(home: Home) -> Outcome<declared::Home> {
    let mut plain = declared::Home {
        environment: home.environment,
        packages: home.packages,
        ..declared::Home::default()
    };
    // Folders come before what is in them, which stands in place of what they have there.
    let mut files = BTreeMap::new();
    for (path, file) in home.files {
        for file in all(path, &file)? {
            files.insert(file.path.clone(), file);
        }
    }
    plain.files = files.into_values().collect();
    for (name, unit) in home.units {
        let bytes = match &unit.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Copy(path) => read(path)?.0,
            Content::Link(_) | Content::Folder => Vec::new(),
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failure::new(Code::Config, format!("{name} is not UTF-8")))?;
        let enable = unit.enable;
        plain.units.push(Unit { name, text, enable });
    }
    Ok(plain)
}

/// The files of one entry of the config.
fn all(path: String, file: &HomeFile) -> Outcome<Vec<File>> {
    let how = match (file.how, file.format) {
        (Some(How::Link), _) => declared::How::Link,
        (Some(How::Seed), _) => declared::How::Seed,
        (Some(How::Merge), Some(format)) => declared::How::Merge(match format {
            Format::Json => merge::Format::Json,
            Format::Ini => merge::Format::Ini,
            Format::Toml => merge::Format::Toml,
        }),
        _ => declared::How::Copy,
    };
    let one = |path, content, is_program| File {
        path,
        content,
        mode: file.mode.unwrap_or(if is_program { 0o755 } else { 0o644 }),
        how,
    };
    let bytes = |path: &Path| -> Outcome<_> {
        let (bytes, is_program) = read(path)?;
        Ok((declared::Content::Bytes(bytes), is_program))
    };
    Ok(vec![match &file.content {
        Content::Text(text) => one(path, declared::Content::Bytes(text.clone().into()), false),
        Content::Link(target) => one(path, declared::Content::Link(target.clone()), false),
        Content::Copy(from) if file.is_folder() => {
            let items = folder::items(from).map_err(|why| Failure::new(Code::Config, why))?;
            let items = items.into_iter().map(|(below, item)| {
                let path = format!("{path}/{below}");
                Ok(match item {
                    Item::Link(target) => one(path, declared::Content::Link(target), false),
                    Item::File(from) => {
                        let (content, is_program) = bytes(&from)?;
                        one(path, content, is_program)
                    }
                })
            });
            return items.collect();
        }
        Content::Copy(from) => {
            let (content, is_program) = bytes(from)?;
            one(path, content, is_program)
        }
        Content::Folder => return Ok(Vec::new()),
    }])
}

/// A file's content, and whether it may be run.
fn read(path: &Path) -> Outcome<(Vec<u8>, bool)> {
    let cannot = |why: String| {
        let text = format!("cannot read {}: {why}", path.display());
        Failure::new(Code::Config, text)
    };
    let whole = || {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes, mode & 0o100 != 0))
    };
    let (bytes, is_program) = whole().map_err(|e: std::io::Error| cannot(e.to_string()))?;
    if bytes.len() > LARGEST {
        return Err(cannot(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok((bytes, is_program))
}
