//! `[home.NAME]`, in a config of a system and alone.

use crate::{SMALL, bad, good};
use elea_compose::config::Content;
use elea_compose::config::home::{Format, How, OneHome, load_home};
use std::fs;

const HOME: &str = "\
[home.ada.files.\".config/git/config\"]
content = \"[user]\\nname = ${vars.who}\\n\"
how = \"merge\"
format = \"ini\"
[home.ada.files.\"bin/x y\"]
source = \"x\"
mode = \"0755\"
[home.ada.files.link]
symlink = \"/somewhere\"
[home.ada.units.\"a.service\"]
content = \"[Service]\\nExecStart=true\\n\"
enable = true
[home.ada.environment]
PAGER = \"less -R\"
[home.ada]
packages = [\"jq\"]
[vars]
who = \"Ada\"
";

fn one(text: &str, user: &str) -> Result<OneHome, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("home.toml"), text).unwrap();
    fs::write(dir.path().join("x"), "").unwrap();
    let loaded = load_home(&dir.path().join("home.toml"), user);
    loaded.map_err(|e| e.errors().iter().map(|e| e.message.clone()).collect())
}

#[test]
fn a_home_is_read_alone_and_with_a_system() {
    let alone = one(HOME, "ada").unwrap();
    let files = &alone.home.files;
    let git = &files[".config/git/config"];
    assert_eq!((git.how, git.format), (Some(How::Merge), Some(Format::Ini)));
    assert_eq!(git.content, Content::Text("[user]\nname = Ada\n".into()));
    assert_eq!(files["bin/x y"].mode, Some(0o755));
    assert_eq!(files["bin/x y"].how, Some(How::Copy));
    assert_eq!(files["link"].how, None);
    assert!(alone.home.units["a.service"].enable);
    assert_eq!(alone.home.environment["PAGER"], "less -R");
    assert!(alone.ignored.is_empty());
    let whole = format!("{SMALL}{HOME}");
    let with_system = one(&whole, "ada").unwrap();
    assert_eq!(with_system.home.files.len(), 3);
    assert_eq!(with_system.ignored, ["system"]);
    let config = good(&[("elea.toml", &whole), ("x", "")]);
    assert_eq!(config.home["ada"].packages, ["jq"]);
    // Written out, it is a config again.
    let whole = whole.replace("source = \"x\"", "content = \"\"");
    let config = good(&[("elea.toml", &whole)]);
    let again = toml::to_string(&config).unwrap();
    let config_again = good(&[("elea.toml", &again)]);
    assert_eq!(config_again.home, config.home);
}

#[test]
fn what_is_wrong_with_a_home_is_said() {
    assert_eq!(one(HOME, "bob").unwrap_err().len(), 1);
    assert!(one(HOME, "bob").unwrap_err()[0].contains("has no `[home.bob]`"));
    assert!(one("[hme.ada]\n", "ada").unwrap_err()[0].contains("unknown key `hme`"));
    for (lines, what) in [
        (
            "[home.ada.files.\"/etc/x\"]\ncontent = \"\"",
            "cannot be a path in a home",
        ),
        (
            "[home.ada.files.\"../x\"]\ncontent = \"\"",
            "cannot be a path in a home",
        ),
        ("[home.ada.files.a]\n", "says nothing of what stands there"),
        (
            "[home.ada.files.a]\ncontent = \"\"\nsymlink = \"b\"",
            "more than one thing",
        ),
        (
            "[home.ada.files.a]\nsymlink = \"b\"\nmode = \"0600\"",
            "a link has no `mode`",
        ),
        (
            "[home.ada.files.a]\ncontent = \"\"\nmode = \"4755\"",
            "cannot be a mode",
        ),
        (
            "[home.ada.files.a]\ncontent = \"\"\nhow = \"move\"",
            "`move` cannot be",
        ),
        (
            "[home.ada.files.a]\ncontent = \"\"\nhow = \"merge\"",
            "does not say what the file is written in",
        ),
        (
            "[home.ada.files.a]\ncontent = \"\"\nformat = \"ini\"",
            "for `how = \"merge\"` alone",
        ),
        (
            "[home.ada.files]\na.content = \"\"\n\"a/b\".content = \"\"",
            "`a` is declared too",
        ),
        ("[home.ada.units.x]\ncontent = \"\"", "cannot be a unit"),
        (
            "[home.ada.environment]\n1A = \"\"",
            "cannot be a variable's name",
        ),
        ("[home.ada.environment]\nA = \"a\\nb\"", "one line"),
    ] {
        let found = bad(&[("elea.toml", &format!("{SMALL}{lines}\n"))]);
        assert!(
            found.iter().any(|error| error.contains(what)),
            "{lines}: {found:?}"
        );
        assert_eq!(found.len(), 1, "{lines}: {found:?}");
    }
}
