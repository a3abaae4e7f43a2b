//! What is said of keys (for `config options`, the schema and the reference) is what is read.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use elea_compose::config::keys::{
    Key, Kind, LANGUAGE, SECTIONS, Section, all, man, module_schema, reference, schema,
};
use elea_compose::config::{self, Config, Findings};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn load(text: &str) -> Result<Config, Findings> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elea.toml");
    fs::write(&path, text).unwrap();
    config::load(&path)
}

fn messages(text: &str) -> Vec<(String, Option<String>)> {
    let errors = load(text).expect_err("this config is wrong");
    let list = errors.errors().iter();
    list.map(|e| (e.message.clone(), e.help.clone())).collect()
}

/// A table with one line in it.
fn with(section: &Section, line: &str) -> String {
    let entry = match section.each {
        None => String::new(),
        Some("NAME") => ".ada".into(),
        Some("\"NAME.TYPE\"") => ".\"web.service\"".into(),
        Some(_) => ".\"/etc/x\"".into(),
    };
    let name = section.name.replace("NAME", "ada");
    format!("[{name}{entry}]\n{line}\n")
}

fn keys() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    let keys = |section: &'static Section| section.keys.iter().map(move |key| (section, key));
    all().flat_map(keys)
}

#[test]
fn tables_know_these_keys_and_no_others() {
    for section in all() {
        if section.keys.iter().all(|key| key.kind == Kind::Setting) {
            continue;
        }
        let found = messages(&with(section, "qqqqqqqqqqqqqqqqqqqq = 1"));
        let known = found
            .iter()
            .find(|(what, _)| what.starts_with("unknown key"));
        let help = known.unwrap().1.clone().unwrap();
        let mut known: Vec<&str> = help
            .strip_prefix("known here: ")
            .unwrap()
            .split(", ")
            .collect();
        let mut said: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
        let inner = SECTIONS.iter().filter_map(|s| s.name.split_once('.'));
        said.extend(
            inner
                .filter(|(top, _)| *top == section.name)
                .map(|(_, name)| name),
        );
        // Sections of units are no keys of Elea's.
        said.retain(|name| *name != "SECTION");
        known.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
        known.sort_unstable();
        said.sort_unstable();
        assert_eq!(known, said, "{}", section.name);
    }
    let found = messages("qqqqqqqqqqqqqqqqqqqq = 1");
    let help = found
        .iter()
        .find_map(|(what, help)| help.clone().filter(|_| what.starts_with("unknown key")));
    let help = help.unwrap();
    let mut known: Vec<&str> = help
        .strip_prefix("known here: ")
        .unwrap()
        .split(", ")
        .collect();
    let sections: BTreeSet<&str> = SECTIONS.iter().map(Section::top).collect();
    let mut said: Vec<&str> = sections
        .into_iter()
        .chain(LANGUAGE.iter().map(|(name, _)| *name))
        .collect();
    known.sort_unstable();
    said.sort_unstable();
    assert_eq!(known, said);
}

#[test]
fn keys_take_what_is_said_and_nothing_else() {
    for (section, key) in keys() {
        let (wrong, wanted) = match key.kind {
            Kind::Text | Kind::Path => ("1.5", "must be a text, not a fraction".to_owned()),
            Kind::Boolean => ("1.5", "must be true or false, not a fraction".into()),
            Kind::Texts | Kind::Paths => ("1.5", "must be a list of texts, not a fraction".into()),
            Kind::Word(_) => ("1.5", "must be a text, not a fraction".into()),
            Kind::Ports => ("1.5", "must be a list of ports, not a fraction".into()),
            Kind::Tables(_) => ("1.5", "must be a list of tables, not a fraction".into()),
            Kind::Setting => {
                let wanted = "must be a text, a number or true or false, not a fraction";
                ("1.5", wanted.into())
            }
            Kind::Settings | Kind::Table | Kind::Named(_) => {
                ("1.5", "must be a table, not a fraction".into())
            }
            Kind::Number(low, high) => ("-1", format!("must be a number from {low} to {high}")),
        };
        let text = with(section, &format!("{} = {wrong}", key.name));
        let found = messages(&text);
        let said = found
            .iter()
            .any(|(what, _)| what.ends_with(&wanted) && what.contains(key.name));
        assert!(said, "{text}: no `{wanted}` in {found:?}");
    }
}

#[test]
fn defaults_are_what_is_said() {
    let config = load("[system]\nname = \"a\"\nversion = \"1\"\n").unwrap();
    let values = config.values();
    for (section, key) in keys().filter(|(section, _)| section.each.is_none()) {
        let path = section.path(key);
        let value = values
            .iter()
            .find(|(name, _)| *name == path)
            .map(|(_, value)| value.as_str());
        match (key.default, value) {
            // What there is no value of by default, or one that others make.
            (_, None) | ("" | "the name" | "name and version", Some(_)) => {}
            (said, Some(value)) => assert_eq!(value, said, "{path}"),
        }
    }
    // A key must be given if its table is there, and says so.
    for (section, key) in keys().filter(|(_, key)| key.default.is_empty()) {
        let found = messages(&with(section, ""));
        let (of, missing) = (
            format!("`{}.", section.name),
            format!(".{}` is missing", key.name),
        );
        assert!(
            found
                .iter()
                .any(|(what, _)| what.starts_with(&of) && what.ends_with(&missing)),
            "{missing}: {found:?}"
        );
    }
}

#[test]
fn the_reference_is_in_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("## Keys\n").unwrap();
    let (_, after) = rest.split_once("## What a build does").unwrap();
    let head = "\nWritten by a test from `crates/compose/src/config/keys.rs` (`ELEA_WRITE_DOCS=1`). `schema = 1` may stand at the top; it is the version of this language.\n\n";
    let new = format!(
        "{before}## Keys\n{head}{}## What a build does{after}",
        reference()
    );
    if std::env::var_os("ELEA_WRITE_DOCS").is_some() {
        fs::write(&path, &new).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == new,
        "docs/config.md is not what keys.rs says: ELEA_WRITE_DOCS=1"
    );
}

#[test]
fn the_schema_has_every_key() {
    let schema = schema();
    for (section, key) in keys() {
        let mut table = &schema;
        for name in section.name.split('.') {
            table = match name {
                "NAME" => &table["additionalProperties"],
                name => &table["properties"][name],
            };
        }
        if section.each.is_some() {
            table = &table["additionalProperties"];
        }
        let free = matches!(key.kind, Kind::Setting | Kind::Settings);
        let known = if free {
            &table["additionalProperties"]
        } else {
            &table["properties"][key.name]
        };
        assert_eq!(known["description"], key.doc, "{}", section.path(key));
        let closed = section
            .keys
            .iter()
            .all(|key| !matches!(key.kind, Kind::Setting | Kind::Settings));
        assert!(
            !closed || table["additionalProperties"] == false,
            "{}",
            section.name
        );
    }
    for (name, doc) in LANGUAGE {
        assert_eq!(schema["properties"][name]["description"], *doc);
    }
}

/// The schema of modules has what a module can have, and nothing that only a config can.
#[test]
fn the_schema_of_modules_is_what_is_read() {
    let schema = module_schema();
    let names = |table: &serde_json::Value| -> BTreeSet<String> {
        table.as_object().unwrap().keys().cloned().collect()
    };
    let top = names(&schema["properties"]);
    let use_it = |module: &str| {
        let dir = tempfile::tempdir().unwrap();
        let text = "[system]\nname = \"a\"\nversion = \"1\"\n[[use]]\nmodule = \"m.toml\"\n";
        fs::write(dir.path().join("elea.toml"), text).unwrap();
        fs::write(dir.path().join("m.toml"), module).unwrap();
        config::load(&dir.path().join("elea.toml"))
    };
    for (name, _) in LANGUAGE {
        let table = match *name {
            "schema" => "schema = 1\n".to_owned(),
            "imports" => "imports = []\n".to_owned(),
            "use" | "when" => format!("{name} = []\n"),
            name => format!("[{name}]\n"),
        };
        assert_eq!(use_it(&table).is_ok(), top.contains(*name), "{name}");
    }
    let parameter = &schema["properties"]["parameters"]["additionalProperties"];
    let known =
        use_it("[parameters.a]\ntype = \"text\"\ndefault = \"\"\nqqqqqqqqqqqq = 1\n").unwrap_err();
    let known = known.errors()[0].help.clone().unwrap();
    let known = known
        .strip_prefix("known here: ")
        .unwrap()
        .split(", ")
        .map(str::to_owned);
    assert_eq!(names(&parameter["properties"]), known.collect());
    for kind in parameter["properties"]["type"]["enum"].as_array().unwrap() {
        let module = format!("[parameters.a]\ntype = {kind}\n");
        let errors = use_it(&module).unwrap_err();
        assert!(
            errors.errors()[0].message.contains("needs the parameter"),
            "{errors}"
        );
    }
    for section in SECTIONS {
        assert!(top.contains(section.top()), "{}", section.name);
    }
}

#[test]
fn the_manual_page_is_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/elea.toml.5");
    let page = man();
    if std::env::var_os("ELEA_WRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == page,
        "docs/man/elea.toml.5 is not what keys.rs says: ELEA_WRITE_DOCS=1"
    );
    let mut groff = Command::new("groff");
    groff
        .args(["-man", "-ww", "-rLL=100n", "-Kutf8", "-Tutf8", "-P-cbou"])
        .arg(&path);
    let Ok(output) = groff.output() else {
        println!("skipped: no groff");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let shown = String::from_utf8_lossy(&output.stdout);
    for key in [
        "allow_ping",
        "routes[].destination",
        "[units.\"NAME.TYPE\"]",
    ] {
        assert!(shown.contains(key), "{key}: {shown}");
    }
}
