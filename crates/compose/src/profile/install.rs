//! Packages of a lock, installed by the dpkg that is one of them: the machine needs none.

use super::inside::FILES;
use super::order::Order;
use crate::debian::cache::stop_if_asked;
use crate::debian::deb;
use crate::lock::{Error, Options, Staged};
use crate::program;
use elea_sys::progress::{Progress, Unit};
use elea_sys::root::Root;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// Links of the merged `/usr`, which packages of before Debian 13 do not bring.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
/// Tells what would start a service that it may not (`/usr/sbin/policy-rc.d` of invoke-rc.d(8)).
const POLICY: &str = "usr/sbin/policy-rc.d";

/// Where packages are installed.
pub(super) struct Install<'a> {
    pub(super) tree: &'a Path,
    /// The folder of packages, by their SHA-256.
    pub(super) cache: &'a Path,
    pub(super) options: &'a Options,
    pub(super) log: &'a Path,
    pub(super) progress: &'a dyn Progress,
}

impl Install<'_> {
    /// Installs the packages of a stage: in a tree of what came before, or in an empty one.
    pub(super) fn stage(&self, stage: &Staged<'_>) -> Result<(), Error> {
        let names: Vec<String> = stage
            .packages
            .iter()
            .map(|package| format!("{}.deb", package.sha256))
            .collect();
        let mut texts = Vec::new();
        for name in &names {
            stop_if_asked(self.progress)?;
            texts.push(deb::control(&self.cache.join(name))?);
        }
        let order = Order::of(&texts);
        let files = |places: &mut dyn Iterator<Item = usize>| -> Vec<&str> {
            let names = places.filter_map(|at| names.get(at));
            names.map(String::as_str).collect()
        };
        let root = Root::open(self.tree)?;
        let is_first = !root.exists(Path::new("var/lib/dpkg/status"));
        let before = self.installed();
        let total = names.len() as u64;
        self.progress
            .start("install packages", Some(total), Unit::Items);
        let mut whole = BTreeSet::new();
        if is_first {
            prepare(&root)?;
            whole = order.essential();
        }
        root.create_dir_all(Path::new("usr/sbin"), 0o755)?;
        root.create(Path::new(POLICY), b"#!/bin/sh\nexit 101\n", 0o755)?;
        let mut counted = 0;
        let mut look = || {
            let now = self.installed().saturating_sub(before).min(total);
            self.progress.advance(now.saturating_sub(counted));
            counted = counted.max(now);
        };
        if !whole.is_empty() {
            let base = files(&mut whole.iter().copied());
            // They need each other, so all are there before dpkg looks at any; as mmdebstrap does.
            self.dpkg(&base, &base, stage.epoch, &mut look)?;
        }
        for round in order.rounds(&whole) {
            self.dpkg(&[], &files(&mut round.into_iter()), stage.epoch, &mut look)?;
        }
        Ok(root.remove(Path::new(POLICY))?)
    }

    /// How many packages there are.
    fn installed(&self) -> u64 {
        let lists = fs::read_dir(self.tree.join("var/lib/dpkg/info"));
        let lists = lists.into_iter().flatten().flatten();
        let is_list = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "list");
        lists.filter(is_list).count() as u64
    }

    /// Has the tree's dpkg install packages; those of `unpack` are unpacked without it first.
    fn dpkg(
        &self,
        unpack: &[&str],
        install: &[&str],
        time: i64,
        look: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        let mut command = program::program(&self.options.elea);
        command.args(["home", "inside"]);
        command.args(unpack.iter().flat_map(|name| ["--unpack", name]));
        command.args([self.tree, self.cache]);
        command.args(["--", "/usr/bin/dpkg", "--force-unsafe-io"]);
        if !unpack.is_empty() {
            command.arg("--force-depends");
        }
        command.arg("--install");
        command.args(install.iter().map(|name| Path::new(FILES).join(name)));
        command
            .env("SOURCE_DATE_EPOCH", time.to_string())
            .env("TMPDIR", "/tmp");
        program::run_watched(command, "dpkg", self.log, self.progress, look)?;
        Ok(())
    }
}

/// Unpacks a tar file, which is in `files`, into an empty folder.
pub(super) fn unpack(
    tree: &Path,
    files: &Path,
    name: &str,
    options: &Options,
    log: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let mut command = program::program(&options.elea);
    command.args(["home", "inside", "--unpack", name]);
    command.args([tree, files].map(OsStr::new));
    program::run(command, "elea", log, progress)?;
    Ok(())
}

/// What dpkg needs of a tree that has nothing.
fn prepare(root: &Root) -> Result<(), Error> {
    root.create_dir(Path::new("usr"), 0o755)?;
    for name in MERGED {
        let target = Path::new("usr").join(name);
        root.create_dir(&target, 0o755)?;
        root.symlink(&target, Path::new(name))?;
    }
    for name in ["info", "triggers", "updates"] {
        let path = Path::new("var/lib/dpkg").join(name);
        root.create_dir_all(&path, 0o755)?;
    }
    Ok(root.create(Path::new("var/lib/dpkg/status"), b"", 0o644)?)
}
