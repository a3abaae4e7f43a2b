//! The texts of the config and of what it imports, changed where they must be: comments, order and layout stay.

use super::super::{Config, Content, Rank, Setting, quoted};
use super::layout::{add, set, take_out};
use super::{AdoptError, Found, Local, NewValue, Owned, Taken, folder, place};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// Where copies are, beside the config.
const COPIES: &str = "files";
/// The keys of a file's entry that say what stands there.
const KINDS: [&str; 4] = ["content", "source", "symlink", "directory"];

/// Why a layer of the config counts that is an imported file.
const IMPORTED: &str = "imported";

/// A file that may be changed.
#[derive(Debug)]
struct Document {
    path: PathBuf,
    /// As it was read.
    was: String,
    text: DocumentMut,
}

/// The config's own file, and then those that it imports, as far as they lie below its folder.
#[derive(Debug)]
pub(super) struct Documents {
    all: Vec<Document>,
    /// Which of them were changed for the edit that is looked at.
    changed: BTreeSet<usize>,
}

impl Documents {
    /// Reads them.
    ///
    /// # Errors
    /// The config's own file cannot be edited. An imported one that cannot is left alone.
    pub(super) fn of(config: &Config) -> Result<Self, AdoptError> {
        let document = |path: &Path, was: &str| -> Result<_, toml_edit::TomlError> {
            Ok(Document {
                path: path.to_owned(),
                text: was.parse()?,
                was: was.to_owned(),
            })
        };
        let own = config.sources.iter().find(|s| s.path == config.path);
        let own = own.map(|source| source.text.as_str()).unwrap_or_default();
        let own = document(&config.path, own).map_err(|e| AdoptError::Edit {
            path: config.path.clone(),
            why: e.message().to_owned(),
        })?;
        let base = fs::canonicalize(folder(&config.path)).ok();
        let is_below = |path: &Path| {
            let real = fs::canonicalize(path).ok();
            matches!((&base, real), (Some(base), Some(real)) if real.starts_with(base))
        };
        let others = config.sources.iter().filter(|source| {
            let toml = source.path.extension().is_some_and(|e| e == "toml");
            source.path != config.path && toml && is_below(&source.path)
        });
        let others = others.filter_map(|source| document(&source.path, &source.text).ok());
        Ok(Self {
            all: std::iter::once(own).chain(others).collect(),
            changed: BTreeSet::new(),
        })
    }

    /// The new texts of those that are other than they were.
    pub(super) fn texts(&self) -> BTreeMap<PathBuf, String> {
        let all = self.all.iter();
        all.map(|one| (one.path.clone(), one.text.to_string(), &one.was))
            .filter(|(_, text, was)| text != *was)
            .map(|(path, text, _)| (path, text))
            .collect()
    }

    /// The files that were changed since this was asked last.
    pub(super) fn take_changed(&mut self) -> Vec<PathBuf> {
        let changed = std::mem::take(&mut self.changed);
        let path = |number: usize| self.all[number].path.clone();
        changed.into_iter().map(path).collect()
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
            let shown = match value {
                NewValue::One(setting) => {
                    let value = to_value(setting);
                    self.set(tables, key, &value, 0)?;
                    value.to_string()
                }
                NewValue::Item(item, others) => {
                    for other in *others {
                        self.take_out(tables, other, item);
                    }
                    // Lists of several files are joined: it goes where there is one, first of all the config's own.
                    let number = self.having(path).next().unwrap_or(0);
                    add(self.all[number].table(tables)?, key, item)?;
                    self.changed.insert(number);
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

    /// The numbers of the files that have a table or key.
    fn having<'a>(&'a self, path: &'a [String]) -> impl Iterator<Item = usize> + 'a {
        let all = self.all.iter().enumerate();
        all.filter(|(_, one)| one.get(path).is_some())
            .map(|(number, _)| number)
    }

    /// Sets a value wherever it is said, or else in one file.
    fn set(
        &mut self,
        tables: &[String],
        key: &str,
        value: &Value,
        otherwise: usize,
    ) -> Result<(), String> {
        let mut path = tables.to_vec();
        path.push(key.to_owned());
        let mut numbers: Vec<usize> = self.having(&path).collect();
        if numbers.is_empty() {
            numbers.push(otherwise);
        }
        for number in numbers {
            set(self.all[number].table(tables)?, key, value.clone());
            self.changed.insert(number);
        }
        Ok(())
    }

    /// Takes an item out of a list wherever it is said.
    fn take_out(&mut self, tables: &[String], key: &str, item: &str) {
        for (number, one) in self.all.iter_mut().enumerate() {
            if one.get(tables).is_some()
                && let Ok(table) = one.table(tables)
                && take_out(table, key, item)
            {
                self.changed.insert(number);
            }
        }
    }

    /// Makes or changes the entry of a file; the lines that say it, and the copy.
    pub(super) fn file(&mut self, config: &Config, local: &Local) -> Taken {
        let path = &local.path;
        let name = ["files".to_owned(), path.clone()];
        let is_said = config
            .said_keys()
            .any(|key| key.starts_with(&format!("files.{}.", quoted(path))));
        let having: Vec<usize> = self.having(&name).collect();
        if is_said && having.is_empty() {
            let key = format!("files.{path:?}");
            let origin = super::super::value::place_of(&config.places, &key)
                .and_then(|at| config.origin_of(at));
            let at = origin
                .map(|origin| place(config, &origin))
                .unwrap_or_default();
            return Err(format!("`[{key}]` is said at {at}: change it there"));
        }
        // That which says what stands there, if several say something of it.
        let says = |number: &&usize| {
            let entry = self.all[**number].get(&name).and_then(Item::as_table_like);
            entry.is_some_and(|entry| KINDS.iter().any(|kind| entry.get(kind).is_some()))
        };
        match having.iter().find(says).or(having.first()) {
            Some(number) => self.changed_file(config, local, &name, *number),
            None => self.new_file(config, local),
        }
    }

    /// A file that the config has: its content goes where it comes from.
    fn changed_file(
        &mut self,
        config: &Config,
        local: &Local,
        name: &[String],
        number: usize,
    ) -> Taken {
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
                    self.set(name, "content", &value, number)?;
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
                self.set(name, "symlink", &value, number)?;
            }
            (Found::Folder(_), Some(Content::Folder)) => {}
            _ => return Err(other()),
        }
        if let (Found::File(_, owned) | Found::Folder(owned), Some(file)) =
            (&local.found, config.files.get(path))
        {
            let now = Owned {
                mode: file.mode,
                owner: file.owner.clone(),
                group: file.group.clone(),
            };
            for (key, value) in differing(owned, &now) {
                lines.push(format!("{key} = {value:?}"));
                self.set(name, key, &Value::from(value), number)?;
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
        self.changed.insert(0);
        let files = self.all[0].table(&["files".to_owned()])?;
        entry.decor_mut().set_prefix("\n");
        files.insert(path, Item::Table(entry));
        Ok((lines, copy))
    }

    /// Whether these files may say a value: nobody else must say it with as much weight.
    fn may_say(&self, config: &Config, path: &[String]) -> Result<(), String> {
        let key = path
            .iter()
            .map(|name| quoted(name))
            .collect::<Vec<_>>()
            .join(".");
        let having: Vec<&Path> = self
            .having(path)
            .map(|number| self.all[number].path.as_path())
            .collect();
        let strong = config
            .said(&key)
            .into_iter()
            .filter(|said| said.rank >= Rank::Plain);
        for said in strong {
            let ours = having.contains(&said.origin.file.as_path())
                && (said.why.is_empty() || said.why == IMPORTED)
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
}

impl Document {
    fn get(&self, path: &[String]) -> Option<&Item> {
        let mut item = self.text.as_item();
        for name in path {
            item = item.as_table_like()?.get(name)?;
        }
        Some(item)
    }

    /// A table, made where it is absent.
    fn table(&mut self, path: &[String]) -> Result<&mut dyn TableLike, String> {
        let mut at: &mut dyn TableLike = self.text.as_table_mut();
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
