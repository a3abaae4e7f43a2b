//! `[units."NAME.TYPE"]`: units that the config writes itself, and what it changes in those of packages.

use super::super::check;
use super::super::reader::{Fields, Located, Reader};
use super::super::settings::{Setting, Shape};
use super::super::value::{Value, quoted};
use super::files::readable;
use super::values;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `[units."NAME.TYPE"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unit {
    /// Whether it starts.
    pub enable: bool,
    /// Whether it is laid over a unit that packages bring, as a drop-in.
    pub r#override: bool,
    /// The whole file.
    pub text: Option<String>,
    /// A file of the build machine that is the whole file.
    pub source: Option<PathBuf>,
    /// Files and folders of which it is reloaded when they change.
    pub reload_on: Vec<String>,
    /// The same, of which it is restarted.
    pub restart_on: Vec<String>,
    /// Its sections with their settings.
    #[serde(flatten)]
    pub sections: BTreeMap<String, BTreeMap<String, Setting>>,
}

impl Unit {
    /// Whether it has a text, be it of its own or laid over that of a package; if not, only what it reads is said.
    pub fn has_text(&self) -> bool {
        self.text.is_some() || self.source.is_some() || !self.sections.is_empty()
    }
}

/// The types of units that files are written for, the section that each has of its own, and what starts it where nothing
/// else is said (systemd.unit(5), systemd.special(7)).
const TYPES: [(&str, Option<&str>, Option<&str>); 9] = [
    ("service", Some("Service"), Some("multi-user.target")),
    ("socket", Some("Socket"), Some("sockets.target")),
    ("timer", Some("Timer"), Some("timers.target")),
    ("path", Some("Path"), Some("paths.target")),
    ("mount", Some("Mount"), Some("local-fs.target")),
    ("automount", Some("Automount"), Some("local-fs.target")),
    ("swap", Some("Swap"), Some("swap.target")),
    ("target", None, Some("multi-user.target")),
    ("slice", Some("Slice"), None),
];

/// A unit's type: its own section, and what starts it.
fn type_of(name: &str) -> Option<(Option<&'static str>, Option<&'static str>)> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let found = TYPES.iter().find(|(known, ..)| *known == suffix)?;
    (check::unit_stem(stem) && name.len() <= 255).then_some((found.1, found.2))
}

/// What starts a unit of this name where nothing else is said.
pub(crate) fn starter(name: &str) -> Option<&'static str> {
    type_of(name)?.1
}

/// Reads every unit.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Unit> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "units") {
        let kind = type_of(&name.value);
        if kind.is_none() {
            let known: Vec<String> = TYPES.iter().map(|(t, ..)| format!(".{t}")).collect();
            let help = format!("a name with its type: {}", known.join(", "));
            let what = format!("`{}` cannot be a unit", name.value.escape_debug());
            reader.problem(Some(name.at), what, "no unit's name", Some(help));
        }
        let unit = unit(reader, &mut fields, &name, kind.and_then(|(own, _)| own));
        if let Some(unit) = unit.filter(|_| kind.is_some()) {
            out.insert(name.value, unit);
        }
    }
    out
}

fn unit(
    reader: &mut Reader,
    fields: &mut Fields,
    name: &Located<String>,
    own: Option<&str>,
) -> Option<Unit> {
    let enable = reader.boolean(fields, "enable").unwrap_or(false);
    let over = reader.boolean(fields, "override").unwrap_or(false);
    let text = reader.text(fields, "text");
    let source = reader.text(fields, "source");
    let [reload_on, restart_on] =
        ["reload_on", "restart_on"].map(|key| files(reader, fields, key, &name.value));
    let sections = sections(reader, fields, own);
    let reads = fields.was_there("reload_on") || fields.was_there("restart_on");
    let given = [text.is_some(), source.is_some(), !sections.is_empty()];
    let count = given.iter().filter(|given| **given).count();
    if count > 1 {
        let what = format!("`{}` says in more than one way what it is", fields.name);
        let label = "one of `text`, `source` and sections";
        reader.problem(Some(name.at), what, label, None);
        return None;
    }
    if count == 0 && !reads {
        let what = format!("`{}` says nothing of what it is", fields.name);
        let help = if enable {
            "a unit that packages bring is started by `services.enable`".to_owned()
        } else {
            let own = own.unwrap_or("Unit");
            format!(
                "add a section such as [{}.{own}], `text` or `source`",
                fields.name
            )
        };
        reader.problem(Some(name.at), what, "empty", Some(help));
        return None;
    }
    let template = name.value.contains("@.");
    if enable && template && !over && count > 0 {
        let example = name.value.replacen("@.", "@1.", 1);
        let what = format!(
            "`{}` is a template, which itself does not start",
            name.value
        );
        let help = format!("start its instances: services.enable = [\"{example}\"]");
        reader.problem(Some(name.at), what, "cannot be enabled", Some(help));
    }
    let text = match text {
        None => None,
        Some(text) => {
            let rule = "the text of a unit, without control characters";
            Some(reader.check(&fields.full("text"), text, check::text, rule)?)
        }
    };
    let file = match &source {
        None => None,
        Some(source) => Some(readable(reader, source)?),
    };
    if let Some(at) = text.as_ref().or(source.as_ref()).map(|l| l.at)
        && enable
        && !over
    {
        let whole = match (&text, &file) {
            (Some(text), _) => text.value.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).unwrap_or_default(),
            (None, None) => String::new(),
        };
        if !whole.lines().any(|line| line.trim() == "[Install]") {
            let name = &name.value;
            let what = format!("`{name}` has no section `[Install]`, so nothing would start it");
            let help = "add one, such as:\n[Install]\nWantedBy=multi-user.target".to_owned();
            reader.problem(Some(at), what, "this unit", Some(help));
        }
    }
    Some(Unit {
        enable,
        r#override: over,
        text: text.map(|l| l.value),
        source: file,
        reload_on,
        restart_on,
        sections,
    })
}

/// What it reads, to be reloaded or restarted for.
fn files(reader: &mut Reader, fields: &mut Fields, key: &'static str, name: &str) -> Vec<String> {
    let rule = "a file, or a folder with all in it, below /etc or /usr; no pattern, no blanks, quotes, `%` or `\\`";
    let files = reader.checked_list(fields, key, is_read, rule);
    let blind = [".path", ".slice", ".target"];
    if let (Some(first), true) = (files.first(), blind.iter().any(|end| name.ends_with(end))) {
        let what = format!("`{name}` runs nothing that could read a file");
        let help = Some("say it of the service that reads it".to_owned());
        reader.problem(Some(first.at), what, "not of this type", help);
    }
    values(files)
}

/// A path of which units say that they read it: one word as it stands for systemd and for whoever compares it.
fn is_read(text: &str) -> bool {
    let path = text.strip_suffix('/').unwrap_or(text);
    let special = |c: char| c.is_whitespace() || "%\\\"'*?[".contains(c);
    let below = ["/etc/", "/usr/"].iter().any(|top| path.starts_with(top));
    below && check::path(path) && !path.contains(special)
}

fn sections(
    reader: &mut Reader,
    fields: &mut Fields,
    own: Option<&str>,
) -> BTreeMap<String, BTreeMap<String, Setting>> {
    let shape = Shape {
        lists: true,
        fits: value,
        rule: "one line, or several that each end in a backslash but the last",
    };
    let mut known: Vec<&str> = fields.known().to_vec();
    let keys = known.len();
    known.extend(["Unit", "Install"].into_iter().chain(own));
    let mut out = BTreeMap::new();
    for (name, field) in fields.rest() {
        let full = format!("{}.{}", fields.name, quoted(&name));
        let is_own = name.starts_with("X-") && check::unit_stem(&name);
        let Value::Table(table) = field.node.value else {
            if known.contains(&name.as_str()) || is_own || SECTION == name {
                reader.wrong_type(&full, "a table", &field.node);
            } else {
                let what = format!("unknown key `{name}` in `{}`", fields.name);
                reader.unknown(field.key, what, &name, &known);
            }
            continue;
        };
        if !is_own && !known.contains(&name.as_str()) {
            let what = format!(
                "units of this type have no section `{}`",
                name.escape_debug()
            );
            reader.unknown(field.key, what, &name, &known[keys..]);
            continue;
        }
        let key: fn(&str) -> bool = |text| {
            let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !text.is_empty() && text.len() <= 128 && text.chars().all(good)
        };
        let settings = reader.settings_of(&full, table, key, "letters, digits, `-`", &shape);
        out.insert(name, settings);
    }
    out
}

/// The word that the reference has for a section.
const SECTION: &str = "SECTION";

/// A setting's value (systemd.syntax(7)): one line, or lines that go on behind a backslash. The last must not: what
/// follows it in the file would be taken for a part of it.
pub(super) fn value(text: &str) -> bool {
    let goes_on = |line: &str| {
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        backslashes % 2 == 1
    };
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        if !check::line(line) || goes_on(line) != lines.peek().is_some() {
            return false;
        }
    }
    true
}
