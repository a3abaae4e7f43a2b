//! Writing what was planned: copies first, then the texts that name them.

use super::{AdoptError, Adoption, Plan, folder};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError, durable};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

impl Plan {
    /// Writes it. All new texts are on the disk before the first of them gets its name; if that fails, new copies are removed
    /// again and nothing has changed.
    pub fn apply(self) -> Result<Adoption, AdoptError> {
        let path = fs::canonicalize(&self.shown.config).at("find", &self.shown.config)?;
        let base = folder(&path);
        let like = fs::metadata(&path).at("look at", &path)?;
        let root = Root::open(base)?;
        let mut new = Vec::new();
        let mut old = Vec::new();
        for (name, bytes) in &self.copies {
            // A file that the config copies already is changed with the texts.
            if root.exists(name) {
                old.push((name, bytes));
                continue;
            }
            write(&root, name, bytes, &like)?;
            new.push(name.clone());
        }
        let texts = self.texts.iter().map(|(path, text)| prepare(path, text));
        let texts: Vec<Prepared> = match texts.collect() {
            Ok(texts) => texts,
            Err(error) => {
                undo(&root, &new);
                return Err(error);
            }
        };
        for (name, bytes) in old {
            write(&root, name, bytes, &like)?;
        }
        for one in texts {
            let path = one.path;
            one.file
                .persist(&path)
                .map_err(|e| e.error)
                .at("rename into place", &path)?;
            durable::sync_folder(folder(&path))?;
        }
        Ok(Adoption {
            dry_run: false,
            ..self.shown
        })
    }
}

/// A file beside the config, whoever's the config is.
fn write(root: &Root, name: &Path, bytes: &[u8], like: &fs::Metadata) -> Result<(), PathError> {
    let mut done = PathBuf::new();
    for part in name.parent().into_iter().flatten() {
        done.push(part);
        if !root.exists(&done) {
            root.create_dir(&done, 0o755)?;
            own(root, &done, like)?;
        }
    }
    root.write(name, bytes, 0o644)?;
    own(root, name, like)
}

fn own(root: &Root, name: &Path, like: &fs::Metadata) -> Result<(), PathError> {
    let full = root.path().join(name);
    match chown(&full, Some(like.uid()), Some(like.gid())) {
        // Who is not root owns what they make.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        result => result.at("own", &full),
    }
}

/// A text that waits for its name.
struct Prepared {
    file: NamedTempFile,
    path: PathBuf,
}

/// Writes a text beside the file whose place it is to take, which it is like.
fn prepare(path: &Path, text: &str) -> Result<Prepared, AdoptError> {
    let path = fs::canonicalize(path).at("find", path)?;
    let like = fs::metadata(&path).at("look at", &path)?;
    let base = folder(&path);
    let mut file = tempfile::Builder::new()
        .prefix(".adopt-")
        .suffix(".toml")
        .tempfile_in(base)
        .at("create a file in", base)?;
    file.write_all(text.as_bytes()).at("write", &path)?;
    let kept = file.as_file().set_permissions(like.permissions());
    kept.at("set the mode of", &path)?;
    let owned = std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid()));
    match owned {
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {}
        result => result.at("own", &path)?,
    }
    file.as_file().sync_all().at("sync", &path)?;
    Ok(Prepared { file, path })
}

fn undo(root: &Root, new: &[PathBuf]) {
    for name in new {
        // What cannot be removed is a copy too many, and named by nothing.
        let _ = root.remove(name);
        let mut parent = name.parent();
        while let Some(folder) = parent.filter(|p| !p.as_os_str().is_empty()) {
            if root.remove_dir(folder).is_err() {
                break;
            }
            parent = folder.parent();
        }
    }
}
