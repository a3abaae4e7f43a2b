//! The version of the language, and keys that an older one called otherwise.
//!
//! An old name is read like the new one, with a warning; [`migrate`] writes the new one into a file, and leaves
//! everything else as it is. So a name can be mended without breaking what people wrote.

use super::fmt::{FmtError, comments};
use super::reader::Reader;
use super::value::{Field, Table, Value, parse_toml, quoted};
use toml_edit::{DocumentMut, Item, Key, TableLike};

/// The version of the config's language. A file without `schema` is of the first.
pub(super) const SCHEMA: u64 = 1;

/// A key that was called otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    /// The dotted old name; `*` is any name.
    pub(super) from: &'static str,
    /// The last part of the new name, in the same table.
    pub(super) to: &'static str,
}

/// All that were renamed since the first release.
pub(super) const MOVES: &[Move] = &[];

/// Where the tables of a system can stand in a file.
const BODIES: [&str; 12] = [
    "",
    "default.",
    "force.",
    "remove.",
    "specialisation.*.",
    "specialisation.*.default.",
    "specialisation.*.force.",
    "specialisation.*.remove.",
    "when.*.apply.",
    "when.*.apply.default.",
    "when.*.apply.force.",
    "when.*.apply.remove.",
];

impl Move {
    /// Its old name in every place where it can stand, in parts.
    fn everywhere(&self) -> impl Iterator<Item = Vec<&'static str>> {
        let from = self.from;
        BODIES
            .iter()
            .map(move |body| body.split_terminator('.').chain(from.split('.')).collect())
    }
}

/// A key that was, or would be, renamed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Renamed {
    /// The dotted old name.
    pub from: String,
    /// The dotted new name.
    pub to: String,
}

impl Renamed {
    fn new(of: &str, from: &str, to: &str) -> Self {
        let full = |name: &str| match of {
            "" => quoted(name),
            of => format!("{of}.{}", quoted(name)),
        };
        Self {
            from: full(from),
            to: full(to),
        }
    }
}

/// A config's text with the names of today.
#[derive(Debug, Clone)]
pub struct Migrated {
    /// The text.
    pub text: String,
    /// What was renamed.
    pub renamed: Vec<Renamed>,
}

/// Why a text was not migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It is no TOML, or would not have been the same.
    #[error(transparent)]
    Text(#[from] FmtError),
    /// It has a key by both names.
    #[error("`{}` and `{}` are the same key, and both are there; take one of them out", .0.from, .0.to)]
    Both(Renamed),
}

/// Writes the names of today into a text. Comments, the order and how values are written stay.
pub fn migrate(text: &str) -> Result<Migrated, MigrateError> {
    migrate_by(text, MOVES)
}

fn migrate_by(text: &str, moves: &[Move]) -> Result<Migrated, MigrateError> {
    let mut document: DocumentMut = text.parse().map_err(FmtError::Toml)?;
    let mut renamed = Vec::new();
    for one in moves {
        for path in one.everywhere() {
            edit(document.as_table_mut(), &path, one.to, "", &mut renamed)?;
        }
    }
    let new = if renamed.is_empty() {
        text.to_owned()
    } else {
        document.to_string()
    };
    // It says what the old one says to who knows the old names.
    let mut old = parse_toml(0, text).0;
    rename_all(&mut Reader::default(), &mut old, moves);
    if !same(&old, &parse_toml(0, &new).0) || comments(text) != comments(&new) {
        return Err(FmtError::Changed.into());
    }
    Ok(Migrated { text: new, renamed })
}

fn same(a: &Table, b: &Table) -> bool {
    let is_same =
        |(a, b): ((&String, &Field), (&String, &Field))| a.0 == b.0 && a.1.node.is(&b.1.node);
    a.len() == b.len() && a.iter().zip(b).all(is_same)
}

/// Renames the keys at a path of a document.
fn edit(
    table: &mut dyn TableLike,
    path: &[&str],
    to: &str,
    of: &str,
    renamed: &mut Vec<Renamed>,
) -> Result<(), MigrateError> {
    let Some((name, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        if !table.contains_key(name) {
            return Ok(());
        }
        let one = Renamed::new(of, name, to);
        if table.contains_key(to) {
            return Err(MigrateError::Both(one));
        }
        rename_key(table, name, to);
        renamed.push(one);
        return Ok(());
    }
    let names: Vec<String> = match *name {
        "*" => table.iter().map(|(name, _)| name.to_owned()).collect(),
        name => vec![name.to_owned()],
    };
    for name in names {
        let Some(item) = table.get_mut(&name) else {
            continue;
        };
        let of = Renamed::new(of, &name, "").from;
        if let Some(table) = item.as_table_like_mut() {
            edit(table, rest, to, &of, renamed)?;
        } else if let (Some((&"*", rest)), false) = (rest.split_first(), rest.len() == 1) {
            // A list of tables.
            for table in tables_of(item) {
                edit(table, rest, to, &format!("{of}[]"), renamed)?;
            }
        }
    }
    Ok(())
}

fn tables_of(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(list) => list.iter_mut().map(|t| t as &mut dyn TableLike).collect(),
        Item::Value(toml_edit::Value::Array(list)) => list
            .iter_mut()
            .filter_map(|value| Some(value.as_inline_table_mut()? as &mut dyn TableLike))
            .collect(),
        _ => Vec::new(),
    }
}

/// Gives a key another name, in its place and with what stands around it.
fn rename_key(table: &mut dyn TableLike, old: &str, new: &str) {
    let keys: Vec<Key> = table
        .iter()
        .filter_map(|(name, _)| table.key(name).cloned())
        .collect();
    // Each goes to the end in turn, so all are in the order that they were in.
    for key in keys {
        let Some(item) = table.remove(key.get()) else {
            continue;
        };
        let key = if key.get() == old {
            Key::new(new)
                .with_leaf_decor(key.leaf_decor().clone())
                .with_dotted_decor(key.dotted_decor().clone())
        } else {
            key
        };
        table.entry_format(&key).or_insert(item);
    }
}

impl Reader {
    /// Reads what a file says of its version, and what it calls by old names.
    pub(super) fn of_today(&mut self, table: &mut Table) {
        if let Some(field) = table.remove("schema") {
            let help = || Some("use a newer Elea".to_owned());
            let at = Some(field.node.at);
            match field.node.value {
                Value::Integer(Some(version)) if version > i64::try_from(SCHEMA).unwrap_or(0) => {
                    let what = format!(
                        "this file is of version {version} of the language, and this Elea knows versions up to {SCHEMA}"
                    );
                    self.problem(at, what, "too new", help());
                }
                Value::Integer(Some(version)) if version > 0 => {}
                _ => {
                    let what = format!("`schema` must be a number from 1 to {SCHEMA}");
                    self.problem(at, what, "out of range", None);
                }
            }
        }
        rename_all(self, table, self.moves);
    }
}

fn rename_all(reader: &mut Reader, table: &mut Table, moves: &[Move]) {
    for one in moves {
        for path in one.everywhere() {
            rename(reader, table, &path, one.to, "");
        }
    }
}

/// Renames the keys at a path of a table, each with a warning.
fn rename(reader: &mut Reader, table: &mut Table, path: &[&str], to: &str, of: &str) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        let Some(field) = table.remove(*name) else {
            return;
        };
        let Renamed { from, to: new } = Renamed::new(of, name, to);
        if let Some(other) = table.get(to) {
            let what = format!("`{from}` and `{new}` are the same key");
            reader.problem_of_two(field.key, what, "the old name", other.key, "the new name");
            return;
        }
        let what = format!("`{from}` is called `{new}` now");
        reader.warn(
            Some(field.key),
            what,
            "the old name",
            "`elea config migrate` writes the new one",
        );
        table.insert(to.to_owned(), field);
        return;
    }
    let fields = table
        .iter_mut()
        .filter(|(known, _)| *name == "*" || known == name);
    for (name, field) in fields {
        let of = Renamed::new(of, name, "").from;
        match (&mut field.node.value, rest.split_first()) {
            (Value::Table(inner), _) => rename(reader, inner, rest, to, &of),
            (Value::List(list), Some((&"*", rest))) if !rest.is_empty() => {
                for item in list {
                    if let Value::Table(inner) = &mut item.value {
                        rename(reader, inner, rest, to, &format!("{of}[]"));
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
