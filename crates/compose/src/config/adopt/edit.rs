//! The text of the config, changed where it must be: comments, order and layout stay.

use super::super::{Config, Content, Rank, Setting, quoted};
use super::{AdoptError, Found, Local, NewValue, Owned, Taken, folder, place};
use std::path::{Path, PathBuf};
use toml_edit::{Array, DocumentMut, Item, RawString, Table, TableLike, Value};

/// Where copies are, beside the config.
const COPIES: &str = "files";

/// The config's own file.
#[derive(Debug)]
pub(super) struct Document(DocumentMut);

impl Document {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, AdoptError> {
        let parsed = text
            .parse()
            .map_err(|e: toml_edit::TomlError| AdoptError::Edit {
                path: path.to_owned(),
                why: e.message().to_owned(),
            });
        parsed.map(Self)
    }

    pub(super) fn text(&self) -> String {
        self.0.to_string()
    }

    /// Sets values; the lines that say them.
    pub(super) fn values(
        &mut self,
        config: &Config,
        values: &[(Vec<String>, NewValue)],
    ) -> Result<Vec<String>, String> {
        for (path, value) in values {
            if matches!(value, NewValue::One(_)) {
                self.may_say(config, path)?;
            }
        }
        let mut lines = Vec::new();
        for (path, value) in values {
            let Some((key, tables)) = path.split_last() else {
                continue;
            };
            let table = self.table(tables)?;
            let shown = match value {
                NewValue::One(setting) => {
                    let value = to_value(setting);
                    set(table, key, value.clone());
                    value.to_string()
                }
                NewValue::Item(item, others) => {
                    for other in *others {
                        take_out(table, other, item);
                    }
                    add(table, key, item)?;
                    format!("[{}]", Value::from(item.as_str()))
                }
            };
            let head = tables.iter().map(|name| quoted(name)).collect::<Vec<_>>();
            let head = format!("[{}]", head.join("."));
            if lines.last().is_none() || !lines.contains(&head) {
                lines.push(head);
            }
            lines.push(format!("{} = {}", quoted(key), shown.trim()));
        }
        Ok(lines)
    }

    /// Makes or changes the entry of a file; the lines that say it, and the copy.
    pub(super) fn file(&mut self, config: &Config, local: &Local) -> Taken {
        let path = &local.path;
        let name = ["files".to_owned(), path.clone()];
        let is_said = config
            .said_keys()
            .any(|key| key.starts_with(&format!("files.{}.", quoted(path))));
        if is_said && self.get(&name).is_none() {
            let key = format!("files.{path:?}");
            let origin = super::super::value::place_of(&config.places, &key)
                .and_then(|at| config.origin_of(at));
            let at = origin
                .map(|origin| place(config, &origin))
                .unwrap_or_default();
            return Err(format!("`[{key}]` is said at {at}: change it there"));
        }
        match self.get(&name).and_then(Item::as_table_like) {
            Some(_) => self.changed(config, local, &name),
            None => self.new_file(config, local),
        }
    }

    /// A file that the config has: its content goes where it comes from.
    fn changed(&mut self, config: &Config, local: &Local, name: &[String]) -> Taken {
        let path = &local.path;
        let head = format!("[files.{path:?}]");
        let said = config.files.get(path).map(|file| &file.content);
        let other =
            || format!("`{head}` says something else of what stands there: change it by hand");
        let mut copy = None;
        let mut lines = vec![head.clone()];
        match (&local.found, said) {
            (Found::File(bytes, _), Some(Content::Text(old))) => {
                let text = std::str::from_utf8(bytes).map_err(|_| other())?;
                if text != old {
                    let value = Value::from(text);
                    lines.push(format!("content = {}", value.to_string().trim()));
                    set(self.table(name)?, "content", value);
                }
            }
            (Found::File(bytes, _), Some(Content::Copy(source))) => {
                let base = folder(&config.path);
                let inside = source.strip_prefix(base).unwrap_or(source);
                let leads_out = inside.is_absolute()
                    || inside
                        .components()
                        .any(|c| c == std::path::Component::ParentDir);
                if leads_out {
                    return Err(format!(
                        "`{head}` copies {}, which is not beside the config: change it there",
                        source.display()
                    ));
                }
                copy = Some((inside.to_owned(), bytes.clone()));
            }
            (Found::Link(target), Some(Content::Link(_))) => {
                let value = Value::from(target.as_str());
                lines.push(format!("symlink = {}", value.to_string().trim()));
                set(self.table(name)?, "symlink", value);
            }
            (Found::Folder(_), Some(Content::Folder)) => {}
            _ => return Err(other()),
        }
        if let (Found::File(_, owned) | Found::Folder(owned), Some(file)) =
            (&local.found, config.files.get(path))
        {
            let table = self.table(name)?;
            let now = Owned {
                mode: file.mode,
                owner: file.owner.clone(),
                group: file.group.clone(),
            };
            for (key, value) in differing(owned, &now) {
                lines.push(format!("{key} = {value:?}"));
                set(table, key, Value::from(value));
            }
        }
        Ok((lines, copy))
    }

    fn new_file(&mut self, config: &Config, local: &Local) -> Taken {
        let path = &local.path;
        let mut entry = Table::new();
        let mut copy = None;
        match &local.found {
            Found::File(bytes, owned) => {
                let name = PathBuf::from(COPIES).join(path.trim_start_matches('/'));
                let there = folder(&config.path).join(&name);
                match std::fs::read(&there) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    Ok(have) if have == *bytes => {}
                    Err(e) => return Err(format!("{} is in the way: {e}", there.display())),
                    Ok(_) => {
                        return Err(format!(
                            "{} is in the way, with another content; move it away",
                            there.display()
                        ));
                    }
                }
                entry.insert(
                    "source",
                    Item::Value(Value::from(name.display().to_string())),
                );
                own(&mut entry, owned, 0o644);
                copy = Some((name, bytes.clone()));
            }
            Found::Link(target) => {
                entry.insert("symlink", Item::Value(Value::from(target.as_str())));
            }
            Found::Folder(owned) => {
                entry.insert("directory", Item::Value(Value::from(true)));
                own(&mut entry, owned, 0o755);
            }
            Found::Gone | Found::Other(_) => return Err("nothing to copy stands there".into()),
        }
        let head = format!("[files.{path:?}]");
        let text = entry.to_string();
        let lines = std::iter::once(head)
            .chain(text.lines().map(str::to_owned))
            .collect();
        let files = self.table(&["files".to_owned()])?;
        entry.decor_mut().set_prefix("\n");
        files.insert(path, Item::Table(entry));
        Ok((lines, copy))
    }

    /// Whether this file may say a value: nobody else must say it with as much weight.
    fn may_say(&self, config: &Config, path: &[String]) -> Result<(), String> {
        let key = path
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(".");
        let here = self.get(path).is_some();
        let strong = config
            .said(&key)
            .into_iter()
            .filter(|said| said.rank >= Rank::Plain);
        for said in strong {
            let ours = here
                && said.origin.file == config.path
                && said.why.is_empty()
                && said.rank == Rank::Plain;
            if !ours {
                return Err(format!(
                    "`{key}` is said at {}: change it there",
                    place(config, &said.origin)
                ));
            }
        }
        Ok(())
    }

    fn get(&self, path: &[String]) -> Option<&Item> {
        let mut item = self.0.as_item();
        for name in path {
            item = item.as_table_like()?.get(name)?;
        }
        Some(item)
    }

    /// A table, made where it is absent.
    fn table(&mut self, path: &[String]) -> Result<&mut dyn TableLike, String> {
        let mut at: &mut dyn TableLike = self.0.as_table_mut();
        let last = path.len().saturating_sub(1);
        for (number, name) in path.iter().enumerate() {
            if at.get(name).is_none() {
                let mut new = Table::new();
                // Only what has keys of its own gets a line.
                new.set_implicit(number != last || name == "files");
                new.decor_mut().set_prefix("\n");
                at.insert(name, Item::Table(new));
            }
            let item = at.get_mut(name).and_then(Item::as_table_like_mut);
            at = item.ok_or_else(|| format!("`{name}` of the config is no table"))?;
        }
        Ok(at)
    }
}

fn to_value(setting: &Setting) -> Value {
    match setting {
        Setting::Text(text) => Value::from(text.as_str()),
        Setting::Number(number) => Value::from(*number),
        Setting::Boolean(value) => Value::from(*value),
        Setting::List(list) => Value::Array(list.iter().map(to_value).collect()),
    }
}

/// Mode, owner and group where they are not the usual ones.
fn own(entry: &mut Table, owned: &Owned, usual: u32) {
    let root = Owned {
        mode: usual,
        owner: "root".into(),
        group: "root".into(),
    };
    for (key, value) in differing(owned, &root) {
        entry.insert(key, Item::Value(Value::from(value)));
    }
}

fn differing(owned: &Owned, from: &Owned) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    if owned.mode != from.mode {
        out.push(("mode", format!("{:04o}", owned.mode)));
    }
    if owned.owner != from.owner {
        out.push(("owner", owned.owner.clone()));
    }
    if owned.group != from.group {
        out.push(("group", owned.group.clone()));
    }
    out
}

/// Puts a value in the place of another, between the same comments.
fn set(table: &mut dyn TableLike, key: &str, value: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = value;
            *old.decor_mut() = decor;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// One more item of a list, laid out like the one before it.
fn add(table: &mut dyn TableLike, key: &str, item: &str) -> Result<(), String> {
    if table.get(key).is_none() {
        table.insert(key, Item::Value(Value::Array(Array::new())));
    }
    let list = table.get_mut(key).and_then(Item::as_array_mut);
    let list = list.ok_or_else(|| format!("`{key}` of the config is no list"))?;
    if list.iter().any(|have| have.as_str() == Some(item)) {
        return Ok(());
    }
    let before = list.iter().last().and_then(|last| {
        let prefix = last.decor().prefix().and_then(RawString::as_str)?;
        let indent = prefix.rsplit_once('\n')?.1.to_owned();
        Some(indent)
    });
    let Some(indent) = before else {
        list.push(item);
        return Ok(());
    };
    // A comment behind the last item stays behind it.
    let end = if list.trailing_comma() {
        list.trailing().as_str().unwrap_or_default().to_owned()
    } else {
        let last = list.iter_mut().last();
        let suffix = last.map(|last| {
            let text = last
                .decor()
                .suffix()
                .and_then(RawString::as_str)
                .unwrap_or_default()
                .to_owned();
            last.decor_mut().set_suffix("");
            text
        });
        suffix.unwrap_or_default()
    };
    let comments = end.trim_end();
    let mut value = Value::from(item);
    value
        .decor_mut()
        .set_prefix(format!("{comments}\n{indent}"));
    list.push_formatted(value);
    list.set_trailing("\n");
    list.set_trailing_comma(true);
    Ok(())
}

/// Takes an item out of a list that has it.
fn take_out(table: &mut dyn TableLike, key: &str, item: &str) {
    let Some(list) = table.get_mut(key).and_then(Item::as_array_mut) else {
        return;
    };
    let at = list.iter().position(|have| have.as_str() == Some(item));
    if let Some(at) = at {
        list.remove(at);
    }
    if list.is_empty() {
        table.remove(key);
    }
}
