//! `elea state list`: what is on the disk, and who said that it should be.

use super::copy::{Size, size};
use super::release::Release;
use super::snapshot::{self, Snapshot};
use super::versions::{self, Offer};
use super::{Error, Kept, MAX_ACCOUNTS};
use crate::boots;
use crate::machine::Machine;
use elea_formats::state::{Keep, Kind, Mode, State, is_in};
use elea_sys::{At as _, PathError};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.state-list/1";
/// More rows are not listed.
const MOST: usize = 10_000;
/// Deeper folders are not looked into.
const MAX_DEPTH: usize = 64;
/// What the packages of an image have in `/var`.
const FACTORY: &str = "usr/share/factory/var";
/// Files of up to so many bytes are compared with the image's.
const COMPARED: u64 = 1 << 20;

/// What is on the disk.
#[derive(Debug, Clone, Serialize)]
pub struct List {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Whether the rest of `/etc` and `/var` lasts.
    pub mode: Mode,
    /// What the release declares.
    pub declared: Vec<Declared>,
    /// What nobody declares: of an ephemeral machine, it is gone at the next boot.
    pub undeclared: Vec<Found>,
    /// What nobody shows or owns any more.
    pub orphaned: Vec<Found>,
    /// What failed or earlier boots had in their fresh `/etc` and `/var`.
    pub boots: Vec<Found>,
    /// Snapshots.
    pub snapshots: Vec<Snapshot>,
    /// Data that is newer than the release.
    pub offers: Vec<Offer>,
    /// Whether there was more than is listed.
    pub cut: bool,
}

/// Something that is declared.
#[derive(Debug, Clone, Serialize)]
pub struct Declared {
    /// What is kept, and how.
    #[serde(flatten)]
    pub keep: Keep,
    /// What it takes; none if it is not there.
    pub size: Option<Size>,
}

/// Something on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Where it shows, or of what shows nowhere, where it is.
    pub path: String,
    /// What it takes.
    pub size: Size,
    /// Why it is listed there, for people.
    pub why: &'static str,
}

/// Lists it.
pub fn list(machine: &Machine) -> Result<List, Error> {
    // Before the release is looked at, whose image is mounted meanwhile.
    let offers = versions::offers(machine, None)?;
    Release::with(machine, |release| listed(machine, release, offers))
}

fn listed(machine: &Machine, release: &Release<'_>, offers: Vec<Offer>) -> Result<List, Error> {
    let list = release.list;
    let folder = machine.state().root().join("state");
    let kept = Kept::new(&folder, list);
    let mut out = List {
        schema: SCHEMA,
        mode: list.mode,
        declared: Vec::new(),
        undeclared: Vec::new(),
        orphaned: Vec::new(),
        boots: boots::earlier_sizes(machine)?,
        snapshots: snapshot::load(&folder),
        offers,
        cut: false,
    };
    for one in &list.keep {
        let held = kept.held(&one.path).ok().flatten();
        let size = match held {
            Some(held) => Some(held.size()?),
            // It goes with the generation.
            None if !super::has_place(list, &one.path) => match release.find(&one.path)? {
                Some(place) => Some(size(&place.path)?),
                None => None,
            },
            None => None,
        };
        out.declared.push(Declared {
            keep: one.clone(),
            size,
        });
    }
    let look = Look {
        list,
        factory: release.image.join(FACTORY),
        users: users(&release.text("passwd", MAX_ACCOUNTS)?),
    };
    let mut walk = Walk::default();
    match list.mode {
        Mode::Ephemeral => {
            // A system that does not run has none.
            if let Some(booted) = machine.booted() {
                let fresh = boots::folder(machine.state(), &booted.boot_id).join("var");
                walk.folder(&look, &fresh, "/var", 0, Of::Fresh)?;
            }
            out.undeclared = std::mem::take(&mut walk.found);
            for top in ["etc", "var"] {
                walk.folder(&look, &folder.join(top), &format!("/{top}"), 0, Of::Place)?;
            }
            // They show nowhere.
            for found in &mut walk.found {
                found.path = format!("{}{}", folder.display(), found.path);
            }
            out.orphaned = std::mem::take(&mut walk.found);
            let edits = match machine.booted() {
                Some(_) => crate::etc::diff(machine)?.edits,
                None => Vec::new(),
            };
            for edit in edits {
                let path = format!("/etc/{}", elea_etc::text(&edit.path));
                out.undeclared.push(Found {
                    size: size(Path::new(&path))?,
                    path,
                    why: "changed on this machine (`elea etc diff`)",
                });
            }
        }
        Mode::Persistent => {
            walk.folder(&look, &folder.join("var"), "/var", 0, Of::All)?;
            let found = std::mem::take(&mut walk.found);
            (out.orphaned, out.undeclared) = found.into_iter().partition(|one| one.why == NOBODYS);
            let place = folder.join("etc");
            if place.is_dir() {
                out.orphaned.push(Found {
                    path: place.display().to_string(),
                    size: size(&place)?,
                    why: "from an ephemeral release",
                });
            }
        }
    }
    out.cut = walk.cut;
    Ok(out)
}

const NOBODYS: &str = "its owner is no account any more";

/// Whose folder it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The fresh one of this boot.
    Fresh,
    /// The place of what is kept, of an ephemeral machine.
    Place,
    /// The whole `/var` of a persistent one.
    All,
}

struct Look<'a> {
    list: &'a State,
    factory: PathBuf,
    users: BTreeSet<u32>,
}

/// The numbers of all accounts.
fn users(passwd: &str) -> BTreeSet<u32> {
    let ids = passwd
        .lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok());
    ids.collect()
}

#[derive(Default)]
struct Walk {
    found: Vec<Found>,
    cut: bool,
}

impl Walk {
    /// The topmost things in a folder that are neither declared nor the image's.
    fn folder(
        &mut self,
        look: &Look<'_>,
        folder: &Path,
        shown: &str,
        depth: usize,
        of: Of,
    ) -> Result<(), PathError> {
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.at("list", folder)?,
        };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let path = folder.join(&name);
            let shown = format!("{shown}/{}", name.to_string_lossy());
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            if look.list.keep.iter().any(|one| one.path == shown) {
                continue;
            }
            let leads = look.list.keep.iter().any(|one| is_in(&one.path, &shown));
            let image = shown
                .strip_prefix("/var/")
                .map(|inside| look.factory.join(inside));
            let image = image.and_then(|path| Some((fs::symlink_metadata(&path).ok()?, path)));
            let is_images = |(like, of): &(fs::Metadata, PathBuf)| {
                like.file_type() == meta.file_type()
                    && (meta.is_dir() || same(&meta, &path, like, of))
            };
            if meta.is_dir()
                && depth < MAX_DEPTH
                && (leads || image.as_ref().is_some_and(is_images))
            {
                self.folder(look, &path, &shown, depth + 1, of)?;
                continue;
            }
            // Links into the image are its own, too: they are made anew at each boot.
            if meta.is_symlink() || image.as_ref().is_some_and(is_images) {
                continue;
            }
            self.note(look, &path, shown, &meta, of)?;
        }
        Ok(())
    }

    fn note(
        &mut self,
        look: &Look<'_>,
        path: &Path,
        shown: String,
        meta: &fs::Metadata,
        of: Of,
    ) -> Result<(), PathError> {
        let size = size(path)?;
        // Folders without a file in them are of no use to anybody.
        if size.files == 0 {
            return Ok(());
        }
        if self.found.len() >= MOST {
            self.cut = true;
            return Ok(());
        }
        let unowned = !look.users.is_empty() && !look.users.contains(&meta.uid());
        let why = match of {
            Of::Fresh => "gone at the next boot",
            Of::Place => "declared by no release that runs",
            Of::All if unowned => NOBODYS,
            Of::All => "kept, since everything is",
        };
        self.found.push(Found {
            path: shown,
            size,
            why,
        });
        Ok(())
    }
}

/// Whether a file or link is what the image has.
fn same(meta: &fs::Metadata, path: &Path, like: &fs::Metadata, of: &Path) -> bool {
    if meta.is_symlink() {
        return fs::read_link(path).ok() == fs::read_link(of).ok();
    }
    let small = meta.len() == like.len() && meta.len() <= COMPARED;
    small && fs::read(path).ok() == fs::read(of).ok()
}

/// Whether something is a directory or a file, as `elea state adopt` wants to know.
pub(super) fn kind_of(meta: &fs::Metadata) -> Option<Kind> {
    if meta.is_dir() {
        Some(Kind::Directory)
    } else if meta.is_file() {
        Some(Kind::File)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::state::{How, Rollback};

    #[test]
    fn only_what_is_neither_declared_nor_the_images_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let var = dir.path().join("var");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("factory/lib/pkg/default", "same");
        put("var/lib/pkg/default", "same");
        put("var/lib/pkg/own", "x");
        put("var/lib/pkg/sub/own", "x");
        put("var/lib/app/data/kept", "x");
        put("var/lib/app/other", "x");
        fs::create_dir_all(var.join("lib/empty/er")).unwrap();
        std::os::unix::fs::symlink("../../usr/lib/sysimage/dpkg", var.join("lib/dpkg")).unwrap();
        let keep = Keep {
            path: "/var/lib/app/data".into(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            how: How::Bind,
            service: None,
            version: None,
            usual: false,
        };
        let list = State {
            schema: elea_formats::state::SCHEMA.into(),
            mode: Mode::Persistent,
            rollback: Rollback::Offer,
            keep: vec![keep],
        };
        let look = Look {
            list: &list,
            factory: dir.path().join("factory"),
            users: BTreeSet::new(),
        };
        let mut walk = Walk::default();
        walk.folder(&look, &var, "/var", 0, Of::All).unwrap();
        let paths: Vec<&str> = walk.found.iter().map(|one| one.path.as_str()).collect();
        assert_eq!(
            paths,
            ["/var/lib/app/other", "/var/lib/pkg/own", "/var/lib/pkg/sub"]
        );
        // A file of the image's that was changed is the machine's.
        put("var/lib/pkg/default", "changed");
        let mut walk = Walk::default();
        walk.folder(&look, &var, "/var", 0, Of::All).unwrap();
        assert_eq!(walk.found.len(), 4);
        assert_eq!(walk.found[1].path, "/var/lib/pkg/default");
    }
}
