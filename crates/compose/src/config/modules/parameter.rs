//! `[parameters.NAME]`: what a module asks for.

use super::super::reader::Reader;
use super::super::value::{Node, Place, Table, Value};

/// The kinds of parameters, by their names.
pub(in super::super) const KINDS: [(&str, &str); 5] = [
    ("text", "a text"),
    ("number", "a number"),
    ("boolean", "true or false"),
    ("list", "a list"),
    ("table", "a table"),
];

/// A parameter.
#[derive(Debug, Clone)]
pub(super) struct Parameter {
    /// The word for its kind.
    pub(super) kind: &'static str,
    pub(super) default: Option<Node>,
    one_of: Vec<Node>,
}

impl Parameter {
    /// Reads what is said of it.
    pub(super) fn read(
        reader: &mut Reader,
        name: &str,
        at: Place,
        mut table: Table,
    ) -> Option<Self> {
        let full = format!("parameters.{name}");
        let known = || KINDS.map(|(name, _)| name).join(", ");
        let kind = match table.remove("type").map(|field| field.node) {
            Some(Node {
                at,
                value: Value::Text(word),
            }) => {
                let kind = KINDS.iter().find(|(known, _)| *known == word);
                if kind.is_none() {
                    let what = format!("`{word}` is no type of a parameter");
                    reader.unknown(at, what, &word, &KINDS.map(|(name, _)| name));
                }
                kind?.1
            }
            Some(node) => {
                reader.wrong_type(&format!("{full}.type"), "a text", &node);
                return None;
            }
            None => {
                let help = Some(format!("add `type`: one of {}", known()));
                reader.problem(Some(at), format!("`{full}` has no type"), "here", help);
                return None;
            }
        };
        let one_of = match table.remove("one_of").map(|field| field.node) {
            None => Vec::new(),
            Some(Node {
                value: Value::List(list),
                ..
            }) => list,
            Some(node) => {
                reader.wrong_type(&format!("{full}.one_of"), "a list", &node);
                Vec::new()
            }
        };
        let default = table.remove("default").map(|field| field.node);
        // For people who read the module.
        table.remove("doc");
        for (key, field) in &table {
            let what = format!("unknown key `{key}` in `{full}`");
            reader.unknown(field.key, what, key, &["default", "doc", "one_of", "type"]);
        }
        let parameter = Self {
            kind,
            default,
            one_of,
        };
        if let Some(default) = &parameter.default {
            parameter.takes(reader, name, default);
        }
        Some(parameter)
    }

    /// Whether it takes a value.
    pub(super) fn takes(&self, reader: &mut Reader, name: &str, node: &Node) -> bool {
        if node.value.kind() != self.kind {
            reader.wrong_type(&format!("the parameter {name}"), self.kind, node);
            return false;
        }
        if self.one_of.is_empty() || self.one_of.iter().any(|known| known.is(node)) {
            return true;
        }
        let known: Vec<String> = self.one_of.iter().map(ToString::to_string).collect();
        let what = format!("{node} cannot be the parameter `{name}`");
        reader.problem(
            Some(node.at),
            what,
            format!("one of {}", known.join(", ")),
            None,
        );
        false
    }
}
