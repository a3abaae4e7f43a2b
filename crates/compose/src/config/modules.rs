//! `[[use]]`: a file with typed parameters, laid in once or once for each of several.

mod parameter;

use super::layers::Rank;
use super::load::read_file;
use super::parts::{Item, Parts, take_table};
use super::reader::Reader;
use super::value::{Field, Node, Place, Table, Value, weight};
use super::vars::Words;
pub(super) use parameter::KINDS as PARAMETERS;
use parameter::Parameter;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A module is laid in at most so often by one `[[use]]`.
const MOST: usize = 1000;
/// A file that was read as a module.
#[derive(Debug, Clone, Default)]
struct Module {
    parameters: BTreeMap<String, Parameter>,
    body: Table,
}

/// An item of `use`.
#[derive(Debug)]
struct Use {
    at: Place,
    /// The module's file, as it is named there.
    name: String,
    path: PathBuf,
    named: Place,
    /// What each gets.
    with: Table,
    for_each: Option<Node>,
}

/// What one of those that a module is used for gets.
struct Given {
    /// Which one; none if there is but one.
    what: Option<String>,
    /// Its name, if it has one, for modules that ask for it.
    name: Option<Node>,
    parameters: Table,
}

/// Lays in all modules that are used. `vars` fills what is given to them.
pub(super) fn lay_in(reader: &mut Reader, items: Vec<Item>, vars: Words<'_>, parts: &mut Parts) {
    let mut known: BTreeMap<PathBuf, Option<Rc<Module>>> = BTreeMap::new();
    for mut item in items {
        vars.fill(reader, &mut item.table);
        let Some(used) = Use::read(reader, item.at, item.table) else {
            continue;
        };
        let module = known.get(&used.path).cloned().unwrap_or_else(|| {
            let module = Module::read(reader, &used.path, used.named, vars).map(Rc::new);
            known.insert(used.path.clone(), module.clone());
            module
        });
        let Some(module) = module else { continue };
        let begin = match item.why.as_str() {
            "" => String::new(),
            why => format!("{why}, "),
        };
        for given in used.given(reader, vars) {
            let why = match &given.what {
                Some(what) => format!("{begin}module {} for {what}", used.name),
                None => format!("{begin}module {}", used.name),
            };
            if !reader.may_make(used.at, weight(&module.body)) {
                return;
            }
            if let Some(body) = module.filled(reader, used.at, given) {
                parts.body(reader, &why, body, Rank::Plain);
            }
        }
    }
}

impl Use {
    fn read(reader: &mut Reader, at: Place, mut table: Table) -> Option<Self> {
        let (named, name) = match table.remove("module").map(|field| field.node) {
            Some(Node {
                at,
                value: Value::Text(name),
            }) => (at, name),
            Some(node) => {
                reader.wrong_type("use[].module", "a text", &node);
                return None;
            }
            None => {
                reader.problem(Some(at), "`use` without `module`", "it names no file", None);
                return None;
            }
        };
        let with = take_table(reader, &mut table, "with").unwrap_or_default();
        let for_each = table.remove("for_each").map(|field| field.node);
        for (name, field) in &table {
            let what = format!("unknown key `{name}` in `use`");
            reader.unknown(field.key, what, name, &["for_each", "module", "with"]);
        }
        Some(Self {
            at,
            path: reader.beside(named, &name),
            name,
            named,
            with,
            for_each,
        })
    }

    /// What is given to each.
    fn given(&self, reader: &mut Reader, vars: Words<'_>) -> Vec<Given> {
        let one = |what, name, parameters: &Table| {
            let mut all = self.with.clone();
            all.extend(parameters.clone());
            Given {
                what,
                name,
                parameters: all,
            }
        };
        let Some(node) = &self.for_each else {
            return vec![one(None, None, &Table::new())];
        };
        let over = match &node.value {
            Value::Text(text) => {
                let named = text.strip_prefix("vars.");
                if named.is_none() {
                    let help = "write \"vars.NAME\", and a table or list of tables there";
                    let what = "`for_each` names a variable";
                    reader.problem(Some(node.at), what, "here", Some(help.into()));
                }
                named.and_then(|name| vars.look_up(reader, node.at, name))
            }
            _ => Some(node),
        };
        let Some(over) = over else { return Vec::new() };
        let count = match &over.value {
            Value::Table(table) => table.len(),
            Value::List(list) => list.len(),
            other => {
                let what = format!(
                    "`for_each` goes over a table or a list, not {}",
                    other.kind()
                );
                reader.problem(Some(over.at), what, "this one", None);
                return Vec::new();
            }
        };
        if count > MOST {
            let what = format!("a module is used more than {MOST} times by one `use`");
            reader.problem(Some(node.at), what, "too many", None);
            return Vec::new();
        }
        if !reader.may_make(self.at, weight(&self.with).saturating_mul(count)) {
            return Vec::new();
        }
        let text = |at, name: &str| Node {
            at,
            value: Value::Text(name.to_owned()),
        };
        let mut all = Vec::new();
        match &over.value {
            Value::Table(table) => {
                for (name, field) in table {
                    if let Value::Table(given) = &field.node.value {
                        let named = Some(text(field.key, name));
                        all.push(one(Some(name.clone()), named, given));
                    } else {
                        reader.wrong_type(&format!("for_each: {name}"), "a table", &field.node);
                    }
                }
            }
            Value::List(list) => {
                for (number, item) in (1..).zip(list) {
                    match &item.value {
                        Value::Table(given) => {
                            all.push(one(Some(format!("number {number}")), None, given));
                        }
                        Value::Text(name) => {
                            let named = Some(text(item.at, name));
                            all.push(one(Some(name.clone()), named, &Table::new()));
                        }
                        _ => reader.wrong_type("for_each[]", "a table or a text", item),
                    }
                }
            }
            _ => {}
        }
        all
    }
}

impl Module {
    fn read(reader: &mut Reader, path: &Path, named: Place, vars: Words<'_>) -> Option<Self> {
        let (_, mut body) = read_file(reader, path, Some(named))?;
        vars.fill(reader, &mut body);
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

    /// What the module says with these parameters; what is not given has its default.
    fn filled(&self, reader: &mut Reader, at: Place, given: Given) -> Option<Table> {
        let mut good = true;
        let Given {
            name,
            parameters: mut given,
            ..
        } = given;
        if let Some(node) = name.filter(|_| self.parameters.contains_key("name")) {
            given
                .entry("name".into())
                .or_insert(Field { key: node.at, node });
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
        if !good {
            return None;
        }
        let words = Words {
            of: "param",
            values: &given,
        };
        let mut body = self.body.clone();
        words.fill(reader, &mut body);
        Some(body)
    }
}
