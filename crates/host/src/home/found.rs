//! What a home has at the paths that matter.

use super::merge::LIMIT;
use super::{Error, Home};
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use sha2::{Digest as _, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Absent,
    File {
        content: Sha256,
        mode: u32,
        /// If it is to be merged into, and can be.
        text: Option<String>,
    },
    Link {
        target: String,
        /// Whether anything is there.
        leads: bool,
    },
    Folder,
    /// A device, pipe or socket, or what cannot be read.
    Other,
    /// A folder of the path, `at`, is none.
    Blocked {
        at: String,
        /// It is a link that leads out of the home, or nowhere.
        outside: bool,
    },
}

/// What is at all of them.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) things: BTreeMap<String, Found>,
    /// Folders above them that are there.
    pub(super) folders: BTreeSet<String>,
    /// Free names for what is in the way.
    pub(super) backups: BTreeMap<String, String>,
}

impl Look {
    pub(super) fn found(&self, path: &str) -> &Found {
        self.things.get(path).unwrap_or(&Found::Absent)
    }

    pub(super) fn backup_of(&self, path: &str) -> String {
        let name = self.backups.get(path).cloned();
        name.unwrap_or_else(|| format!("{path}.elea-1"))
    }
}

impl Home {
    /// Where a path of the home really is, relative to the home: links in it are followed as long as they lead to a
    /// folder of the home. Or what is in the way.
    pub(super) fn resolve(&self, path: &str) -> Result<PathBuf, Found> {
        let mut real = self.real.clone();
        let mut names: Vec<&str> = path.split('/').collect();
        let last = names.pop().unwrap_or_default();
        let mut missing = false;
        for (number, name) in names.iter().enumerate() {
            real.push(name);
            if missing {
                continue;
            }
            let blocked = |outside| Found::Blocked {
                at: names[..=number].join("/"),
                outside,
            };
            match fs::symlink_metadata(&real) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => missing = true,
                Err(_) => return Err(blocked(true)),
                Ok(kind) if kind.is_dir() => {}
                Ok(kind) if kind.is_symlink() => {
                    let target = real.canonicalize().map_err(|_| blocked(true))?;
                    if !target.is_dir() || !target.starts_with(&self.real) {
                        return Err(blocked(true));
                    }
                    real = target;
                }
                Ok(_) => return Err(blocked(false)),
            }
        }
        real.push(last);
        // Our own records are nobody's files.
        if real.starts_with(&self.data) {
            let at = path.to_owned();
            return Err(Found::Blocked { at, outside: true });
        }
        let inside = real.strip_prefix(&self.real);
        Ok(inside.map_or_else(|_| PathBuf::from(path), Path::to_owned))
    }

    /// Looks at paths.
    pub(super) fn look<'p>(&self, paths: impl Iterator<Item = &'p String>) -> Result<Look, Error> {
        let mut look = Look::default();
        for path in paths {
            let found = match self.resolve(path) {
                Err(found) => found,
                Ok(real) => self.found(&real)?,
            };
            let at = match &found {
                Found::Absent => None,
                Found::Blocked { at, .. } => Some(at),
                _ => Some(path),
            };
            if let Some(at) = at
                && let Ok(real) = self.resolve(at)
            {
                look.backups.insert(at.clone(), self.free_name(at, &real));
            }
            for (end, _) in path.match_indices('/') {
                if self.real.join(&path[..end]).is_dir() {
                    look.folders.insert(path[..end].to_owned());
                }
            }
            look.things.insert(path.clone(), found);
        }
        Ok(look)
    }

    /// `NAME.elea-1`, or the next number.
    pub(super) fn free_name(&self, path: &str, real: &Path) -> String {
        let is_free = |number: &u32| {
            let mut name = real.as_os_str().to_owned();
            name.push(format!(".elea-{number}"));
            fs::symlink_metadata(self.real.join(name)).is_err()
        };
        let number = (1..u32::MAX).find(is_free).unwrap_or(u32::MAX);
        format!("{path}.elea-{number}")
    }

    /// What is at a path without links in it.
    pub(super) fn found(&self, real: &Path) -> Result<Found, Error> {
        let full = self.real.join(real);
        let status = match fs::symlink_metadata(&full) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Absent),
            other => other.at("look at", &full)?,
        };
        let kind = status.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&full).at("read the link", &full)?;
            return Ok(Found::Link {
                target: target.to_string_lossy().into_owned(),
                leads: full.exists(),
            });
        }
        if kind.is_dir() {
            return Ok(Found::Folder);
        }
        if kind.is_fifo() || !kind.is_file() {
            return Ok(Found::Other);
        }
        let Ok(file) = self.root.file(real) else {
            return Ok(Found::Other);
        };
        let (content, text) = read(file).at("read", &full)?;
        Ok(Found::File {
            content,
            mode: status.permissions().mode() & 0o7777,
            text,
        })
    }
}

/// The digest of a file, however large it is, and its text if it is a small one.
fn read(mut file: fs::File) -> std::io::Result<(Sha256, Option<String>)> {
    let mut text = Vec::new();
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hasher.update(&buffer[..length]);
        if text.len() <= LIMIT {
            text.extend_from_slice(&buffer[..length]);
        }
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let text = if text.len() > LIMIT {
        None
    } else {
        String::from_utf8(text).ok()
    };
    Ok((Sha256::new(digest), text))
}
