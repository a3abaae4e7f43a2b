//! Merging into files that programs write too: only declared keys are written, all else stays as it is.
//!
//! It is a merge of three: what the last generation declared, what this one declares, and the file. A value that stood
//! where one was declared is kept in [`Owned`], and comes back when the key is not declared any more. Everything here
//! is pure.

mod ini;
mod json;
mod toml;

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A file that is merged into is never larger, in bytes.
pub const LIMIT: usize = 1 << 20;
/// A file declares no more keys.
const MOST_KEYS: usize = 2000;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON; comments and commas behind the last item are read and stay, as editors write them.
    Json,
    /// Sections, keys and values, as desktop files, git and Python's `configparser` have them.
    Ini,
    /// TOML 1.0.
    Toml,
}

/// The names that lead to a value: tables, then the key. An INI file has the section and the key.
pub type Path = Vec<String>;

/// A declared key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Where it is.
    pub key: Path,
    /// The value, as the format writes it.
    pub value: String,
    /// The value that somebody else had there.
    pub before: Option<String>,
}

/// What is known of a file that was merged into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// The declared keys.
    pub keys: Vec<Owned>,
    /// Tables and sections that were made for them.
    pub tables: BTreeSet<Path>,
    /// Whether the file was made for them.
    pub file: bool,
}

/// A file after a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The new text; none if nothing is left of a file that was made for the declared keys.
    pub text: Option<String>,
    /// What is declared in it now.
    pub ownership: Ownership,
    /// What a person may want to know: keys of others that were replaced, own ones that were changed by others.
    pub notes: Vec<String>,
}

/// Why nothing can be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// The text is not of its format.
    #[error("it does not read as {format:?}: {why}")]
    Text {
        /// The format.
        format: Format,
        /// What is wrong.
        why: String,
    },
    /// A name is a table on one side and a value on the other.
    #[error("`{0}` is no table in it")]
    Shape(String),
    /// Too much.
    #[error("it is larger than {} MiB or declares more than {MOST_KEYS} keys", LIMIT >> 20)]
    TooLarge,
    /// Something in what is declared that has no single place in a file.
    #[error("{0} cannot be merged")]
    Unmergeable(String),
}

/// A text that can be changed key by key.
trait Document {
    /// Every value with its path; what is declared, if it is a fragment.
    fn leaves(&self) -> Result<Vec<(Path, String)>, MergeError>;
    /// The value at a path, as it is written.
    fn get(&self, key: &[String]) -> Option<String>;
    /// Whether a path is a table.
    fn has_table(&self, key: &[String]) -> bool;
    /// Puts a value there; tables that are missing are made.
    fn set(&mut self, key: &[String], value: &str) -> Result<(), MergeError>;
    /// Takes a value out.
    fn remove(&mut self, key: &[String]);
    /// Takes a table out if nothing is in it.
    fn remove_table(&mut self, key: &[String]);
    /// Whether there is nothing in it, comments included.
    fn is_empty(&self) -> bool;
    /// Whether two values are the same, however they are written.
    fn same(&self, a: &str, b: &str) -> bool;
    /// The whole text.
    fn text(&self) -> String;
}

fn parse(format: Format, text: &str) -> Result<Box<dyn Document>, MergeError> {
    if text.len() > LIMIT {
        return Err(MergeError::TooLarge);
    }
    Ok(match format {
        Format::Json => Box::new(json::Json::parse(text)?),
        Format::Ini => Box::new(ini::Ini::parse(text)),
        Format::Toml => Box::new(toml::Toml::parse(text)?),
    })
}

/// What a fragment declares.
pub fn declared(format: Format, fragment: &str) -> Result<Vec<(Path, String)>, MergeError> {
    let leaves = parse(format, fragment)?.leaves()?;
    if leaves.len() > MOST_KEYS {
        return Err(MergeError::TooLarge);
    }
    Ok(leaves)
}

/// Merges what `fragment` declares into `text`, and takes back what only `old` declares. No `text` is no file.
pub fn merge(
    format: Format,
    text: Option<&str>,
    old: &Ownership,
    fragment: &str,
) -> Result<Merged, MergeError> {
    let new = declared(format, fragment)?;
    let mut document = parse(format, text.unwrap_or_default())?;
    let mut notes = Vec::new();
    let mut ownership = Ownership {
        file: old.file || text.is_none(),
        ..Ownership::default()
    };
    let is_new = |key: &Path| new.iter().any(|(other, _)| other == key);
    for owned in old.keys.iter().filter(|owned| !is_new(&owned.key)) {
        match document.get(&owned.key) {
            Some(value) if !document.same(&value, &owned.value) => notes.push(format!(
                "`{}` was changed to {} since, and stays so",
                owned.key.join("."),
                shown(&value)
            )),
            Some(_) => match &owned.before {
                Some(before) => document.set(&owned.key, before)?,
                None => document.remove(&owned.key),
            },
            None => {}
        }
    }
    for (key, value) in &new {
        let known = old.keys.iter().find(|owned| owned.key == *key);
        let found = document.get(key);
        let mut before = known.and_then(|owned| owned.before.clone());
        match &found {
            Some(found) if document.same(found, value) => {
                // It was so before anybody declared it, and stays when nobody does.
                if known.is_none() {
                    before = Some(found.clone());
                }
            }
            found => {
                let ours = |found: &String| known.is_some_and(|k| document.same(found, &k.value));
                if let Some(other) = found.as_ref().filter(|found| !ours(found)) {
                    let name = key.join(".");
                    notes.push(format!(
                        "`{name}` was {} and becomes {}",
                        shown(other),
                        shown(value)
                    ));
                    before = Some(other.clone());
                }
                for length in 1..key.len() {
                    let table = &key[..length];
                    if !document.has_table(table) && document.get(table).is_none() {
                        ownership.tables.insert(table.to_vec());
                    }
                }
                document.set(key, value)?;
            }
        }
        ownership.keys.push(Owned {
            key: key.clone(),
            value: value.clone(),
            before,
        });
    }
    // Deepest first: a table may be empty only once those in it are gone.
    let mut tables: Vec<&Path> = old.tables.iter().collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.len()));
    for table in tables {
        document.remove_table(table);
        if document.has_table(table) {
            ownership.tables.insert(table.clone());
        }
    }
    let gone = ownership.file && new.is_empty() && document.is_empty();
    Ok(Merged {
        text: (!gone).then(|| document.text()),
        ownership,
        notes,
    })
}

/// A value for a message: its beginning, without line ends.
fn shown(value: &str) -> String {
    let line: String = value.chars().take(60).collect();
    line.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
