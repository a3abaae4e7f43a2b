//! The folders of units, as values.

use super::plan::is_of;
use elea_formats::unit::MAX_TEXT;
use elea_store::{Change, Kind};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError};
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

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
pub struct Files {
    entries: BTreeMap<String, Entry>,
    /// Whether one of the folders is a link, or below one: what is in it has other paths, too.
    linked: bool,
}

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
        self.entries.insert(canonical(path), entry);
    }

    /// What stands at a path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The names in a folder with what stands there, in byte order; those of its folders are
    /// not among them.
    pub fn list<'a>(&'a self, folder: &str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        let prefix = format!("{folder}/");
        let from = self.entries.range(prefix.clone()..);
        from.map_while(move |(path, entry)| Some((path.strip_prefix(&prefix)?, entry)))
            .filter(|(name, _)| !name.contains('/'))
    }

    /// Reads the units of a tree that is a system's `/`. No link leads out of it.
    pub fn load(root: &Path) -> Result<Self, LoadError> {
        let root = Root::open(root)?;
        let mut loaded = Loaded::default();
        for folder in FOLDERS {
            loaded.files.linked |= is_below_link(&root, folder)?;
            loaded.folder(&root, folder, true)?;
        }
        loaded.targets(&root)?;
        Ok(loaded.files)
    }

    /// The units of another tree, which differs from the one of these at the `changed` paths alone. What only one of the
    /// trees has of a folder is to be among them with all that is in it.
    pub fn with(&self, root: &Path, changed: &[Change]) -> Result<Self, LoadError> {
        let is_other = |change: &Change| {
            let fields = ["type", "target"];
            change.kind != Kind::Changed || change.fields.iter().any(|f| fields.contains(f))
        };
        let holds = |change: &Change| FOLDERS.iter().any(|folder| is_of(folder, &change.path));
        if self.linked
            || changed
                .iter()
                .any(|change| is_other(change) && holds(change))
        {
            return Self::load(root);
        }
        let changed = changed.iter().map(|change| canonical(&change.path));
        let root = Root::open(root)?;
        let mut files = self.clone();
        // What links name elsewhere is read again, wherever the path leads.
        files.entries.retain(|path, _| place(path).is_some());
        let changed: Vec<String> = changed.filter(|path| place(path).is_some()).collect();
        for path in &changed {
            files.entries.remove(path);
        }
        let bytes = files.entries.values().map(|entry| match entry {
            Entry::File(content) => content.len(),
            Entry::Link(_) => 0,
        });
        let bytes = bytes.sum();
        let mut loaded = Loaded { files, bytes };
        for path in &changed {
            loaded.again(&root, path)?;
        }
        loaded.targets(&root)?;
        if loaded.files.linked {
            return Self::load(root.path());
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
        if open(root, Path::new(folder))?.is_none() {
            return Ok(());
        }
        // Hundreds of files, each looked for in its folder alone.
        let here = root.below(Path::new(folder))?;
        for (name, kind) in here.entries(Path::new("."), MAX_FILES)? {
            // A name that is not UTF-8 is no unit's.
            let Some(text) = name.to_str() else { continue };
            let path = format!("{folder}/{text}");
            if top && is_dependencies(text) {
                self.files.linked |= link(root, &path)?.is_some();
                self.folder(root, &path, false)?;
            } else if kind == FileType::RegularFile {
                if self.may_be_new(&path)? {
                    let content = here.read(Path::new(&name), MAX_TEXT as u64)?;
                    self.content(&path, content)?;
                }
            } else if kind == FileType::Symlink {
                if self.may_be_new(&path)? {
                    let target = here.read_link(Path::new(&name))?;
                    let target = target.to_str().ok_or_else(no_text);
                    let target = target.at("read the link", here.path().join(&name))?;
                    let next = resolve(&path, target);
                    self.files.insert(&path, Entry::Link(next));
                }
            } else if kind != FileType::Directory {
                self.entry(root, &path)?;
            }
        }
        Ok(())
    }

    /// What [`Files::load`] does about a path below one of the folders.
    fn again(&mut self, root: &Root, path: &str) -> Result<(), LoadError> {
        match place(path) {
            Some(Place::Folder) => {
                self.files.linked |= link(root, path)?.is_some();
                self.folder(root, path, false)
            }
            Some(Place::Entry) => self.entry(root, path),
            None => Ok(()),
        }
    }

    /// What links name that is none of these. (Most of them name what another of the folders has.)
    fn targets(&mut self, root: &Root) -> Result<(), LoadError> {
        let entries = self.files.entries.values();
        let unknown = entries.filter_map(|entry| match entry {
            Entry::Link(target) => Some(target).filter(|to| self.files.get(to).is_none()),
            Entry::File(_) => None,
        });
        for target in unknown.cloned().collect::<Vec<_>>() {
            self.entry(root, &target)?;
        }
        Ok(())
    }

    fn entry(&mut self, root: &Root, path: &str) -> Result<(), LoadError> {
        let mut path = path.to_owned();
        // The links of a chain, one by one: each may be an alias.
        for _ in 0..8 {
            if path == "/dev/null" || !self.may_be_new(&path)? {
                return Ok(());
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
        self.content(path, content)
    }

    /// Whether nothing is known of a path, and there is room for it.
    fn may_be_new(&self, path: &str) -> Result<bool, LoadError> {
        if self.files.get(path).is_some() {
            return Ok(false);
        }
        if self.files.entries.len() >= MAX_FILES {
            return Err(LoadError::TooMuch(path.to_owned()));
        }
        Ok(true)
    }

    fn content(&mut self, path: &str, content: Vec<u8>) -> Result<(), LoadError> {
        self.bytes += content.len();
        if self.bytes > MAX_BYTES {
            return Err(LoadError::TooMuch(path.to_owned()));
        }
        self.files.insert(path, Entry::File(content));
        Ok(())
    }
}

/// What [`Files::load`] looks for at a path.
enum Place {
    Entry,
    /// One that belongs to a unit.
    Folder,
}

fn place(path: &str) -> Option<Place> {
    let mut folders = FOLDERS.iter();
    let below = folders.find_map(|folder| path.strip_prefix(folder)?.strip_prefix('/'))?;
    match below.split_once('/') {
        None if is_dependencies(below) => Some(Place::Folder),
        None => Some(Place::Entry),
        Some((folder, name)) if is_dependencies(folder) && !name.contains('/') => {
            Some(Place::Entry)
        }
        Some(_) => None,
    }
}

/// Whether a folder's name says that it belongs to a unit.
fn is_dependencies(name: &str) -> bool {
    let ends = [".d", ".wants", ".requires", ".upholds"];
    ends.iter().any(|end| name.ends_with(end))
}

/// Whether a folder, or one that it is in, is a link.
fn is_below_link(root: &Root, folder: &str) -> Result<bool, PathError> {
    for above in Path::new(folder).ancestors() {
        if let Some(path) = above.to_str().filter(|path| *path != "/")
            && link(root, path)?.is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A folder; none where there is nothing, or something else.
fn open(root: &Root, folder: &Path) -> Result<Option<(OwnedFd, PathBuf)>, PathError> {
    let nothing = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP];
    match root.folder(folder) {
        Err(e) if nothing.contains(&Errno::from_io_error(&e.source).unwrap_or(Errno::IO)) => {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

/// Where a link points, as it says; nothing where there is no link.
fn link(root: &Root, path: &str) -> Result<Option<String>, PathError> {
    let path = Path::new(path);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let Some((folder, shown)) = open(root, parent)? else {
        return Ok(None);
    };
    let name = path.file_name().unwrap_or(OsStr::new("."));
    let full = shown.join(name);
    match rustix::fs::readlinkat(&folder, name, Vec::new()) {
        Ok(target) => {
            let target = target.into_string();
            let target = target.map(Some).map_err(|_| no_text());
            target.at("read the link", full)
        }
        Err(Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(e) => Err(e).at("read the link", full),
    }
}

fn no_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8")
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
