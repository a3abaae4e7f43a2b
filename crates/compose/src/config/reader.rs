//! Typed access to the tables of a config; whatever does not fit is noted, and reading goes on.

use super::layers::Rank;
use super::load::{Instead, beside};
use super::moves::Move;
use super::report::{Findings, Problem, Source, within};
use super::value::{Node, Place, Table, Value, quoted};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) at: Place,
}

/// What variables and modules may make of a config, in bytes: they can say much in few words.
const ROOM: usize = 64 << 20;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) sources: Vec<Source>,
    pub(super) problems: Vec<Problem>,
    /// Keys that are known by older names.
    pub(super) moves: &'static [Move],
    /// What is allowed and most likely not meant.
    pub(super) warnings: Vec<Problem>,
    /// Whether a file could not be read as what it should be.
    pub(super) unreadable: bool,
    /// Bytes that variables and modules have made.
    made: usize,
    /// What `${vars.NAME}` stands for.
    pub(super) vars: Table,
    /// The weight of what was written at a place.
    pub(super) ranks: BTreeMap<Place, Rank>,
    /// What is read in the place of files.
    pub(super) instead: Instead,
}

/// A table that is being read.
#[derive(Debug)]
pub(super) struct Fields {
    /// Its dotted name, empty for the whole file.
    pub(super) name: String,
    /// Where it stands, if it stands anywhere.
    pub(super) at: Option<Place>,
    table: Table,
    known: Vec<&'static str>,
    taken: Vec<&'static str>,
}

impl Reader {
    /// Reads files that may have these old names.
    pub(super) fn new(moves: &'static [Move]) -> Self {
        Self {
            moves,
            ..Self::default()
        }
    }

    /// Notes something that is wrong.
    pub(super) fn problem(
        &mut self,
        at: Option<Place>,
        what: impl Into<String>,
        label: impl Into<String>,
        help: Option<String>,
    ) {
        self.problems.push(Problem {
            at,
            what: what.into(),
            label: label.into(),
            help,
            other: None,
        });
    }

    /// Notes something that is wrong with two places.
    pub(super) fn problem_of_two(
        &mut self,
        at: Place,
        what: impl Into<String>,
        label: &str,
        other: Place,
        other_label: &str,
    ) {
        self.problem(Some(at), what, label, None);
        if let Some(problem) = self.problems.last_mut() {
            problem.other = Some((other, other_label.into()));
        }
    }

    /// Notes something that is allowed and most likely not meant.
    pub(super) fn warn(
        &mut self,
        at: Option<Place>,
        what: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.warnings.push(Problem {
            at,
            what: what.into(),
            label: label.into(),
            help: Some(help.into()),
            other: None,
        });
    }

    /// The same, with another place that it has to do with.
    pub(super) fn warn_of_two(
        &mut self,
        at: Option<Place>,
        what: impl Into<String>,
        label: &str,
        other: Option<(Place, &str)>,
        help: impl Into<String>,
    ) {
        self.warn(at, what, label, help);
        if let Some(warning) = self.warnings.last_mut() {
            warning.other = other.map(|(at, label)| (at, label.to_owned()));
        }
    }

    /// The place of a text within another one, where it stands there as it is.
    pub(super) fn within(&self, place: Place, text: &str) -> Option<Place> {
        within(&self.sources, place, text)
    }

    /// Everything that was found.
    pub(super) fn findings(self) -> Findings {
        Findings::new(Arc::new(self.sources), self.problems, self.warnings)
    }

    /// Whether a config may become larger by so many bytes.
    pub(super) fn may_make(&mut self, at: Place, bytes: usize) -> bool {
        let before = self.made;
        self.made = before.saturating_add(bytes);
        if before <= ROOM && self.made > ROOM {
            let what = format!("variables and modules make more than {} MiB", ROOM >> 20);
            self.problem(Some(at), what, "here it is too much", None);
            self.unreadable = true;
        }
        self.made <= ROOM
    }

    /// Notes a name that means nothing there, with those that do.
    pub(super) fn unknown(&mut self, at: Place, what: String, name: &str, known: &[&str]) {
        let help = match nearest(name, known) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if known.is_empty() => None,
            None => Some(format!("known here: {}", known.join(", "))),
        };
        self.problem(Some(at), what, "unknown here", help);
    }

    /// A path as the file that has this place means it.
    pub(super) fn beside(&self, at: Place, name: &str) -> PathBuf {
        self.sources
            .get(at.file)
            .map_or_else(|| PathBuf::from(name), |source| beside(&source.path, name))
    }

    pub(super) fn wrong_type(&mut self, name: &str, wanted: &str, node: &Node) {
        let found = node.value.kind();
        self.problem(
            Some(node.at),
            format!("`{name}` must be {wanted}, not {found}"),
            format!("{wanted} is expected here"),
            None,
        );
    }

    /// A text.
    pub(super) fn text(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
    ) -> Option<Located<String>> {
        let node = fields.take(key)?;
        let name = fields.full(key);
        self.text_of(&name, node)
    }

    pub(super) fn text_of(&mut self, name: &str, node: Node) -> Option<Located<String>> {
        if let Value::Text(value) = node.value {
            return Some(Located { value, at: node.at });
        }
        self.wrong_type(name, "a text", &node);
        None
    }

    /// True or false.
    pub(super) fn boolean(&mut self, fields: &mut Fields, key: &'static str) -> Option<bool> {
        let node = fields.take(key)?;
        if let Value::Boolean(value) = node.value {
            return Some(value);
        }
        self.wrong_type(&fields.full(key), "true or false", &node);
        None
    }

    /// A number from `range`.
    pub(super) fn number(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        let node = fields.take(key)?;
        let name = fields.full(key);
        let Value::Integer(number) = node.value else {
            self.wrong_type(&name, "a number", &node);
            return None;
        };
        let number = number.and_then(|n| u64::try_from(n).ok());
        if let Some(value) = number.filter(|n| range.contains(n)) {
            return Some(Located { value, at: node.at });
        }
        let (low, high) = (range.start(), range.end());
        self.problem(
            Some(node.at),
            format!("`{name}` must be a number from {low} to {high}"),
            "out of range",
            None,
        );
        None
    }

    /// A list of texts; absent is empty.
    pub(super) fn texts(&mut self, fields: &mut Fields, key: &'static str) -> Vec<Located<String>> {
        let Some(node) = fields.take(key) else {
            return Vec::new();
        };
        let name = fields.full(key);
        let Value::List(list) = node.value else {
            self.wrong_type(&name, "a list of texts", &node);
            return Vec::new();
        };
        list.into_iter()
            .enumerate()
            .filter_map(|(number, item)| self.text_of(&format!("{name}[{number}]"), item))
            .collect()
    }

    /// One of some words.
    pub(super) fn word(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let text = self.text(fields, key)?;
        let found = words.iter().find(|word| **word == text.value);
        if found.is_none() {
            let shown: String = text.value.chars().take(80).collect();
            let what = format!(
                "`{}` cannot be `{}`",
                shown.escape_debug(),
                fields.full(key)
            );
            let rule = format!("one of {}", words.join(", "));
            self.problem(Some(text.at), what, rule, None);
        }
        found.copied()
    }

    /// A list of tables; absent is empty.
    pub(super) fn list_of_tables(&mut self, fields: &mut Fields, key: &'static str) -> Vec<Fields> {
        let Some(node) = fields.take(key) else {
            return Vec::new();
        };
        let name = fields.full(key);
        let Value::List(list) = node.value else {
            self.wrong_type(&name, "a list of tables", &node);
            return Vec::new();
        };
        list.into_iter()
            .enumerate()
            .map(|(number, item)| self.table_of(format!("{name}[{number}]"), item))
            .collect()
    }

    /// A table; absent is empty.
    pub(super) fn table(&mut self, fields: &mut Fields, key: &'static str) -> Fields {
        let name = fields.full(key);
        match fields.take(key) {
            None => Fields::new(name, None, Table::new()),
            Some(node) => self.table_of(name, node),
        }
    }

    pub(super) fn table_of(&mut self, name: String, node: Node) -> Fields {
        let at = Some(node.at);
        if let Value::Table(table) = node.value {
            return Fields::new(name, at, table);
        }
        self.wrong_type(&name, "a table", &node);
        Fields::new(name, at, Table::new())
    }

    /// The tables of a table, with their names and where these stand.
    pub(super) fn tables(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
    ) -> Vec<(Located<String>, Fields)> {
        let outer = self.table(fields, key);
        let mut out = Vec::new();
        for (name, field) in outer.table {
            let full = format!("{}.{}", outer.name, quoted(&name));
            let at = field.key;
            let inner = self.table_of(full, field.node);
            out.push((Located { value: name, at }, inner));
        }
        out
    }

    /// The texts of a table, with their names.
    pub(super) fn named_texts(
        &mut self,
        fields: &mut Fields,
        key: &'static str,
    ) -> Vec<(Located<String>, Located<String>)> {
        let outer = self.table(fields, key);
        let mut out = Vec::new();
        for (name, field) in outer.table {
            let full = format!("{}.{}", outer.name, quoted(&name));
            let at = field.key;
            if let Some(text) = self.text_of(&full, field.node) {
                out.push((Located { value: name, at }, text));
            }
        }
        out
    }

    /// Says which keys of a table mean nothing.
    pub(super) fn finish(&mut self, fields: &Fields) {
        for (key, field) in &fields.table {
            let place = if fields.name.is_empty() {
                "at the top of a config".to_owned()
            } else {
                format!("in `{}`", fields.name)
            };
            let what = format!("unknown key `{key}` {place}");
            self.unknown(field.key, what, key, &fields.known);
        }
    }

    /// A value that must be there.
    pub(super) fn needed<T>(
        &mut self,
        value: Option<T>,
        fields: &Fields,
        key: &'static str,
        example: &str,
    ) -> Option<T> {
        if value.is_none() && !fields.was_there(key) {
            let at = fields.at.or_else(|| self.begin());
            self.problem(
                at,
                format!("`{}` is missing", fields.full(key)),
                "it belongs here",
                Some(format!("add `{key} = {example}`")),
            );
        }
        value
    }

    /// The beginning of the config itself.
    fn begin(&self) -> Option<Place> {
        let file = 0;
        (!self.sources.is_empty()).then_some(Place {
            file,
            start: 0,
            end: 0,
        })
    }
}

impl Fields {
    pub(super) fn new(name: String, at: Option<Place>, table: Table) -> Self {
        Self {
            name,
            at,
            table,
            known: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// The dotted name of a key.
    pub(super) fn full(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// Whether the key was written (it may have had a wrong type).
    pub(super) fn was_there(&self, key: &str) -> bool {
        self.taken.contains(&key)
    }

    /// Everything that is left, of a table that takes more than Elea's own keys.
    pub(super) fn rest(&mut self) -> Table {
        std::mem::take(&mut self.table)
    }

    /// Takes out a key that must not be there; where it stands.
    pub(super) fn refuse(&mut self, key: &str) -> Option<Place> {
        Some(self.table.remove(key)?.key)
    }

    /// The keys that have been asked for.
    pub(super) fn known(&self) -> &[&'static str] {
        &self.known
    }

    /// Leaves out a key; whether it was written.
    pub(super) fn skip(&mut self, key: &'static str) -> bool {
        self.take(key).is_some()
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Node> {
        self.known.push(key);
        let field = self.table.remove(key)?;
        self.taken.push(key);
        Some(field.node)
    }
}

/// The name of the list that a mistyped one is most likely meant to be.
pub(crate) fn nearest<'a>(word: &str, list: &[&'a str]) -> Option<&'a str> {
    // Of equally near ones, the one that begins alike.
    list.iter()
        .map(|known| {
            (
                distance(word, known),
                word.chars().next() != known.chars().next(),
                *known,
            )
        })
        .filter(|(distance, _, known)| *distance <= 1 + known.len() / 5)
        .min()
        .map(|(_, _, known)| known)
}

/// How many letters must be changed, added, left out or swapped with a neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (
        a.chars()
            .take(64)
            .map(|c| if c == '-' { '_' } else { c })
            .collect(),
        b.chars().take(64).collect(),
    );
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
