use super::super::load::read_by;
use super::*;
use std::fs;

/// Names that no Elea ever had.
const MOVES: &[Move] = &[
    Move {
        from: "kernel.args",
        to: "arguments",
    },
    Move {
        from: "users.*.keys",
        to: "ssh_keys",
    },
    Move {
        from: "people",
        to: "users",
    },
];

const OLD: &str = r#"# The machine.
schema = 1

[system]
name = "a"
version = "1"

# What it boots with.
[kernel]
package = "linux-image-amd64" # the usual one
# Old.
args   =  ["quiet", # silent
  "splash"]
drivers = []

[people.ada] # a person
comment = "Ada"

[people."b-b"]
sudo = false

[default]
kernel.args = ["nomodeset"]

[[when]]
arch = "amd64"
apply = { kernel = { args = ["console=ttyS0"] } }

[specialisation.safe.force.kernel]
args = ["single"]

[remove.kernel]
args = ["splash"]
"#;

#[test]
fn a_file_gets_the_new_names_and_stays_as_it_is() {
    let migrated = migrate_by(OLD, MOVES).unwrap();
    let expected = OLD
        .replace("args   =", "arguments   =")
        .replace("[people.", "[users.")
        .replace("kernel.args", "kernel.arguments")
        .replace("{ args", "{ arguments")
        .replace("]\nargs", "]\narguments");
    // Blanks around `=` belong to the key.
    assert_eq!(migrated.text, expected);
    let from: Vec<&str> = migrated.renamed.iter().map(|r| r.from.as_str()).collect();
    assert_eq!(
        from,
        [
            "kernel.args",
            "default.kernel.args",
            "remove.kernel.args",
            "specialisation.safe.force.kernel.args",
            "when[].apply.kernel.args",
            "people",
        ]
    );
    // Once more changes nothing.
    let again = migrate_by(&migrated.text, MOVES).unwrap();
    assert!(again.renamed.is_empty() && again.text == migrated.text);
    let text = "[users]\nada.keys=[]\nbob = { keys = [], uid = 1 }\n";
    let expected = "[users]\nada.ssh_keys=[]\nbob = { ssh_keys = [], uid = 1 }\n";
    assert_eq!(migrate_by(text, MOVES).unwrap().text, expected);
}

#[test]
fn what_cannot_be_migrated_is_said() {
    let both = "[kernel]\nargs = []\narguments = []\n";
    let error = migrate_by(both, MOVES).unwrap_err().to_string();
    assert!(
        error.contains("`kernel.args` and `kernel.arguments` are the same key"),
        "{error}"
    );
    assert!(
        migrate_by("a = ", MOVES)
            .unwrap_err()
            .to_string()
            .contains("no TOML")
    );
    // Elea itself has renamed nothing yet.
    assert_eq!(migrate(OLD).unwrap().text, OLD);
}

fn read(text: &str) -> (Option<super::super::Config>, super::super::Findings) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elea.toml");
    fs::write(&path, text).unwrap();
    read_by(&path, MOVES)
}

#[test]
fn old_names_are_read_with_a_warning() {
    let (config, found) = read(&OLD.replace("quiet", "quiet=1"));
    assert!(found.errors().is_empty(), "{found}");
    let config = config.unwrap();
    assert_eq!(config.kernel.arguments, ["quiet=1", "console=ttyS0"]);
    assert!(config.users.contains_key("ada") && config.users.contains_key("b-b"));
    assert_eq!(config.specialisation["safe"].kernel.arguments, ["single"]);
    let first = &found.warnings()[0];
    assert_eq!(
        first.message,
        "`kernel.args` is called `kernel.arguments` now"
    );
    assert_eq!((first.line, first.column), (12, 1));
    assert!(
        first
            .help
            .as_deref()
            .unwrap()
            .contains("elea config migrate")
    );
    // Both files mean the same.
    let new = migrate_by(&OLD.replace("quiet", "quiet=1"), MOVES)
        .unwrap()
        .text;
    let (new, found) = read(&new);
    assert!(found.warnings().is_empty(), "{found}");
    assert_eq!(new.unwrap().values(), config.values());
    let (_, found) =
        read("[system]\nname = \"a\"\nversion = \"1\"\n[kernel]\nargs = []\narguments = []\n");
    assert_eq!(
        found.errors()[0].message,
        "`kernel.args` and `kernel.arguments` are the same key"
    );
}
