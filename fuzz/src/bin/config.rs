//! The config file: any text is a config or a list of errors that can be drawn.
#![no_main]

use elea_compose::config::{self, FmtError};
use libfuzzer_sys::fuzz_target;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        folder.keep().join("elea.toml")
    })
}

fuzz_target!(|text: &[u8]| {
    if let Ok(text) = std::str::from_utf8(text) {
        match config::format(text) {
            Ok(once) => assert_eq!(config::format(&once).ok(), Some(once)),
            Err(FmtError::Toml(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    if let Ok(text) = std::str::from_utf8(text)
        && let Ok(migrated) = config::migrate(text)
    {
        // No key has another name yet.
        assert_eq!(migrated.text, text);
    }
    // It would read what it names.
    let names = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    if names(b"imports") || names(b"module") {
        return;
    }
    fs::write(file(), text).expect("the folder can be written");
    let found = match config::load(file()) {
        Ok(config) => config.warnings,
        Err(found) => {
            assert!(!found.errors().is_empty());
            found
        }
    };
    found.render(false);
    found.to_json();
});
