//! What a config's files say, sorted by what it is: layers, variables, modules that are used, conditions, removals,
//! specialisations.

use super::layers::{Layer, Rank};
use super::reader::Reader;
use super::value::{Field, Node, Place, Table, Value, quoted};
use elea_formats::release::{MAX_SPECIALISATIONS as MOST, is_specialisation};
use std::collections::BTreeMap;

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) layers: Vec<Layer>,
    /// The tables of `vars`.
    pub(super) vars: Vec<Layer>,
    /// The items of `when`.
    pub(super) whens: Vec<Item>,
    /// The items of `use`.
    pub(super) uses: Vec<Item>,
    /// The tables of `remove`.
    pub(super) removed: Vec<Table>,
    pub(super) specialisations: BTreeMap<String, Parts>,
}

/// A table of a list of tables.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) at: Place,
    /// Why the file that it stands in counts.
    pub(super) why: String,
    pub(super) table: Table,
}

/// Names that only the top of a file knows.
const OF_FILES: [&str; 6] = ["imports", "schema", "specialisation", "use", "vars", "when"];

/// The tables that give what is in them another rank.
const RANKS: [(&str, Rank); 2] = [("default", Rank::Default), ("force", Rank::Force)];

impl Parts {
    /// Takes in what stands at the top of a file.
    pub(super) fn file(&mut self, reader: &mut Reader, why: &str, mut table: Table) {
        if let Some(vars) = take_table(reader, &mut table, "vars") {
            self.vars.push(layer(Rank::Plain, why, vars));
        }
        for (list, name) in [(&mut self.whens, "when"), (&mut self.uses, "use")] {
            for node in take_list(reader, &mut table, name) {
                let at = node.at;
                if let Some(table) = table_of(reader, &format!("{name}[]"), node) {
                    let why = why.to_owned();
                    list.push(Item { at, why, table });
                }
            }
        }
        let special = take_table(reader, &mut table, "specialisation");
        for (name, field) in special.unwrap_or_default() {
            let full = format!("specialisation.{}", quoted(&name));
            if self.specialisations.len() == MOST && !self.specialisations.contains_key(&name) {
                let what = format!("there are more than {MOST} specialisations");
                reader.problem(Some(field.key), what, "one too many", None);
                break;
            }
            if !is_specialisation(&name) {
                let what = format!("`{name}` is no name of a specialisation");
                let help =
                    "letters, digits, `-`, `_` and `.`, at most 64: it stands in the boot menu";
                reader.problem(Some(field.key), what, "this name", Some(help.into()));
                continue;
            }
            let Some(table) = table_of(reader, &full, field.node) else {
                continue;
            };
            let parts = self.specialisations.entry(name.clone()).or_default();
            parts.body(
                reader,
                &format!("specialisation {name}"),
                table,
                Rank::Specialisation,
            );
        }
        for (name, rank) in RANKS {
            if let Some(Value::Table(inner)) =
                table.get_mut(name).map(|field| &mut field.node.value)
                && let Some(vars) = take_table(reader, inner, "vars")
            {
                self.vars.push(layer(rank, why, vars));
            }
        }
        self.layers(reader, why, table, Rank::Plain);
    }

    /// Takes in the table of a module, a condition or a specialisation, which says less than a file.
    pub(super) fn body(&mut self, reader: &mut Reader, why: &str, mut table: Table, rank: Rank) {
        refuse(reader, &mut table);
        self.layers(reader, why, table, rank);
    }

    fn layers(&mut self, reader: &mut Reader, why: &str, mut table: Table, rank: Rank) {
        self.removed
            .extend(take_table(reader, &mut table, "remove"));
        for (name, rank) in RANKS {
            let Some(mut inner) = take_table(reader, &mut table, name) else {
                continue;
            };
            refuse(reader, &mut inner);
            self.layers.push(layer(rank, why, inner));
        }
        self.layers.push(layer(rank, why, table));
    }
}

/// Refuses what only the top of a file knows.
fn refuse(reader: &mut Reader, table: &mut Table) {
    for name in OF_FILES {
        if let Some(field) = table.remove(name) {
            let what = format!("`{name}` stands at the top of a config alone");
            reader.problem(Some(field.key), what, "not here", None);
        }
    }
}

fn layer(rank: Rank, why: &str, table: Table) -> Layer {
    let why = why.to_owned();
    Layer { rank, why, table }
}

/// Takes a table out of another one.
pub(super) fn take_table(reader: &mut Reader, table: &mut Table, name: &str) -> Option<Table> {
    let Field { node, .. } = table.remove(name)?;
    table_of(reader, name, node)
}

fn table_of(reader: &mut Reader, name: &str, node: Node) -> Option<Table> {
    if let Value::Table(table) = node.value {
        return Some(table);
    }
    reader.wrong_type(name, "a table", &node);
    None
}

fn take_list(reader: &mut Reader, table: &mut Table, name: &str) -> Vec<Node> {
    match table.remove(name).map(|field| field.node) {
        None => Vec::new(),
        Some(Node {
            value: Value::List(list),
            ..
        }) => list,
        Some(node) => {
            reader.wrong_type(name, &format!("a list of tables (`[[{name}]]`)"), &node);
            Vec::new()
        }
    }
}
