//! Unit files (systemd.syntax(7)) of `[units]`.

use super::Rendered;
use crate::config::{Config, Content, Setting, Unit, starter};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where the units of an administrator lie: what is here comes before those of packages.
pub(super) const FOLDER: &str = "/etc/systemd/system";

/// What a unit reads, as its drop-in.
const READS: &str = "60-elea-files.conf";

pub(super) fn render(config: &Config, out: &mut Rendered) {
    for (name, unit) in &config.units {
        let key = format!("units.{name:?}");
        let path = if unit.r#override {
            format!("{FOLDER}/{name}.d/50-elea.conf")
        } else {
            format!("{FOLDER}/{name}")
        };
        if unit.enable {
            out.start(&key, name);
        }
        if let Some(text) = reads(&key, unit) {
            let path = format!("{FOLDER}/{name}.d/{READS}");
            out.content(&key, path, Content::Text(text), 0o644);
        }
        if !unit.has_text() {
            continue;
        }
        let content = match (&unit.text, &unit.source) {
            (Some(text), _) => Content::Text(text.clone()),
            (None, Some(source)) => Content::Copy(source.clone()),
            (None, None) => Content::Text(text(&key, name, unit)),
        };
        out.content(&key, path, content, 0o644);
    }
}

/// The drop-in of what a unit reads: its text does not change when that does, so the manager need not read it anew.
/// systemd passes over `X-…`; who switches to another configuration looks at it.
fn reads(key: &str, unit: &Unit) -> Option<String> {
    let lists = [
        ("X-Reload-On", &unit.reload_on),
        ("X-Restart-On", &unit.restart_on),
    ];
    let mut text = format!("# From [{key}] of the config.\n\n[Unit]\n");
    for (setting, paths) in lists {
        for path in paths {
            let _ = writeln!(text, "{setting}={path}");
        }
    }
    lists
        .iter()
        .any(|(_, paths)| !paths.is_empty())
        .then_some(text)
}

/// The file of a unit that is written in the config. One that starts, and says nothing of when, starts with its kind.
fn text(key: &str, name: &str, unit: &Unit) -> String {
    let mut text = format!("# From [{key}] of the config.\n");
    // `[Unit]` first and `[Install]` last, as people write them.
    let place = |name: &str| match name {
        "Unit" => 0,
        "Install" => 2,
        _ => 1,
    };
    let mut sections: Vec<_> = unit.sections.iter().collect();
    sections.sort_by_key(|(name, _)| place(name));
    for (name, settings) in sections {
        section(&mut text, name, settings);
    }
    let says = unit.sections.contains_key("Install");
    if let Some(starter) = starter(name).filter(|_| unit.enable && !unit.r#override && !says) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n[Install]\nWantedBy={starter}\n");
    }
    text
}

fn section(text: &mut String, name: &str, settings: &BTreeMap<String, Setting>) {
    let _ = write!(text, "\n[{name}]\n");
    for (name, setting) in settings {
        for value in setting.each() {
            let _ = writeln!(text, "{name}={value}");
        }
    }
}

/// A command line of `ExecStart=` (systemd.service(5), "Command lines"): each word comes out as it is.
pub(super) fn command(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let mut out = String::from("\"");
        for c in word.chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                '%' | '$' => out.extend([c, c]),
                '\t' => out.push_str("\\t"),
                c => out.push(c),
            }
        }
        out + "\""
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_come_out_as_they_are() {
        let words = ["/bin/x", "a b", "$HOME", "50%", "\"q\"", "C:\\", "", "\t"];
        let words = words.map(str::to_owned);
        let line = r#""/bin/x" "a b" "$$HOME" "50%%" "\"q\"" "C:\\" "" "\t""#;
        assert_eq!(command(&words), line);
    }
}
