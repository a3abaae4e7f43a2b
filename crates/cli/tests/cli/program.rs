//! Runs `elea` in a folder of its own.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with a store, and the program.
pub(crate) struct Elea {
    folder: tempfile::TempDir,
    names_store: bool,
}

/// What a run gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Elea {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            names_store: true,
        }
    }

    /// The store is named to commands without `--root` alone: others have their machine's.
    pub(crate) fn without_store() -> Self {
        Self {
            names_store: false,
            ..Self::new()
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The command with these words, in the folder, its store there unless `--store` says otherwise.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_elea"));
        command
            .args(words)
            .env_remove("ELEA_STORE")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        if self.names_store || !words.contains(&"--root") {
            command.env("ELEA_STORE", self.store());
        }
        command
    }

    /// Runs words that are divided by blanks.
    pub(crate) fn run(&self, line: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.command(&words).output().unwrap().into()
    }

    /// Runs words that are divided by blanks, and gives them a text by stdin.
    pub(crate) fn run_with(&self, line: &str, text: &str) -> Ran {
        let words: Vec<&str> = line.split_whitespace().collect();
        let file = tempfile::tempfile().unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
        let mut command = self.command(&words);
        command.stdin(file).output().unwrap().into()
    }

    /// Runs words that must succeed; stdout.
    pub(crate) fn good(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        ran.out
    }

    /// Runs words that must succeed with `--json`, and checks that the value has a schema.
    pub(crate) fn json(&self, line: &str) -> Value {
        let out = self.good(&format!("{line} --json"));
        let value: Value = serde_json::from_str(&out).unwrap();
        let schema = value["schema"].as_str().unwrap_or_default();
        assert!(
            schema.starts_with("elea.") && schema.contains('/'),
            "{line}: {out}"
        );
        value
    }

    /// Runs words that must fail with this code, and say each of these texts on stderr.
    pub(crate) fn bad(&self, line: &str, code: i32, texts: &[&str]) -> Ran {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(code), "{line}: {ran:?}");
        for text in texts {
            assert!(ran.err.contains(text), "{line}: no `{text}` in {}", ran.err);
        }
        assert!(
            ran.err.lines().all(|l| l.chars().count() <= 400),
            "{}",
            ran.err
        );
        ran
    }

    /// Makes a small tree: a file of two objects' size, an inline one, a link, a hard link.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("usr/bin/tool"), vec![7; 9000]).unwrap();
        std::fs::write(root.join("etc/motd"), "welcome\n").unwrap();
        std::os::unix::fs::symlink("tool", root.join("usr/bin/other")).unwrap();
        std::fs::hard_link(root.join("etc/motd"), root.join("etc/issue")).unwrap();
        root
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Says that a test, or a part of one, did not run.
#[expect(clippy::print_stdout, reason = "it is what a test says")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Whether a program can be run at all.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![folder.to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}
