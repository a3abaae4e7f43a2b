//! What is kept, shown in a fresh `/etc` and `/var`.

use crate::disk::make_folder;
use crate::error::Error;
use crate::state::{SEED_ENTRIES, seed};
use elea_formats::state::{How, Keep, Kind, State};
use elea_sys::mount::{Attributes, bind, detach};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError, durable};
use rustix::fs::FileType;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

/// Where the places of what is linked show in the running system.
const LINKED: &str = "/run/elea/state";
/// The name of what is not complete yet, in a place.
const NEW: &str = ".new-kept";

/// Where things are.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    /// `/elea/state` of the physical root.
    pub(crate) state: &'a Path,
    /// The new root, with its fresh `/etc` and `/var`.
    pub(crate) root: &'a Path,
    /// The upper of the `/etc` that ran last, if there is one.
    pub(crate) last: Option<&'a Path>,
    /// [`LINKED`], as this process sees it.
    linked: PathBuf,
}

impl<'a> Sides<'a> {
    pub(crate) fn new(state: &'a Path, root: &'a Path, last: Option<&'a Path>) -> Self {
        let linked = PathBuf::from(LINKED);
        Self {
            state,
            root,
            last,
            linked,
        }
    }
}

/// Makes what is not there yet, and shows all of it.
pub(crate) fn keep(list: &State, sides: &Sides<'_>) -> Result<(), Error> {
    let mut places = Vec::new();
    for top in ["etc", "var"] {
        let path = sides.state.join(top);
        make_folder(&path)?;
        places.push(Place {
            top,
            root: Root::open(&path)?,
        });
    }
    for one in &list.keep {
        let place = places.iter().find(|p| one.path[1..].starts_with(p.top));
        let Some((place, inside)) = place.and_then(|p| Some((p, p.inside(&one.path)?))) else {
            continue;
        };
        if !place.has(one, inside)? {
            place.make(one, inside, sides)?;
        }
        place.show(one, inside, sides)?;
    }
    if list.keep.iter().any(|one| one.how == How::Symlink) {
        for place in &places {
            let at = sides.linked.join(place.top);
            fs::create_dir_all(&at).at("create", &at)?;
            // From an attempt before this one.
            let _ = detach(&at);
            bind(place.root.path(), &at, Attributes::NONE)?;
        }
    }
    Ok(())
}

/// Where what is kept of `/etc` or `/var` is. Services write there: a link that they leave must
/// lead nowhere else.
struct Place {
    top: &'static str,
    root: Root,
}

impl Place {
    /// The path inside.
    fn inside<'a>(&self, path: &'a str) -> Option<&'a Path> {
        let rest = path.strip_prefix('/')?.strip_prefix(self.top)?;
        rest.strip_prefix('/').map(Path::new)
    }

    /// Whether it is there, as what it is to be.
    fn has(&self, one: &Keep, inside: &Path) -> Result<bool, Error> {
        let (wanted, word) = match one.kind {
            Kind::Directory => (FileType::Directory, "a directory"),
            Kind::File => (FileType::RegularFile, "a file"),
        };
        match self.root.kind(inside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Ok(kind) if kind == wanted => Ok(true),
            Ok(kind) => Err(Error::Kept {
                path: self.root.path().join(inside),
                why: format!("it is {kind:?}, and the image keeps {word} there; move it away"),
            }),
            Err(e) => Err(e.into()),
        }
    }

    /// Makes it: complete beside its place, then named.
    fn make(&self, one: &Keep, inside: &Path, sides: &Sides<'_>) -> Result<(), PathError> {
        let parent = inside.parent().unwrap_or(Path::new(""));
        self.root.create_dir_all(parent, 0o755)?;
        let (new, name) = (self.root.path().join(NEW), Path::new(NEW));
        match fs::symlink_metadata(&new) {
            Ok(old) if old.is_dir() => fs::remove_dir_all(&new).at("remove", &new)?,
            Ok(_) => fs::remove_file(&new).at("remove", &new)?,
            Err(_) => {}
        }
        match one.kind {
            Kind::Directory => fs::create_dir(&new).at("create", &new)?,
            Kind::File => drop(File::create_new(&new).at("create", &new)?),
        }
        // The image first, then what this machine made of it.
        if self.top == "etc" {
            let image = sides.root.join("etc").join(inside);
            let last = sides.last.map(|last| last.join(inside));
            for from in [Some(image), last].into_iter().flatten() {
                begin(one.kind, &from, &new)?;
            }
        }
        chown(&new, Some(one.uid), Some(one.gid)).at("own", &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(one.mode)).at("set", &new)?;
        durable::sync_filesystem(&new)?;
        self.root.rename(name, inside, false)?;
        self.root.sync_folder(parent)
    }

    /// Shows it at its path.
    fn show(&self, one: &Keep, inside: &Path, sides: &Sides<'_>) -> Result<(), Error> {
        let target = sides.root.join(&one.path[1..]);
        self.parents(inside, &sides.root.join(self.top))?;
        let there = fs::symlink_metadata(&target).ok();
        if one.how == How::Symlink {
            match there {
                Some(meta) if meta.is_dir() => fs::remove_dir_all(&target).at("remove", &target)?,
                Some(_) => fs::remove_file(&target).at("remove", &target)?,
                None => {}
            }
            let to = Path::new(LINKED).join(&one.path[1..]);
            symlink(to, &target).at("create", &target)?;
            return Ok(());
        }
        let is_right = there.as_ref().is_some_and(|meta| match one.kind {
            Kind::Directory => meta.is_dir(),
            Kind::File => meta.is_file(),
        });
        if !is_right {
            if there.is_some() {
                return Err(Error::Kept {
                    path: PathBuf::from(&one.path),
                    why: "the image has something else there".into(),
                });
            }
            match one.kind {
                Kind::Directory => fs::create_dir(&target).at("create", &target)?,
                Kind::File => drop(File::create_new(&target).at("create", &target)?),
            }
        }
        match one.kind {
            Kind::Directory => {
                let (_held, from) = self.root.folder(inside)?;
                bind(&from, &target, Attributes::NONE)?;
            }
            Kind::File => {
                let held = self.root.file(inside)?;
                let from = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
                bind(&from, &target, Attributes::NONE)?;
            }
        }
        Ok(())
    }

    /// Makes the folders above it that are missing, as they are in the place.
    fn parents(&self, inside: &Path, top: &Path) -> Result<(), PathError> {
        let mut done = PathBuf::new();
        for name in inside.parent().into_iter().flatten() {
            done.push(name);
            let target = top.join(&done);
            if target.is_dir() {
                continue;
            }
            fs::create_dir(&target).at("create", &target)?;
            let (_held, like) = self.root.folder(&done)?;
            let like = fs::metadata(&like).at("look at", self.root.path().join(&done))?;
            chown(&target, Some(like.uid()), Some(like.gid())).at("own", &target)?;
            fs::set_permissions(&target, like.permissions()).at("set", &target)?;
        }
        Ok(())
    }
}

/// Copies what is at `from` into what begins, if it is of the same kind.
fn begin(kind: Kind, from: &Path, new: &Path) -> Result<(), PathError> {
    match (kind, fs::symlink_metadata(from)) {
        (Kind::Directory, Ok(meta)) if meta.is_dir() => seed(from, new, &mut SEED_ENTRIES.clone()),
        (Kind::File, Ok(meta)) if meta.is_file() => {
            fs::copy(from, new).at("copy", from)?;
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
