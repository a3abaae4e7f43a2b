//! `${vars.NAME}` and, in modules, `${param.NAME}`: replaced once, in texts and names, by literal values.

use super::reader::Reader;
use super::value::{Node, Place, Table, Value};

impl Reader {
    /// The text of a file with the config's variables filled in.
    pub(super) fn filled(&mut self, at: Place, text: String) -> String {
        let table = std::mem::take(&mut self.vars);
        let vars = Words {
            of: "vars",
            values: &table,
        };
        let filled = vars.text(self, at, &text);
        self.vars = table;
        filled.unwrap_or(text)
    }
}

/// What stands for a word.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words<'v> {
    /// What the words begin with: `vars`.
    pub(super) of: &'static str,
    pub(super) values: &'v Table,
}

impl<'v> Words<'v> {
    /// The value that a dotted name below `of` leads to.
    pub(super) fn find(&self, name: &str) -> Option<&'v Node> {
        let mut table = self.values;
        let mut names = name.split('.').peekable();
        loop {
            let node = &table.get(names.next()?)?.node;
            if names.peek().is_none() {
                return Some(node);
            }
            let Value::Table(inner) = &node.value else {
                return None;
            };
            table = inner;
        }
    }

    /// The value that a name leads to, or a word to the person about it.
    pub(super) fn look_up(&self, reader: &mut Reader, at: Place, name: &str) -> Option<&'v Node> {
        let found = self.find(name);
        if found.is_none() {
            let known: Vec<&str> = self.values.keys().map(String::as_str).collect();
            let what = format!("there is no `{}.{name}`", self.of);
            reader.unknown(at, what, name, &known);
        }
        found
    }

    /// Replaces the words in a table's texts and names.
    pub(super) fn fill(&self, reader: &mut Reader, table: &mut Table) {
        for (name, mut field) in std::mem::take(table) {
            self.fill_node(reader, &mut field.node);
            let name = match self.text(reader, field.key, &name) {
                Some(filled) => filled,
                None => name,
            };
            if let Some(other) = table.get(&name) {
                let what = format!("`{name}` stands twice in one table");
                reader.problem_of_two(field.key, what, "again here", other.key, "first here");
            }
            table.insert(name, field);
        }
    }

    fn fill_node(&self, reader: &mut Reader, node: &mut Node) {
        match &mut node.value {
            Value::Text(text) => {
                // A text that is a word and nothing else becomes its value, of whatever kind.
                if let Some(name) = self.whole(text) {
                    let value = self.look_up(reader, node.at, name);
                    if let Some(value) = value.filter(|v| reader.may_make(node.at, v.weight())) {
                        *node = value.clone();
                    }
                } else if let Some(filled) = self.text(reader, node.at, text) {
                    *text = filled;
                }
            }
            Value::List(list) => list
                .iter_mut()
                .for_each(|item| self.fill_node(reader, item)),
            Value::Table(table) => self.fill(reader, table),
            _ => {}
        }
    }

    /// The name in a text that is one word.
    fn whole<'t>(&self, text: &'t str) -> Option<&'t str> {
        let name = text.strip_prefix("${")?.strip_prefix(self.of)?;
        let name = name.strip_prefix('.')?.strip_suffix('}')?;
        (!name.contains('}')).then_some(name)
    }

    /// A text with its words replaced; none if it has none. `$${` is `${` itself; other words are left alone.
    fn text(&self, reader: &mut Reader, at: Place, text: &str) -> Option<String> {
        let begin = format!("${{{}.", self.of);
        if !text.contains(&begin) {
            return None;
        }
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(&begin) {
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str(&begin);
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                reader.problem(
                    Some(at),
                    format!("`{begin}` has no end"),
                    "a `}` is missing",
                    None,
                );
                return None;
            };
            rest = after;
            let value = self.look_up(reader, at, name);
            if value.is_some_and(|value| !reader.may_make(at, value.weight())) {
                return None;
            }
            match value.map(|node| &node.value) {
                Some(Value::Text(value)) => filled.push_str(value),
                Some(Value::Integer(Some(value))) => filled.push_str(&value.to_string()),
                Some(Value::Boolean(value)) => filled.push_str(&value.to_string()),
                Some(other) => {
                    let what = format!(
                        "`{}.{name}` is {} and no part of a text",
                        self.of,
                        other.kind()
                    );
                    reader.problem(Some(at), what, "used here", None);
                }
                None => {}
            }
        }
        filled.push_str(rest);
        Some(filled)
    }
}
