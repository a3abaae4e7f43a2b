//! `[[use]]`: a file with typed parameters, laid in once or once for each of several.

use super::layers::Rank;
use super::load::read_file;
use super::parts::{Item, Parts, take_table};
use super::reader::Reader;
use super::value::{Field, Node, Place, Table, Value, weight};
use super::vars::Words;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A module is laid in at most so often by one `[[use]]`.
const MOST: usize = 1000;
/// The kinds of parameters, by their names.
const KINDS: [(&str, &str); 5] = [
    ("text", "a text"),
    ("number", "a number"),
    ("boolean", "true or false"),
    ("list", "a list"),
    ("table", "a table"),
];

/// A file that was read as a module.
#[derive(Debug, Clone, Default)]
struct Module {
    parameters: BTreeMap<String, Parameter>,
    body: Table,
}

#[derive(Debug, Clone)]
struct Parameter {
    /// The word for its kind.
    kind: &'static str,
    default: Option<Node>,
    one_of: Vec<Node>,
}

/// Lays in all modules that are used. `vars` fills what is given to them.
pub(super) fn lay_in(reader: &mut Reader, items: Vec<Item>, vars: Words<'_>, parts: &mut Parts) {
    let mut known: BTreeMap<PathBuf, Option<Module>> = BTreeMap::new();
    for Item { at, why, mut table } in items {
        vars.fill(reader, &mut table);
        let path = match table.remove("module").map(|field| field.node) {
            Some(Node {
                at,
                value: Value::Text(name),
            }) => (at, name),
            Some(node) => {
                reader.wrong_type("use[].module", "a text", &node);
                continue;
            }
            None => {
                reader.problem(Some(at), "`use` without `module`", "it names no file", None);
                continue;
            }
        };
        let with = take_table(reader, &mut table, "with").unwrap_or_default();
        let each = table.remove("for_each");
        for (name, field) in &table {
            let what = format!("unknown key `{name}` in `use`");
            reader.unknown(field.key, what, name, &["for_each", "module", "with"]);
        }
        let (named_at, name) = path;
        let path = reader.beside(named_at, &name);
        let module = known.get(&path).cloned();
        let module = module.unwrap_or_else(|| {
            let module = Module::read(reader, &path, named_at);
            known.insert(path, module.clone());
            module
        });
        let Some(module) = module else { continue };
        let begin = if why.is_empty() {
            String::new()
        } else {
            format!("{why}, ")
        };
        for (what, given) in instances(reader, vars, each, &with) {
            let why = match what {
                Some(what) => format!("{begin}module {name} for {what}"),
                None => format!("{begin}module {name}"),
            };
            let Some(given) = module.given(reader, at, given) else {
                continue;
            };
            if !reader.may_make(at, weight(&module.body)) {
                return;
            }
            let words = Words {
                of: "param",
                values: &given,
            };
            let mut body = module.body.clone();
            words.fill(reader, &mut body);
            parts.body(reader, &why, body, Rank::Plain);
        }
    }
}

/// What is given to each: for whom, and the parameters.
fn instances(
    reader: &mut Reader,
    vars: Words<'_>,
    each: Option<Field>,
    with: &Table,
) -> Vec<(Option<String>, Table)> {
    let Some(Field { node, .. }) = each else {
        return vec![(None, with.clone())];
    };
    let list = match &node.value {
        Value::Text(text) => {
            let named = text.strip_prefix("vars.");
            if named.is_none() {
                let help = Some("write \"vars.NAME\", and a table or list of tables there".into());
                reader.problem(Some(node.at), "`for_each` names a variable", "here", help);
            }
            named.and_then(|name| vars.look_up(reader, node.at, name))
        }
        _ => Some(&node),
    };
    let mut found = Vec::new();
    let mut add = |what: String, name: Option<(&str, Place)>, given: &Table| {
        let mut all = with.clone();
        if let Some((name, at)) = name {
            let value = Value::Text(name.to_owned());
            all.insert(
                "name".into(),
                Field {
                    key: at,
                    node: Node { at, value },
                },
            );
        }
        all.extend(given.clone());
        found.push((Some(what), all));
    };
    match list.map(|node| (node.at, &node.value)) {
        None => {}
        Some((_, Value::Table(table))) => {
            for (name, field) in table {
                if let Value::Table(given) = &field.node.value {
                    add(name.clone(), Some((name, field.key)), given);
                } else {
                    reader.wrong_type(&format!("for_each: {name}"), "a table", &field.node);
                }
            }
        }
        Some((_, Value::List(list))) => {
            for (number, item) in list.iter().enumerate() {
                match &item.value {
                    Value::Table(given) => add(format!("number {}", number + 1), None, given),
                    Value::Text(name) => add(name.clone(), Some((name, item.at)), &Table::new()),
                    _ => reader.wrong_type("for_each[]", "a table or a text", item),
                }
            }
        }
        Some((at, other)) => {
            let what = format!(
                "`for_each` goes over a table or a list, not {}",
                other.kind()
            );
            reader.problem(Some(at), what, "this one", None);
        }
    }
    if found.len() > MOST {
        let what = format!("a module is used more than {MOST} times by one `use`");
        reader.problem(Some(node.at), what, "too many", None);
        found.clear();
    }
    found
}

impl Module {
    fn read(reader: &mut Reader, path: &std::path::Path, named: Place) -> Option<Self> {
        let (_, mut body) = read_file(reader, path, Some(named))?;
        let mut parameters = BTreeMap::new();
        for (name, field) in take_table(reader, &mut body, "parameters").unwrap_or_default() {
            let Value::Table(table) = field.node.value else {
                reader.wrong_type(&format!("parameters.{name}"), "a table", &field.node);
                continue;
            };
            if let Some(parameter) = Parameter::read(reader, &name, field.key, table) {
                parameters.insert(name, parameter);
            }
        }
        Some(Self { parameters, body })
    }

    /// The parameters as they are given, with those that are left to their defaults.
    fn given(&self, reader: &mut Reader, at: Place, mut given: Table) -> Option<Table> {
        let mut good = true;
        // The name of what it is used for is there, asked for or not.
        if !self.parameters.contains_key("name") {
            given.retain(|name, field| name != "name" || field.key != field.node.at);
        }
        for (name, field) in &given {
            let parameter = self.parameters.get(name);
            if parameter.is_none() {
                let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                let what = format!("the module has no parameter `{name}`");
                reader.unknown(field.key, what, name, &known);
            }
            good &= parameter.is_some_and(|p| p.takes(reader, name, &field.node));
        }
        for (name, parameter) in &self.parameters {
            if given.contains_key(name) {
                continue;
            }
            let Some(node) = parameter.default.clone() else {
                let what = format!("the module needs the parameter `{name}`");
                let help = Some(format!("add it to `with`: {}", parameter.kind));
                reader.problem(Some(at), what, "used here", help);
                good = false;
                continue;
            };
            given.insert(name.clone(), Field { key: node.at, node });
        }
        good.then_some(given)
    }
}

impl Parameter {
    fn read(reader: &mut Reader, name: &str, at: Place, mut table: Table) -> Option<Self> {
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
    fn takes(&self, reader: &mut Reader, name: &str, node: &Node) -> bool {
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
