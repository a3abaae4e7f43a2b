//! Reading: the file, what it imports, and one merged table of both.

use super::reader::{Fields, Reader};
use super::report::{Errors, Source};
use super::value::{self, Node, Place, Table, Value};
use super::{Config, json, sections};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A config file is never larger, in bytes.
const LIMIT: u64 = 4 << 20;
/// More files than this import one another.
const MOST_FILES: usize = 64;

/// Reads a config and everything that it imports, and checks it whole.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let mut reader = Reader::default();
    let mut chain = Vec::new();
    let merged = file(&mut reader, path, None, &mut chain);
    if reader.unreadable {
        // What the rest seems to say may be no more than a consequence.
        return Err(Errors::new(reader.sources, reader.problems));
    }
    let places = value::places(&merged);
    let config = sections::read(&mut reader, Fields::new(String::new(), None, merged));
    let sources = reader.sources;
    if !reader.problems.is_empty() {
        return Err(Errors::new(sources, reader.problems));
    }
    match config {
        Some(config) => Ok(Config {
            path: path.to_owned(),
            read: sources.iter().map(|s| s.path.clone()).collect(),
            places,
            sources,
            ..config
        }),
        None => Err(Errors::new(sources, Vec::new())),
    }
}

/// A file laid over those that it imports.
fn file(reader: &mut Reader, path: &Path, asked: Option<Place>, chain: &mut Vec<PathBuf>) -> Table {
    let text = match text(path) {
        Ok(text) => text,
        Err(why) => {
            reader.unreadable |= asked.is_none();
            let help = "paths are relative to the folder of the file that names them";
            reader.problem(
                asked,
                format!("cannot read the config {}: {why}", path.display()),
                "imported here",
                asked.map(|_| help.to_owned()),
            );
            return Table::new();
        }
    };
    let number = reader.sources.len();
    reader.sources.push(Source {
        path: path.to_owned(),
        text: text.clone(),
    });
    let is_json = path.extension().is_some_and(|e| e == "json");
    let (mut table, complaints) = if is_json {
        json::parse_json(number, &text)
    } else {
        value::parse_toml(number, &text)
    };
    let label = if is_json {
        "this is no JSON"
    } else {
        "this is no TOML"
    };
    for (at, what) in complaints {
        reader.problem(Some(at), what, label, None);
        reader.unreadable = true;
    }
    let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    chain.push(identity);
    let mut merged = Table::new();
    for node in imports(reader, &mut table) {
        let Value::Text(name) = &node.value else {
            reader.problem(
                Some(node.at),
                format!(
                    "`imports` must be a list of texts, not {}",
                    node.value.kind()
                ),
                "a text is expected here",
                None,
            );
            continue;
        };
        let target = beside(path, name);
        let identity = target.canonicalize().unwrap_or_else(|_| target.clone());
        if chain.contains(&identity) {
            reader.problem(
                Some(node.at),
                format!("{name} imports itself"),
                "this import leads back here",
                Some("take one of the imports out".into()),
            );
        } else if reader.sources.len() >= MOST_FILES {
            reader.problem(
                Some(node.at),
                format!("more than {MOST_FILES} files are imported"),
                "one too many",
                None,
            );
        } else {
            let below = file(reader, &target, Some(node.at), chain);
            value::merge(&mut merged, below);
        }
    }
    chain.pop();
    reader.order.push(number);
    value::merge(&mut merged, table);
    merged
}

fn imports(reader: &mut Reader, table: &mut Table) -> Vec<Node> {
    match table.remove("imports").map(|field| field.node) {
        None => Vec::new(),
        Some(Node {
            value: Value::List(list),
            ..
        }) => list,
        Some(node) => {
            reader.problem(
                Some(node.at),
                format!(
                    "`imports` must be a list of texts, not {}",
                    node.value.kind()
                ),
                "a list is expected here",
                None,
            );
            Vec::new()
        }
    }
}

/// A path as the file `config` means it: relative to its folder.
pub(super) fn beside(config: &Path, name: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new("")).join(name)
}

fn text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let kind = file.metadata().map_err(|e| e.to_string())?;
    if !kind.is_file() {
        return Err("it is no file".into());
    }
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    if bytes.len() as u64 > LIMIT {
        return Err(format!("it is larger than {} MiB", LIMIT >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|e| format!("it is not UTF-8 (byte {})", e.utf8_error().valid_up_to()))
}
