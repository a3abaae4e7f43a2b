//! The profiles of a home: trees of packages, kept as long as a generation has them, and programs run in them.
//!
//! Who is not root cannot mount an image, so a profile is a folder. Files that two of them have alike are one file with
//! two names. A program sees the tree's `/usr`, `/etc` and `/var` read-only, and everything else of the machine: homes,
//! devices, sockets, what is mounted.

use super::state::remove_tree;
use super::{Error, Home, Maker};
use elea_formats::digest::Sha256;
use elea_sys::mount::{self, Filesystem};
use elea_sys::{At as _, durable, enter};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

/// `profile.json`, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Record {
    schema: String,
    packages: Vec<Package>,
    /// Paths of the tree where the machine's own are shown.
    machine: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Package {
    sha256: Sha256,
}

const SCHEMA: &str = "elea.home-profile/1";
/// The record is never larger, in bytes.
const LIMIT: u64 = 64 << 20;
/// Folders of the machine that are the profile's inside, if it has them. (`lib32` and so on too.)
const SYSTEM: [&str; 6] = ["bin", "etc", "lib", "sbin", "usr", "var"];
/// Where programs are looked for inside, before what the person's own path has.
const INSIDE: &str = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games";

impl Home {
    /// Where a profile is.
    pub(super) fn profile_folder(&self, key: &Sha256) -> PathBuf {
        self.data.join("profiles").join(key.to_string())
    }

    /// Whether it is there.
    pub fn has_profile(&self, key: &Sha256) -> bool {
        self.profile_folder(key).join("profile.json").exists()
    }

    /// Where that of the generation in use is, as sessions name it.
    pub fn profile(&self) -> PathBuf {
        let data = match self.data.strip_prefix(&self.real) {
            Ok(inside) => self.path.join(inside),
            Err(_) => self.data.clone(),
        };
        data.join("current/profile")
    }

    /// The same for whoever runs a program of it: an error where there is no generation, or it has no packages.
    pub fn profile_in_use(&self) -> Result<PathBuf, Error> {
        let number = self.load_state()?.generation.ok_or(Error::Nothing)?;
        match self.manifest(number)?.profile {
            Some(_) => Ok(self.profile()),
            None => Err(Error::NoPackages(number)),
        }
    }

    /// Where fetched packages are kept, until no generation has them. Makes the folder of records, which a removal
    /// takes away again.
    pub fn packages(&self) -> Result<PathBuf, Error> {
        let mut state = self.load_state()?;
        let made = self.make_records()?;
        if !made.is_empty() {
            state.above.extend(made);
            self.save_state(&state)?;
        }
        Ok(self.data.join("packages"))
    }

    /// Where a tree of tools is kept, in the folder that [`packages`](Self::packages) makes.
    pub fn tools(&self) -> PathBuf {
        self.data.join("tools")
    }

    /// Makes a profile, whole and durable before it has its name.
    pub(super) fn add_profile(&self, key: &Sha256, make: Maker<'_>) -> Result<(), Error> {
        let profiles = self.data.join("profiles");
        fs::create_dir_all(&profiles).at("make the folder", &profiles)?;
        let new = profiles.join(".new");
        remove_tree(&new)?;
        fs::create_dir(&new).at("make the folder", &new)?;
        let before = self.load_state()?.generation;
        make(&new)?;
        if let Some(number) = before
            && let Some(old) = self.manifest(number)?.profile
        {
            share(&self.profile_folder(&old).join("tree"), &new.join("tree"))?;
        }
        durable::sync_filesystem(&new)?;
        let at = self.profile_folder(key);
        // One that was damaged.
        remove_tree(&at)?;
        fs::rename(&new, &at).at("rename into place", &at)?;
        Ok(durable::sync_folder(&profiles)?)
    }

    /// The keys of the profiles that generations have.
    fn kept_profiles(&self) -> Result<BTreeSet<Sha256>, Error> {
        let mut kept = BTreeSet::new();
        for number in self.numbers()? {
            kept.extend(self.manifest(number)?.profile);
        }
        Ok(kept)
    }

    /// Removes profiles that no generation has.
    pub(super) fn sweep_profiles(&self) -> Result<(), Error> {
        let kept = self.kept_profiles()?;
        let kept = kept.iter().map(|key| key.to_string().into()).collect();
        remove_others(&self.data.join("profiles"), &kept)
    }

    /// Removes fetched packages that no profile has.
    pub(super) fn sweep_packages(&self) -> Result<(), Error> {
        let kept = self.kept_profiles()?;
        let mut packages = BTreeSet::new();
        for key in &kept {
            let record = load(&self.profile_folder(key));
            let files = record.into_iter().flat_map(|record| record.packages);
            packages.extend(files.map(|package| OsString::from(format!("{}.deb", package.sha256))));
        }
        remove_others(&self.data.join("packages"), &packages)
    }
}

/// Removes what is in a folder and not to be kept.
fn remove_others(folder: &Path, kept: &BTreeSet<OsString>) -> Result<(), Error> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("list", folder)?,
    };
    for entry in entries {
        let entry = entry.at("list", folder)?;
        if kept.contains(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        if entry.file_type().at("look at", &path)?.is_dir() {
            remove_tree(&path)?;
        } else {
            fs::remove_file(&path).at("remove", &path)?;
        }
    }
    Ok(())
}

fn load(profile: &Path) -> Result<Record, Error> {
    let path = profile.join("profile.json");
    let gone = || Error::Profile {
        path: profile.to_owned(),
    };
    let file = fs::File::open(&path).map_err(|_| gone())?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).at("read", &path)?;
    let wrong = |why: String| Error::Record {
        path: path.clone(),
        why,
    };
    let record: Record = serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
    if record.schema != SCHEMA {
        let why = format!(
            "it is `{}`, and this program knows `{SCHEMA}`",
            record.schema
        );
        return Err(wrong(why));
    }
    Ok(record)
}

/// Gives files of a new tree that the old one has alike the same inode. Nobody writes to either.
fn share(old: &Path, new: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(new).at("list", new)? {
        let entry = entry.at("list", new)?;
        let (to, from) = (entry.path(), old.join(entry.file_name()));
        let status = entry.metadata().at("look at", &to)?;
        let Ok(other) = fs::symlink_metadata(&from) else {
            continue;
        };
        if status.is_dir() && other.is_dir() {
            share(&from, &to)?;
        } else if status.is_file()
            && other.is_file()
            && status.len() > 0
            && (status.len(), status.mode(), status.mtime())
                == (other.len(), other.mode(), other.mtime())
            && same(&from, &to).at("compare with", &to)?
        {
            let mut beside = to.clone().into_os_string();
            beside.push(".elea-shared");
            // Where no second name can be had, the file stays one of its own.
            if fs::hard_link(&from, &beside).is_ok() {
                fs::rename(&beside, &to).at("rename into place", &to)?;
            }
        }
    }
    Ok(())
}

/// Whether two files have the same content.
fn same(a: &Path, b: &Path) -> std::io::Result<bool> {
    let (mut a, mut b) = (fs::File::open(a)?, fs::File::open(b)?);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    loop {
        first.clear();
        second.clear();
        let length = a.by_ref().take(1 << 16).read_to_end(&mut first)?;
        b.by_ref().take(1 << 16).read_to_end(&mut second)?;
        if first != second {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
    }
}

/// Makes a profile's tree the root folder of this process, in the folder where it is now. It may become one of the
/// profile's programs then, with the path that is returned.
pub fn enter(profile: &Path) -> Result<OsString, Error> {
    let gone = |_| Error::Profile {
        path: profile.to_owned(),
    };
    let profile = profile.canonicalize().map_err(gone)?;
    let record = load(&profile)?;
    let (tree, root) = (profile.join("tree"), profile.join("root"));
    let here = std::env::current_dir();
    enter::own_mounts().map_err(Error::Namespace)?;
    Filesystem::new("tmpfs")
        .source("elea-home")
        .value("mode", "0755")
        .mount(&root)?;
    for (path, name) in entries(&tree)? {
        if is_system(&name) {
            place(&path, &root.join(name), true)?;
        }
    }
    for (path, name) in entries(Path::new("/"))? {
        let at = root.join(&name);
        if !is_system(&name) && fs::symlink_metadata(&at).is_err() {
            place(&path, &at, false)?;
        }
    }
    for name in record.machine {
        // What the machine has by links is shown as what they lead to.
        let Ok(from) = Path::new("/").join(&name).canonicalize() else {
            continue;
        };
        let at = root.join(&name);
        let fits = |path: &Path| {
            fs::symlink_metadata(path)
                .ok()
                .map(|found| found.file_type())
        };
        if fits(&from) == fits(&at) {
            mount::tree(&from, true)?.attach(&at)?;
        }
    }
    enter::change_root(&root)?;
    if let Ok(here) = here {
        // A folder of the machine's system is not there; the root is.
        let _ = std::env::set_current_dir(here);
    }
    let mut path = OsString::from(INSIDE);
    if let Some(own) = std::env::var_os("PATH").filter(|own| !own.is_empty()) {
        path.push(":");
        path.push(own);
    }
    Ok(path)
}

/// Everything in a folder.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        if let Some(name) = entry.file_name().to_str() {
            all.push((entry.path(), name.to_owned()));
        }
    }
    Ok(all)
}

/// Whether a folder of the root belongs to the system, and not to its users and the machine.
fn is_system(name: &str) -> bool {
    SYSTEM.contains(&name) || name.starts_with("lib")
}

/// Shows a folder or link of a root folder in another one.
fn place(from: &Path, at: &Path, read_only: bool) -> Result<(), Error> {
    let kind = fs::symlink_metadata(from).at("look at", from)?;
    if kind.is_symlink() {
        let target = fs::read_link(from).at("read the link", from)?;
        return Ok(symlink(target, at).at("make a link at", at)?);
    }
    if !kind.is_dir() {
        return Ok(());
    }
    fs::create_dir(at).at("make the folder", at)?;
    let mount = mount::tree(from, true)?;
    let mount = if read_only { mount.read_only()? } else { mount };
    Ok(mount.attach(at)?)
}
