//! TOML: by `toml_edit`, which keeps comments, order and how values are written.

use super::{Document, Format, MergeError, Path};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

#[derive(Debug)]
pub(super) struct Toml(DocumentMut);

impl Toml {
    pub(super) fn parse(text: &str) -> Result<Self, MergeError> {
        let parsed = text.parse::<DocumentMut>();
        parsed.map(Self).map_err(|e| MergeError::Text {
            format: Format::Toml,
            why: e.to_string().lines().collect::<Vec<_>>().join(" "),
        })
    }

    fn item(&self, key: &[String]) -> Option<&Item> {
        let mut item = self.0.as_item();
        for name in key {
            item = item.as_table_like()?.get(name)?;
        }
        Some(item)
    }

    fn table_mut(&mut self, key: &[String]) -> Option<&mut dyn TableLike> {
        let mut table: &mut dyn TableLike = self.0.as_table_mut();
        for name in key {
            table = table.get_mut(name)?.as_table_like_mut()?;
        }
        Some(table)
    }
}

fn collect(
    table: &dyn TableLike,
    path: &mut Path,
    all: &mut Vec<(Path, String)>,
) -> Result<(), MergeError> {
    for (name, item) in table.iter() {
        path.push(name.to_owned());
        if let Some(table) = item.as_table_like() {
            collect(table, path, all)?;
        } else if let Item::Value(value) = item {
            all.push((path.clone(), bare(value)));
        } else if !item.is_none() {
            let what = format!("`[[{}]]`, a list of tables,", path.join("."));
            return Err(MergeError::Unmergeable(what));
        }
        path.pop();
    }
    Ok(())
}

/// A value without what stands around it.
fn bare(value: &Value) -> String {
    let mut value = value.clone();
    value.decor_mut().clear();
    value.to_string()
}

impl Document for Toml {
    fn leaves(&self) -> Result<Vec<(Path, String)>, MergeError> {
        let mut all = Vec::new();
        collect(self.0.as_table(), &mut Path::new(), &mut all)?;
        Ok(all)
    }

    fn get(&self, key: &[String]) -> Option<String> {
        match self.item(key)? {
            Item::Value(value) => Some(bare(value)),
            Item::None => None,
            other => Some(other.to_string()),
        }
    }

    fn has_table(&self, key: &[String]) -> bool {
        self.item(key).is_some_and(Item::is_table_like)
    }

    fn set(&mut self, key: &[String], value: &str) -> Result<(), MergeError> {
        let Some((last, tables)) = key.split_last() else {
            return Ok(());
        };
        let mut new: Value = value
            .parse()
            .map_err(|_| MergeError::Shape(key.join(".")))?;
        let mut table: &mut dyn TableLike = self.0.as_table_mut();
        for (depth, name) in tables.iter().enumerate() {
            let fresh = || {
                let mut fresh = Table::new();
                // Its header is written only if it has values of its own.
                fresh.set_implicit(true);
                Item::Table(fresh)
            };
            table = table
                .entry(name)
                .or_insert_with(fresh)
                .as_table_like_mut()
                .ok_or_else(|| MergeError::Shape(key[..=depth].join(".")))?;
        }
        match table.get_mut(last) {
            Some(Item::Value(old)) if !old.is_inline_table() => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            Some(item) if !item.is_none() => return Err(MergeError::Shape(key.join("."))),
            _ => {
                table.insert(last, Item::Value(new));
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &[String]) {
        if let Some((last, tables)) = key.split_last()
            && let Some(table) = self.table_mut(tables)
        {
            table.remove(last);
        }
    }

    fn remove_table(&mut self, key: &[String]) {
        let empty = self.item(key).and_then(Item::as_table_like);
        if empty.is_some_and(TableLike::is_empty) {
            self.remove(key);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty() && self.text().trim().is_empty()
    }

    fn same(&self, a: &str, b: &str) -> bool {
        let value = |text: &str| format!("v = {text}").parse::<::toml::Table>();
        a == b || matches!((value(a), value(b)), (Ok(a), Ok(b)) if a == b)
    }

    fn text(&self) -> String {
        self.0.to_string()
    }
}
