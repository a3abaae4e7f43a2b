//! A config's text as a tree in which every value knows where it was written.

use std::collections::BTreeMap;
use std::fmt;
use toml::de::{DeTable, DeValue};

/// A place in a config file, in bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Which of the files that were read.
    pub(super) file: usize,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

/// A value, before anything is known of its meaning.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    /// None where the number does not fit.
    Integer(Option<i64>),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// Something that no key takes; the word for it.
    Other(&'static str),
}

/// A table's entries by name.
pub(super) type Table = BTreeMap<String, Field>;

/// An entry of a table.
#[derive(Debug, Clone)]
pub(super) struct Field {
    /// Where the name stands.
    pub(super) key: Place,
    pub(super) node: Node,
}

/// A message about a place.
pub(super) type Complaint = (Place, String);

impl Value {
    /// The word for its kind, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(word) => word,
        }
    }
}

impl Node {
    /// Whether it is this text.
    pub(super) fn is_text(&self, text: &str) -> bool {
        matches!(&self.value, Value::Text(value) if value == text)
    }

    /// Bytes that it takes, about.
    pub(super) fn weight(&self) -> usize {
        let inner = match &self.value {
            Value::Text(text) => text.len(),
            Value::List(list) => list.iter().map(Self::weight).sum(),
            Value::Table(table) => weight(table),
            _ => 0,
        };
        inner + size_of::<Self>()
    }

    /// Whether it says the same, wherever it stands.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Boolean(a), Value::Boolean(b)) => a == b,
            (Value::List(a), Value::List(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b))
            }
            (Value::Table(a), Value::Table(b)) => {
                let same = |(a, b): ((&String, &Field), (&String, &Field))| {
                    a.0 == b.0 && a.1.node.is(&b.1.node)
                };
                a.len() == b.len() && a.iter().zip(b).all(same)
            }
            _ => false,
        }
    }
}

/// Bytes that a table takes, about.
pub(super) fn weight(table: &Table) -> usize {
    let field = |(name, field): (&String, &Field)| name.len() + field.node.weight();
    table.iter().map(field).sum()
}

/// As TOML writes it, on one line.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Integer(Some(number)) => write!(f, "{number}"),
            Value::Integer(None) => f.write_str("a number that is too large"),
            Value::Boolean(value) => write!(f, "{value}"),
            Value::List(list) => {
                f.write_str("[")?;
                for (number, item) in list.iter().enumerate() {
                    write!(f, "{}{item}", if number == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Table(table) => {
                f.write_str("{")?;
                for (number, (name, field)) in table.iter().enumerate() {
                    let comma = if number == 0 { "" } else { "," };
                    write!(f, "{comma} {} = {}", quoted(name), field.node)?;
                }
                f.write_str(" }")
            }
            Value::Other(word) => f.write_str(word),
        }
    }
}

/// Reads TOML; what can be understood is returned beside all that cannot.
pub(super) fn parse_toml(file: usize, text: &str) -> (Table, Vec<Complaint>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let complaints = errors
        .iter()
        .map(|e| {
            let span = e.span().unwrap_or(0..0);
            let at = Place {
                file,
                start: span.start.min(text.len()),
                end: span.end.min(text.len()),
            };
            (at, e.message().to_owned())
        })
        .collect();
    (convert_table(file, table.into_inner()), complaints)
}

fn convert_table(file: usize, table: DeTable<'_>) -> Table {
    let place = |span: std::ops::Range<usize>| Place {
        file,
        start: span.start,
        end: span.end,
    };
    table
        .into_iter()
        .map(|(key, value)| {
            let at = place(value.span());
            let field = Field {
                key: place(key.span()),
                node: Node {
                    at,
                    value: convert(file, value.into_inner()),
                },
            };
            (key.into_inner().into_owned(), field)
        })
        .collect()
}

fn convert(file: usize, value: DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => {
            Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
        }
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Array(list) => Value::List(
            list.into_iter()
                .map(|item| Node {
                    at: Place {
                        file,
                        start: item.span().start,
                        end: item.span().end,
                    },
                    value: convert(file, item.into_inner()),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(file, table)),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    }
}

/// Every value by its dotted name, items of lists by their number; for `origins`.
pub(super) fn places(table: &Table) -> BTreeMap<String, Place> {
    fn walk(name: &str, node: &Node, out: &mut BTreeMap<String, Place>) {
        match &node.value {
            Value::Table(table) => {
                for (key, field) in table {
                    walk(&format!("{name}.{}", quoted(key)), &field.node, out);
                }
            }
            Value::List(list) => {
                out.insert(name.to_owned(), node.at);
                for (number, item) in list.iter().enumerate() {
                    walk(&format!("{name}[{number}]"), item, out);
                    if let Value::Text(text) = &item.value {
                        out.insert(format!("{name}[{text}]"), item.at);
                    }
                }
            }
            _ => {
                out.insert(name.to_owned(), node.at);
            }
        }
    }
    let mut out = BTreeMap::new();
    for (key, field) in table {
        walk(&quoted(key), &field.node, &mut out);
    }
    out
}

/// Where a value or, of a table, its first value was written.
pub(super) fn place_of(places: &BTreeMap<String, Place>, name: &str) -> Option<Place> {
    let below = format!("{name}.");
    let first = || {
        let (key, place) = places.range(below.clone()..).next()?;
        key.starts_with(&below).then_some(place)
    };
    places.get(name).or_else(first).copied()
}

/// A name as TOML writes it.
pub(crate) fn quoted(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("{key:?}")
    }
}
