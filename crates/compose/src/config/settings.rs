//! Settings of other programs: free-form tables, whose names are theirs and whose values are checked to stay what they are
//! in a file of lines.

use super::reader::{Fields, Located, Reader};
use super::value::{Node, Table, Value};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// A value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Setting {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// True or false.
    Boolean(bool),
    /// The setting more than once, in this order.
    List(Vec<Self>),
}

/// What values a table takes.
pub(super) struct Shape {
    /// Whether a setting may be a list.
    pub(super) lists: bool,
    /// The rule for texts.
    pub(super) fits: fn(&str) -> bool,
    /// The rule in words.
    pub(super) rule: &'static str,
}

/// What a setting is, in words.
const KIND: &str = "a text, a number or true or false";

impl Setting {
    /// The single values of it, in order.
    pub fn each(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            one => std::slice::from_ref(one),
        }
    }
}

/// As a unit has it. A list has one line for each of its values there, so it has no text of its own.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(list) => list.iter().try_for_each(|one| write!(f, "{one} ")),
        }
    }
}

impl Reader {
    /// All that is left of a table, as settings.
    pub(super) fn settings(
        &mut self,
        fields: &mut Fields,
        name_fits: fn(&str) -> bool,
        name_rule: &str,
        shape: &Shape,
    ) -> BTreeMap<String, Setting> {
        let (of, table) = (fields.name.clone(), fields.rest());
        self.settings_of(&of, table, name_fits, name_rule, shape)
    }

    /// A table of settings.
    pub(super) fn settings_of(
        &mut self,
        of: &str,
        table: Table,
        name_fits: fn(&str) -> bool,
        name_rule: &str,
        shape: &Shape,
    ) -> BTreeMap<String, Setting> {
        let mut out = BTreeMap::new();
        for (name, field) in table {
            let full = format!("{of}.{}", super::value::quoted(&name));
            let setting = self.setting(&full, field.node, shape);
            let at = field.key;
            if !name_fits(&name) {
                let shown: String = name.chars().take(80).collect();
                let what = format!("`{}` cannot be a name in `{of}`", shown.escape_debug());
                self.problem(Some(at), what, name_rule, None);
            } else if let Some(setting) = setting {
                out.insert(name, setting);
            }
        }
        out
    }

    fn setting(&mut self, name: &str, node: Node, shape: &Shape) -> Option<Setting> {
        match node.value {
            Value::Text(value) => {
                let text = Located { value, at: node.at };
                let text = self.check(name, text, shape.fits, shape.rule)?;
                Some(Setting::Text(text.value))
            }
            Value::Integer(Some(number)) => Some(Setting::Number(number)),
            Value::Boolean(value) => Some(Setting::Boolean(value)),
            Value::List(list) if shape.lists => {
                let single = Shape {
                    lists: false,
                    ..*shape
                };
                let one =
                    |(number, item)| self.setting(&format!("{name}[{number}]"), item, &single);
                let list: Vec<Option<Setting>> = list.into_iter().enumerate().map(one).collect();
                list.into_iter().collect::<Option<_>>().map(Setting::List)
            }
            _ => {
                self.wrong_type(name, KIND, &node);
                None
            }
        }
    }
}
