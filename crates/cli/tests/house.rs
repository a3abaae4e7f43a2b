//! The house keeps its shape: which crate may know which, and how long a file may be.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Who may know whom. `cli` and `testkit` stand above all.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("formats", &[][..]),
        ("sys", &[][..]),
        ("etc", &["formats", "sys"]),
        ("initrd", &["etc", "formats", "sys"]),
        ("store", &["formats", "sys"]),
        ("net", &["formats", "store", "sys"]),
        ("compose", &["etc", "formats", "net", "store", "sys"]),
        ("host", &["etc", "formats", "net", "store", "sys"]),
    ])
}

#[test]
fn arrows_point_down_only() {
    for (name, allowed) in allowed() {
        let manifest =
            fs::read_to_string(workspace().join(format!("crates/{name}/Cargo.toml"))).unwrap();
        let dependencies = manifest
            .split("[dependencies]")
            .nth(1)
            .unwrap_or_default()
            .split("\n[")
            .next()
            .unwrap();
        for line in dependencies
            .lines()
            .filter_map(|line| line.strip_prefix("elea-"))
        {
            let other = line.split(['.', ' ', '=']).next().unwrap();
            assert!(
                allowed.contains(&other),
                "elea-{name} must not know elea-{other}"
            );
        }
    }
}

#[test]
fn files_are_short_enough_to_read() {
    let mut folders = vec![workspace().join("crates"), workspace().join("xtask")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let lines = fs::read_to_string(&path).unwrap().lines().count();
                assert!(lines < 1000, "{} has {lines} lines", path.display());
                assert!(
                    !path.ends_with("mod.rs"),
                    "{}: use `foo.rs` beside `foo/`",
                    path.display()
                );
            }
        }
    }
}

/// A document that a comment or another document names must be there. Those that a run writes, and
/// those of other projects, may be absent.
#[test]
fn documents_that_are_named_exist() {
    const ELSEWHERE: [&str; 3] = [
        "docs/bench/main-job.md",
        "docs/failures.md",
        "docs/containers-signature.5.md",
    ];
    let mut missing = Vec::new();
    for path in texts(&workspace()) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for at in text.match_indices("docs/").map(|(at, _)| at) {
            let name: String = text[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "/-_.".contains(*c))
                .collect();
            let is_document = Path::new(&name).extension().is_some_and(|e| e == "md");
            if is_document
                && !ELSEWHERE.contains(&name.as_str())
                && !workspace().join(&name).is_file()
            {
                missing.push(format!("{name}, named in {}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The sources and documents of the workspace.
fn texts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
            found.extend(texts(&path));
        } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
            found.push(path);
        }
    }
    found
}

/// What `--json` prints is a contract: the page for scripts names every schema.
#[test]
fn schemas_of_commands_are_documented() {
    let page = fs::read_to_string(workspace().join("docs/command-line.md")).unwrap();
    for path in texts(&workspace().join("crates/cli/src")) {
        let text = fs::read_to_string(&path).unwrap();
        for at in text.match_indices("\"elea.").map(|(at, _)| at) {
            let name = text[at + 1..].split('"').next().unwrap();
            if name.ends_with("/1") {
                assert!(
                    page.contains(&format!("`{name}`")),
                    "{name}, {}",
                    path.display()
                );
            }
        }
    }
}
