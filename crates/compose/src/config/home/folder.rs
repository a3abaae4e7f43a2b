//! A folder that a home copies: what is in it, file by file.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder has no more files, in all of its folders together.
const MOST: usize = 10_000;
/// Folders are in no more folders than these.
const DEEPEST: usize = 64;

/// What is in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file.
    File(PathBuf),
    /// A link with its target.
    Link(String),
}

/// Everything in a folder by its path there, hidden files too, sorted. Folders that have no file are left out.
///
/// # Errors
/// Says what cannot be copied, and where it is.
pub fn items(folder: &Path) -> Result<Vec<(String, Item)>, String> {
    let mut found = Vec::new();
    walk(folder, "", 0, &mut found)?;
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn walk(
    folder: &Path,
    below: &str,
    depth: usize,
    found: &mut Vec<(String, Item)>,
) -> Result<(), String> {
    let cannot = |path: &Path, why: String| format!("cannot copy {}: {why}", path.display());
    if depth > DEEPEST {
        let why = format!("it is in more than {DEEPEST} folders");
        return Err(cannot(folder, why));
    }
    let list = fs::read_dir(folder).map_err(|e| cannot(folder, e.to_string()))?;
    for entry in list {
        let entry = entry.map_err(|e| cannot(folder, e.to_string()))?;
        let path = entry.path();
        let failed = |e: std::io::Error| cannot(&path, e.to_string());
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| cannot(&path, "its name is not UTF-8".into()))?;
        let at = if below.is_empty() {
            name.to_owned()
        } else {
            format!("{below}/{name}")
        };
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            walk(&path, &at, depth + 1, found)?;
            continue;
        }
        let item = if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(failed)?;
            let target = target.to_str();
            let target = target.ok_or_else(|| cannot(&path, "its target is not UTF-8".into()))?;
            Item::Link(target.to_owned())
        } else if kind.is_file() {
            Item::File(path)
        } else {
            return Err(cannot(&path, "it is no file, folder or link".into()));
        };
        if found.len() >= MOST {
            let why = format!("the folder has more than {MOST} files");
            return Err(cannot(&folder.join(name), why));
        }
        found.push((at, item));
    }
    Ok(())
}
