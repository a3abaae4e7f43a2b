//! What the parts of a config say, laid over one another: for each value everything that is said of it, and what counts.
//!
//! Which part comes first plays no role, but for the order of lists: of everything that is said of a value the strongest
//! [`Rank`] counts. Tables are merged name by name and lists are joined, those of a specialisation with what is there; of
//! anything else all who say it with that rank must say the same.

use super::report::Problem;
use super::value::{Field, Node, Place, Table, Value, quoted};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// How much weight something has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Below `[default]`: it holds where nobody says anything else.
    Default,
    /// Anywhere else.
    Plain,
    /// In a specialisation that is chosen.
    Specialisation,
    /// Below `[force]`: it holds, whatever else is said.
    Force,
}

impl Rank {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Plain => "plain",
            Self::Specialisation => "specialisation",
            Self::Force => "force",
        }
    }
}

/// A part of a config.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) rank: Rank,
    /// Why it counts: `imported`, `module web for lab`; empty for the config itself.
    pub(super) why: String,
    pub(super) table: Table,
}

/// Something that is said of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) rank: Rank,
    pub(super) why: String,
    pub(super) at: Place,
    /// The value, as TOML writes it.
    pub(super) text: String,
    /// The items of a list, each with its place.
    pub(super) items: Vec<(String, Place)>,
    /// Whether it is what holds, or a part of it.
    pub(super) counts: bool,
    /// Where `[remove]` takes it out, all of it.
    pub(super) gone: Option<Place>,
}

/// What all layers together say.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) table: Table,
    /// Everything that is said, by the dotted name of the value and in the order of the layers.
    pub(super) said: BTreeMap<String, Vec<Said>>,
    /// Items that `[remove]` takes out of lists, by the dotted name of the list, with its place.
    pub(super) gone: BTreeMap<String, BTreeMap<String, Place>>,
    /// The weight of what was written at a place.
    pub(super) ranks: BTreeMap<Place, Rank>,
    pub(super) problems: Vec<Problem>,
}

/// What is said at one name.
#[derive(Debug, Default)]
struct Slot<'l> {
    /// Where the name was first written.
    key: Option<Place>,
    /// Where it was first written as a table.
    table: Option<Place>,
    names: BTreeMap<&'l str, Slot<'l>>,
    values: Vec<(&'l Layer, &'l Node)>,
}

/// Lays layers over one another. `removed` has what `[remove]` names, tables of lists of texts.
pub(super) fn merge(layers: &[Layer], removed: &[Table]) -> Merged {
    let mut top = Slot::default();
    for layer in layers {
        top.add_table(layer, &layer.table);
    }
    let mut merged = Merged::default();
    let gone: Vec<&Table> = removed.iter().collect();
    merged.table = merged.names("", &top, &gone);
    merged
}

impl<'l> Slot<'l> {
    fn add_table(&mut self, layer: &'l Layer, table: &'l Table) {
        for (name, field) in table {
            let slot = self.names.entry(name).or_default();
            slot.key.get_or_insert(field.key);
            match &field.node.value {
                Value::Table(inner) => {
                    slot.table.get_or_insert(field.node.at);
                    slot.add_table(layer, inner);
                }
                _ => slot.values.push((layer, &field.node)),
            }
        }
    }
}

impl Merged {
    fn names(&mut self, path: &str, slot: &Slot<'_>, removed: &[&Table]) -> Table {
        let mut table = Table::new();
        for (name, inner) in &slot.names {
            let path = match path {
                "" => quoted(name),
                path => format!("{path}.{}", quoted(name)),
            };
            // A table of `[remove]` goes further down, a list names what goes.
            let (mut further, mut gone) = (Vec::new(), BTreeMap::new());
            for field in removed.iter().filter_map(|table| table.get(*name)) {
                match &field.node.value {
                    Value::Table(inner) => further.push(inner),
                    Value::List(list) => {
                        gone.extend(list.iter().filter_map(|item| Some((text(item)?, item.at))));
                    }
                    _ => {}
                }
            }
            let Some(mut node) = self.node(&path, inner, &further) else {
                continue;
            };
            match &mut node.value {
                Value::Table(table) => table.retain(|name, _| match gone.get(name.as_str()) {
                    Some(at) => {
                        self.take_out(&format!("{path}.{}", quoted(name)), *at);
                        false
                    }
                    None => true,
                }),
                Value::List(list) => {
                    list.retain(|item| {
                        let forced = self.ranks.get(&item.at) == Some(&Rank::Force);
                        let at = text(item).and_then(|text| gone.get(text));
                        if let Some(at) = at.filter(|_| !forced) {
                            let gone = self.gone.entry(path.clone()).or_default();
                            gone.insert(item.to_string(), *at);
                        }
                        forced || at.is_none()
                    });
                    self.take_out_lists(&path);
                }
                _ => {}
            }
            let key = inner.key.unwrap_or(node.at);
            table.insert((*name).to_owned(), Field { key, node });
        }
        table
    }

    /// Notes that everything that is said at a name and below it is taken out.
    fn take_out(&mut self, path: &str, at: Place) {
        for (name, all) in self.said.range_mut(path.to_owned()..) {
            let Some(rest) = name.strip_prefix(path) else {
                break;
            };
            if rest.is_empty() || rest.starts_with('.') {
                for said in all {
                    (said.counts, said.gone) = (false, Some(at));
                }
            }
        }
    }

    /// Notes which lists have no item left.
    fn take_out_lists(&mut self, path: &str) {
        let (Some(gone), Some(all)) = (self.gone.get(path), self.said.get_mut(path)) else {
            return;
        };
        for said in all.iter_mut().filter(|said| said.counts) {
            let mut taken = said.items.iter().map(|(item, _)| gone.get(item));
            if let Some(Some(at)) = taken.next()
                && taken.all(|at| at.is_some())
            {
                (said.counts, said.gone) = (false, Some(*at));
            }
        }
    }

    fn node(&mut self, path: &str, slot: &Slot<'_>, removed: &[&Table]) -> Option<Node> {
        if let (Some(at), Some((_, other))) = (slot.table, slot.values.first()) {
            let what = format!("`{path}` is a table here and {} there", other.value.kind());
            self.problem(at, "a table", other.at, other.value.kind(), what, None);
        }
        if let Some(at) = slot.table {
            let value = Value::Table(self.names(path, slot, removed));
            return Some(Node { at, value });
        }
        let strongest = slot.values.iter().map(|(layer, _)| layer.rank).max()?;
        let lists = slot.values.iter().all(|(_, node)| list_of(node).is_some());
        let weakest = match strongest {
            Rank::Specialisation if lists => Rank::Plain,
            rank => rank,
        };
        for (layer, node) in &slot.values {
            self.said.entry(path.to_owned()).or_default().push(Said {
                rank: layer.rank,
                why: layer.why.clone(),
                at: node.at,
                text: node.to_string(),
                items: list_of(node).map_or_else(Vec::new, |list| {
                    list.iter()
                        .map(|item| (item.to_string(), item.at))
                        .collect()
                }),
                counts: layer.rank >= weakest,
                gone: None,
            });
        }
        let counting = slot.values.iter().filter(|(l, _)| l.rank >= weakest);
        let counting: Vec<(Rank, &Node)> = counting.map(|(l, node)| (l.rank, *node)).collect();
        for (rank, node) in &counting {
            self.rank(node, *rank);
        }
        let counting: Vec<&Node> = counting.into_iter().map(|(_, node)| node).collect();
        let (first, others) = counting.split_first()?;
        if let Value::List(list) = &first.value
            && let Some(more) = others.iter().map(|node| list_of(node)).collect()
        {
            let value = Value::List(joined(list, more));
            return Some(Node {
                at: first.at,
                value,
            });
        }
        if let Some(other) = others.iter().find(|other| !other.is(first)) {
            let help = "take one of them out, or write the one that holds below `[force]`, or the other below `[default]`";
            let what = format!("`{path}` is said twice, each time otherwise");
            self.problem(other.at, "and here", first.at, "here", what, Some(help));
        }
        Some((*first).clone())
    }

    /// Remembers the weight of a value and of the items of a list.
    fn rank(&mut self, node: &Node, rank: Rank) {
        let mut note = |at| {
            let known = self.ranks.entry(at).or_insert(rank);
            *known = rank.max(*known);
        };
        note(node.at);
        if let Value::List(list) = &node.value {
            for item in list {
                note(item.at);
            }
        }
    }

    fn problem(
        &mut self,
        at: Place,
        label: &str,
        other: Place,
        other_label: &str,
        what: String,
        help: Option<&str>,
    ) {
        self.problems.push(Problem {
            at: Some(at),
            what,
            label: label.into(),
            help: help.map(str::to_owned),
            other: Some((other, other_label.into())),
        });
    }
}

fn list_of(node: &Node) -> Option<&Vec<Node>> {
    match &node.value {
        Value::List(list) => Some(list),
        _ => None,
    }
}

/// Lists one after the other. What another layer has said already is not said again: layers may agree, and a module
/// that is used twice says the same twice.
fn joined(first: &[Node], more: Vec<&Vec<Node>>) -> Vec<Node> {
    let mut all = first.to_vec();
    let mut said: HashSet<String> = first.iter().map(Node::to_string).collect();
    for list in more {
        let new = list.iter().filter(|item| !said.contains(&item.to_string()));
        let new: Vec<Node> = new.cloned().collect();
        said.extend(new.iter().map(Node::to_string));
        all.extend(new);
    }
    all
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
