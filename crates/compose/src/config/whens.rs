//! `[[when]]`: what counts on some machines alone.
//!
//! Of what is asked for all must be so; a list names what it may be. Nothing that a condition decides can be asked for,
//! so there is nothing to solve.

use super::layers::{Layer, Rank};
use super::parts::{Item, Parts, take_table};
use super::reader::Reader;
use super::value::{Node, Table, Value};
use super::vars::Words;

/// What can be asked for, beside `any` and `not`.
const FACTS: [(&str, &str); 2] = [("arch", "architecture"), ("suite", "suite")];
const KEYS: [&str; 6] = ["any", "apply", "arch", "not", "suite", "vars"];

/// What is known before anything is decided.
#[derive(Debug)]
pub(super) struct Facts<'v> {
    /// `[base]`, as all that holds without conditions says it.
    pub(super) base: Table,
    pub(super) vars: Words<'v>,
}

impl Facts<'_> {
    fn fact(&self, name: &str) -> Option<&str> {
        let (_, key) = FACTS.iter().find(|(known, _)| *known == name)?;
        match self.base.get(*key).map(|field| &field.node.value) {
            Some(Value::Text(text)) => Some(text),
            _ => Some(if name == "arch" { "amd64" } else { "trixie" }),
        }
    }

    /// Takes in what counts.
    pub(super) fn apply(&self, reader: &mut Reader, items: Vec<Item>, parts: &mut Parts) {
        for Item { at, why, mut table } in items {
            let Some(apply) = take_table(reader, &mut table, "apply") else {
                reader.problem(Some(at), "`when` without `apply`", "it says nothing", None);
                continue;
            };
            let asked: Vec<String> = table
                .iter()
                .map(|(name, field)| format!("{name} = {}", field.node))
                .collect();
            let begin = if why.is_empty() {
                String::new()
            } else {
                format!("{why}, ")
            };
            let why = format!("{begin}when {}", asked.join(", "));
            let (known, removed) = (parts.layers.len(), parts.removed.len());
            let holds = self.all(reader, &table);
            parts.body(reader, &why, apply, Rank::Plain);
            for layer in &parts.layers[known..] {
                refuse_decided(reader, layer);
            }
            if !holds {
                // It was read for what is wrong with it.
                parts.layers.truncate(known);
                parts.removed.truncate(removed);
            }
        }
    }

    fn all(&self, reader: &mut Reader, table: &Table) -> bool {
        let mut all = true;
        for (name, field) in table {
            let node = &field.node;
            all &= match (name.as_str(), &node.value) {
                ("vars", Value::Table(asked)) => self.vars_are(reader, asked),
                ("not", Value::Table(asked)) => !self.all(reader, asked),
                ("any", Value::List(list)) => {
                    let mut any = false;
                    for item in list {
                        match &item.value {
                            Value::Table(asked) => any |= self.all(reader, asked),
                            _ => reader.wrong_type("when[].any[]", "a table", item),
                        }
                    }
                    any
                }
                ("vars" | "not", _) => {
                    reader.wrong_type(&format!("when[].{name}"), "a table", node);
                    false
                }
                ("any", _) => {
                    reader.wrong_type("when[].any", "a list of tables", node);
                    false
                }
                (name, _) => {
                    let fact = self.fact(name);
                    if fact.is_none() {
                        let what = format!("unknown condition `{name}`");
                        reader.unknown(field.key, what, name, &KEYS);
                    }
                    fact.is_some_and(|fact| one_of(node, |item| item.is_text(fact)))
                }
            };
        }
        all
    }

    fn vars_are(&self, reader: &mut Reader, asked: &Table) -> bool {
        let mut all = true;
        for (name, field) in asked {
            let value = self.vars.look_up(reader, field.key, name);
            all &= value.is_some_and(|value| one_of(&field.node, |item| item.is(value)));
        }
        all
    }
}

/// What conditions ask for is known before them.
fn refuse_decided(reader: &mut Reader, layer: &Layer) {
    let Some(Value::Table(base)) = layer.table.get("base").map(|field| &field.node.value) else {
        return;
    };
    for (name, key) in FACTS {
        if let Some(field) = base.get(key) {
            let what = format!("`base.{key}` cannot depend on a condition: `{name}` asks for it");
            reader.problem(Some(field.key), what, "decided here", None);
        }
    }
}

/// Whether a value is so, or one of a list.
fn one_of(node: &Node, is_so: impl Fn(&Node) -> bool) -> bool {
    match &node.value {
        Value::List(list) => is_so(node) || list.iter().any(is_so),
        _ => is_so(node),
    }
}
