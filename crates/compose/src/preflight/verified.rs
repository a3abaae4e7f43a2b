//! What `systemd-analyze` said of the same units before: asking it again takes longer than all else of a build of
//! which nothing changed.
//!
//! Its words are of the units and of itself alone: it looks at a folder that has nothing else. So they are kept by a
//! digest of the units' files and of what tells one `systemd-analyze` from another, and nothing depends on that they are
//! kept.

use crate::known;
use elea_formats::digest::Sha256;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Changes when the same units are shown to it in another way.
const VERSION: u32 = 1;
/// It never says more, in bytes; more is not kept.
const LIMIT: u64 = 1 << 20;

/// The place of its words of these files, each a path and a text; `program` is where it is. None if it is nowhere.
pub(super) fn place(
    folder: &Path,
    program: &Path,
    files: &BTreeMap<&str, &str>,
) -> Option<PathBuf> {
    Some(folder.join(key(program, files)?.to_string()))
}

/// Keeps its words. A folder that cannot be written to costs time alone.
pub(super) fn keep(path: &Path, words: &str) {
    if let (Some(folder), true) = (path.parent(), words.len() as u64 <= LIMIT) {
        let _ = fs::create_dir_all(folder);
        let _ = elea_sys::durable::write(path, words.as_bytes());
        let _ = known::sweep(folder);
    }
}

/// What it said before.
pub(super) fn read(path: &Path) -> Option<String> {
    let mut words = String::new();
    let file = File::open(path).ok()?;
    file.take(LIMIT).read_to_string(&mut words).ok()?;
    Some(words)
}

fn key(program: &Path, files: &BTreeMap<&str, &str>) -> Option<Sha256> {
    let found = fs::metadata(program).ok()?;
    let program = [
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime().cast_unsigned(),
        found.ctime().cast_unsigned(),
    ];
    let inputs = serde_json::json!([VERSION, program, files]);
    Some(Sha256::of(inputs.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_units_have_one_place_with_one_program() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, program) = (dir.path().join("kept"), dir.path().join("program"));
        fs::write(&program, "1").unwrap();
        let at = |path: &str, text: &str| {
            let files = BTreeMap::from([(path, text)]);
            place(&folder, &program, &files)
        };
        let first = at("/a.service", "x").unwrap();
        assert_eq!(read(&first), None);
        keep(&first, "words");
        assert_eq!(at("/a.service", "x").as_ref(), Some(&first));
        assert_eq!(read(&first).as_deref(), Some("words"));
        assert_ne!(at("/a.service", "y").as_ref(), Some(&first));
        assert_ne!(at("/b.service", "x").as_ref(), Some(&first));
        // Another program may say something else, and without one nobody says anything.
        fs::write(&program, "22").unwrap();
        assert_ne!(at("/a.service", "x").as_ref(), Some(&first));
        fs::remove_file(&program).unwrap();
        assert_eq!(at("/a.service", "x"), None);
    }
}
