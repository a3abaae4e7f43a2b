//! A boot whose `/etc` and `/var` are fresh, but for what the image's list keeps
//! (`docs/formats/state.md`).
//!
//! Folders of earlier boots are left to the running system, which has the time; only when
//! there are too many, or the disk is full, some go here.

mod keep;

pub(crate) use keep::{Sides, keep};

use crate::console;
use crate::disk::make_folder;
use crate::error::Error;
use elea_formats::state::{FRESH_SCHEMA, Fresh, LARGEST, Mode, PATH, State};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// So many folders of earlier boots may be there; the running system keeps fewer.
const MOST: usize = 8;
/// What a folder's name begins with while it is being removed.
const GONE: &str = ".gone-";
/// More names are not looked at in one boot.
const LISTED: usize = 10_000;

/// The image's list, if it says that `/etc` and `/var` are fresh.
pub(crate) fn declared(root: &Path) -> Result<Option<State>, Error> {
    let bytes = match Root::open(root)?.read(Path::new(PATH), LARGEST) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let state = State::parse(&bytes)?;
    Ok((state.mode == Mode::Ephemeral).then_some(state))
}

/// The fresh folders of one boot.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    /// Where the folders of all boots are.
    pub(crate) boots: PathBuf,
    /// The kernel's id of this boot.
    pub(crate) id: &'a str,
    /// What is written down of it.
    pub(crate) about: Fresh,
}

impl<'a> Boot<'a> {
    /// Of this boot of a generation, below `state` (`/elea/state`).
    pub(crate) fn new(
        state: &Path,
        id: &'a str,
        generation: u64,
        rescue: bool,
        time: String,
    ) -> Self {
        Self {
            boots: state.join("boots"),
            id,
            about: Fresh {
                schema: FRESH_SCHEMA.to_owned(),
                generation,
                rescue,
                time,
            },
        }
    }

    /// Where its folders are.
    pub(crate) fn folder(&self) -> PathBuf {
        self.boots.join(self.id)
    }

    /// Makes them, empty; `root` is the mounted image. Nothing is synced: nothing in them lasts.
    pub(crate) fn make(&self, root: &Path) -> Result<(), Error> {
        make_folder(&self.boots)?;
        // What services left there is nobody's to read but root's.
        fs::set_permissions(&self.boots, fs::Permissions::from_mode(0o700))
            .at("set", &self.boots)?;
        // The rescue menu keeps everything: somebody looks for what went wrong.
        if !self.about.rescue {
            self.sweep(MOST);
        }
        match self.try_make(root) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull && !self.about.rescue => {
                console::warn("the disk is full: what earlier boots left in /etc and /var goes");
                self.sweep(0);
                Ok(self.try_make(root)?)
            }
            made => Ok(made?),
        }
    }

    fn try_make(&self, root: &Path) -> Result<(), PathError> {
        let folder = self.folder();
        // An upper lies over one image only: what an earlier attempt of this boot made goes.
        if folder.exists() {
            fs::remove_dir_all(&folder).at("remove", &folder)?;
        }
        for name in ["", "var", "etc", "etc/upper", "etc/work"] {
            let path = folder.join(name);
            fs::create_dir(&path).at("create", &path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at("set", &path)?;
        }
        for (name, of) in [("var", "var"), ("etc/upper", "etc")] {
            let (path, like) = (folder.join(name), root.join(of));
            let like = fs::metadata(&like).at("look at", &like)?;
            chown(&path, Some(like.uid()), Some(like.gid())).at("own", &path)?;
            fs::set_permissions(&path, like.permissions()).at("set", &path)?;
        }
        let path = folder.join("boot.json");
        let text = serde_json::to_vec(&self.about).unwrap_or_default();
        fs::write(&path, text).at("write", &path)
    }

    /// Removes what is being removed, and the oldest folders but `most`. What cannot be removed
    /// does not keep the machine from booting.
    fn sweep(&self, most: usize) {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.boots)
            .into_iter()
            .flatten()
            .take(LISTED)
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = entry.metadata().and_then(|m| m.modified());
            found.push((time.unwrap_or(SystemTime::UNIX_EPOCH), name));
        }
        for name in plan_sweep(found, self.id, most) {
            if let Err(e) = remove(&self.boots, &name) {
                console::warn(&e.to_string());
            }
        }
    }
}

/// Which folders go, in this order: those that were being removed, then the oldest.
fn plan_sweep(mut found: Vec<(SystemTime, String)>, current: &str, most: usize) -> Vec<String> {
    found.sort();
    let (gone, kept): (Vec<_>, Vec<_>) = found
        .into_iter()
        .map(|(_, name)| name)
        .filter(|name| name != current)
        .partition(|name| name.starts_with(GONE));
    // This boot's own comes on top of those that stay.
    let over = kept.len().saturating_sub(most);
    // With few, what is being removed is left to the running system: it may be large.
    let gone = if over > 0 || most == 0 {
        gone
    } else {
        Vec::new()
    };
    gone.into_iter()
        .chain(kept.into_iter().take(over))
        .collect()
}

/// Removes a folder. Its name says so first: a removal that is cut short is no boot's folder.
fn remove(boots: &Path, name: &str) -> Result<(), PathError> {
    let path = boots.join(name);
    let doomed = if name.starts_with(GONE) {
        path
    } else {
        let doomed = boots.join(format!("{GONE}{name}"));
        fs::rename(&path, &doomed).at("rename", &path)?;
        doomed
    };
    fs::remove_dir_all(&doomed).at("remove", &doomed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_oldest_go_and_never_this_boots() {
        let at = |seconds, name: &str| {
            (
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                name.to_owned(),
            )
        };
        let all = || {
            vec![
                at(9, "new"),
                at(1, "this"),
                at(2, "old"),
                at(5, ".gone-x"),
                at(3, "older"),
            ]
        };
        assert!(plan_sweep(all(), "this", 3).is_empty());
        assert_eq!(plan_sweep(all(), "this", 2), [".gone-x", "old"]);
        assert_eq!(
            plan_sweep(all(), "this", 0),
            [".gone-x", "old", "older", "new"]
        );
    }

    #[test]
    fn folders_are_made_anew_and_few_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (state, root) = (dir.path().join("state"), dir.path().join("root"));
        for folder in [&state, &root.join("var"), &root.join("etc")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o751)).unwrap();
        let boot = |id: &'static str, rescue| {
            let boot = Boot::new(&state, id, 3, rescue, "2026-01-01T00:00:00Z".into());
            boot.make(&root).unwrap();
            boot.folder()
        };
        let folder = boot("one", false);
        fs::write(folder.join("var/left"), "x").unwrap();
        // The same boot, once more.
        assert_eq!(boot("one", false), folder);
        assert_eq!(fs::read_dir(folder.join("var")).unwrap().count(), 0);
        let mode = fs::metadata(folder.join("etc/upper"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o751);
        let about: Fresh =
            serde_json::from_slice(&fs::read(folder.join("boot.json")).unwrap()).unwrap();
        assert_eq!((about.generation, about.rescue), (3, false));
        for id in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
            boot(id, false);
        }
        let count = || fs::read_dir(state.join("boots")).unwrap().count();
        assert_eq!(count(), MOST + 1);
        // The rescue menu removes nothing.
        boot("rescue", true);
        assert_eq!(count(), MOST + 2);
    }
}
