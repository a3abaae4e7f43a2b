//! The folders of units, as values.

use elea_formats::unit::MAX_TEXT;
use elea_sys::root::Root;
use elea_sys::{At as _, PathError};
use rustix::fs::FileType;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The folders of units that belong to a configuration, the first before the others
/// (`systemd.unit(5)`, "Unit File Load Path"). What stands in `/run` is made at run time.
pub const FOLDERS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// More files than the units of any system have.
const MAX_FILES: usize = 100_000;
/// More than their texts together have, in bytes.
const MAX_BYTES: usize = 256 << 20;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file and its content.
    File(Vec<u8>),
    /// A link and where it points.
    Link(String),
}

/// The files and links in the folders of units, and of their `.d`, `.wants`, `.requires` and
/// `.upholds` folders, by absolute path. What a link names elsewhere is there too, by its own path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Entry>);

/// Why they could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder could not be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// More than any system has.
    #[error("{0}: more than 100000 files or 256 MiB of units; remove what does not belong there")]
    TooMuch(String),
}

/// `/lib` and `/bin` are links to `/usr` on every system that has images, and links of units
/// name both ways.
pub(super) fn canonical(path: &str) -> String {
    match path.strip_prefix("/lib/") {
        Some(rest) => format!("/usr/lib/{rest}"),
        None => path.to_owned(),
    }
}

impl Files {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file or link.
    pub fn insert(&mut self, path: &str, entry: Entry) {
        self.0.insert(canonical(path), entry);
    }

    /// What stands at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.0.get(path)
    }

    /// The names in a folder with what stands there, in byte order; those of its folders are
    /// not among them.
    pub fn list<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let prefix = format!("{folder}/");
        let from = self.0.range(prefix.clone()..);
        from.map_while(move |(path, entry)| Some((path.strip_prefix(&prefix)?, entry)))
            .filter(|(name, _)| !name.contains('/'))
    }

    /// Reads the units of a tree that is a system's `/`. No link leads out of it.
    pub fn load(root: &Path) -> Result<Self, LoadError> {
        let root = Root::open(root)?;
        let mut loaded = Loaded::default();
        for folder in FOLDERS {
            loaded.folder(&root, folder, true)?;
        }
        Ok(loaded.files)
    }
}

#[derive(Default)]
struct Loaded {
    files: Files,
    bytes: usize,
}

impl Loaded {
    fn folder(&mut self, root: &Root, folder: &str, top: bool) -> Result<(), LoadError> {
        if !root.exists(Path::new(folder)) {
            return Ok(());
        }
        for name in root.list(Path::new(folder), MAX_FILES)? {
            // A name that is not UTF-8 is no unit's.
            let Some(name) = name.to_str() else { continue };
            let path = format!("{folder}/{name}");
            let dependencies = [".d", ".wants", ".requires", ".upholds"];
            if top && dependencies.iter().any(|end| name.ends_with(end)) {
                self.folder(root, &path, false)?;
            } else {
                self.entry(root, &path)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, root: &Root, path: &str) -> Result<(), LoadError> {
        let mut path = path.to_owned();
        // The links of a chain, one by one: each may be an alias.
        for _ in 0..8 {
            if self.files.get(&path).is_some() || path == "/dev/null" {
                return Ok(());
            }
            if self.files.0.len() >= MAX_FILES {
                return Err(LoadError::TooMuch(path));
            }
            let Some(target) = link(root, &path)? else {
                return self.file(root, &path);
            };
            let next = resolve(&path, &target);
            self.files.insert(&path, Entry::Link(next.clone()));
            path = next;
        }
        Ok(())
    }

    fn file(&mut self, root: &Root, path: &str) -> Result<(), LoadError> {
        let here = Path::new(path);
        // A link to nothing is no unit; a folder or a device is none either.
        if !root.exists(here) || root.kind(here)? != FileType::RegularFile {
            return Ok(());
        }
        let content = root.read(here, MAX_TEXT as u64)?;
        self.bytes += content.len();
        if self.bytes > MAX_BYTES {
            return Err(LoadError::TooMuch(path.to_owned()));
        }
        self.files.insert(path, Entry::File(content));
        Ok(())
    }
}

/// Where a link points, as it says; nothing where there is no link.
fn link(root: &Root, path: &str) -> Result<Option<String>, PathError> {
    let path = Path::new(path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    if !root.exists(parent) {
        return Ok(None);
    }
    let (folder, shown) = root.folder(parent)?;
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let full = shown.join(name);
    match rustix::fs::readlinkat(&folder, name, Vec::new()) {
        Ok(target) => {
            let target = target.into_string();
            let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8");
            target.map(Some).map_err(no_text).at("read the link", full)
        }
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e).at("read the link", full),
    }
}

/// The absolute path that a link at `path` means, without `.` and `..`.
pub(super) fn resolve(path: &str, target: &str) -> String {
    let base = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let joined = if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{base}/{target}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    canonical(&format!("/{}", parts.join("/")))
}
