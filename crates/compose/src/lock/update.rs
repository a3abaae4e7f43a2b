//! Which versions a new lock takes from the older one, and which ones move.

use super::{Error, Lock, Package};
use crate::config::nearest;
use crate::debian::apt::Apt;
use crate::debian::bootstrap::BOOT_CONTROL;
use crate::debian::control;
use elea_sys::progress::Progress;
use std::collections::{BTreeMap, BTreeSet};

/// Which packages of a lock move to newer versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Update {
    /// None.
    #[default]
    Keep,
    /// All.
    All,
    /// These, and what their new versions need.
    Only(Vec<String>),
}

/// Refuses names that the lock does not have.
pub(super) fn known(names: &[String], lock: Option<&Lock>) -> Result<(), Error> {
    let all: BTreeSet<&str> = lock
        .into_iter()
        .flat_map(Lock::all)
        .map(|p| p.name.as_str())
        .collect();
    let list: Vec<&str> = all.iter().copied().collect();
    let unknown: Vec<(String, Option<String>)> = names
        .iter()
        .filter(|name| !all.contains(name.as_str()))
        .map(|name| (name.clone(), nearest(name, &list).map(str::to_owned)))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::NotLocked { names: unknown })
}

/// The versions to take, by name: those of the older lock, but for `names` and what they need.
///
/// apt is asked what installing `names` would change on a machine that has the older packages, since that is what
/// `apt-get install` does: it moves nothing that need not move.
pub(super) fn versions(
    apt: &Apt,
    old: &[&Package],
    names: &[&str],
    progress: &dyn Progress,
) -> Result<Vec<(String, String)>, Error> {
    let all: Vec<&str> = old.iter().map(|p| p.name.as_str()).collect();
    let shown = apt.show(&all, progress)?;
    let stanzas = control::parse(&shown);
    let mut installed = as_installed(BOOT_CONTROL);
    let mut asked: Vec<&str> = names.to_vec();
    for package in old {
        let of_name = || {
            stanzas
                .iter()
                .filter(|s| s.get("Package") == Some(&package.name))
        };
        let exact = of_name().find(|s| s.get("Version") == Some(&package.version));
        if let Some(stanza) = exact {
            installed.push_str(&as_installed(&stanza.to_string()));
        } else if of_name().next().is_some() {
            progress.note(&format!(
                "{} {} is in no archive any more, and not kept here: it moves",
                package.name, package.version
            ));
            asked.push(&package.name);
        } else {
            progress.note(&format!(
                "{} {} is in no archive any more, and not kept here",
                package.name, package.version
            ));
        }
    }
    let mut versions: BTreeMap<String, String> = old
        .iter()
        .map(|p| (p.name.clone(), p.version.clone()))
        .collect();
    if !asked.is_empty() {
        let moves = apt.moves(&installed, &asked, progress)?;
        versions.extend(moves.installed);
        for name in &moves.removed {
            versions.remove(name);
        }
    }
    Ok(versions.into_iter().collect())
}

/// A control file as dpkg's database has it of an installed package.
fn as_installed(control: &str) -> String {
    format!("Status: install ok installed\n{control}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::apt::Setup;
    use elea_formats::digest::Sha256;
    use elea_sys::progress::Silent;
    use std::fmt::Write as _;
    use std::fs;
    use std::path::Path;
    use std::process::Command;

    /// An archive as a folder: no package has more than its dependencies.
    fn archive(folder: &Path, packages: &[(&str, &str, &str)]) {
        fs::create_dir(folder).unwrap();
        let mut index = String::new();
        for (name, version, more) in packages {
            let _ = write!(
                index,
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@localhost>\n{more}Description: x\n\
                 Filename: ./{name}_{version}.deb\nSize: 10\nSHA256: {}\n\n",
                Sha256::of(format!("{name} {version}").as_bytes())
            );
        }
        fs::write(folder.join("Packages"), index).unwrap();
    }

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            architecture: "all".into(),
            sha256: Sha256::of(name.as_bytes()),
            size: 10,
            archive: "trixie".into(),
            file: "pool/x.deb".into(),
        }
    }

    #[test]
    fn what_is_named_moves_and_what_it_then_needs() {
        let apt_get = Command::new("apt-get").arg("--version").output();
        if apt_get.is_err() || !Path::new(crate::debian::sources::KEYRING).exists() {
            println!("skipped: no apt with Debian's keys");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (local, folder) = (dir.path().join("local"), dir.path().join("apt"));
        archive(
            &local,
            &[
                ("tool", "1", "Depends: lib (>= 1)\n"),
                ("tool", "2", "Depends: lib (>= 2), extra\n"),
                ("lib", "1", ""),
                ("lib", "2", "Depends: data (= 2)\n"),
                ("data", "1", ""),
                ("data", "2", ""),
                ("extra", "1", ""),
                ("alone", "1", ""),
                ("alone", "2", "Breaks: old\n"),
                ("old", "1", ""),
                ("gone", "3", ""),
                ("kernel", "1", "Depends: linux-initramfs-tool\n"),
            ],
        );
        let setup = Setup {
            archives: &[],
            tools: &crate::program::Tools::default(),
            local: Some(&local),
            architecture: "amd64",
            recommends: false,
        };
        let apt = Apt::new(&folder, setup, &dir.path().join("log")).unwrap();
        apt.update(&Silent).unwrap();
        let old = ["tool", "lib", "data", "alone", "old", "kernel"].map(|name| package(name, "1"));
        let old: Vec<&Package> = old.iter().collect();
        let moved = |old: &[&Package], names: &[&str]| -> String {
            let found = versions(&apt, old, names, &Silent).unwrap();
            let words = found.iter().map(|(n, v)| format!("{n}={v}"));
            words.collect::<Vec<_>>().join(" ") + " "
        };
        assert_eq!(
            moved(&old, &[]),
            "alone=1 data=1 kernel=1 lib=1 old=1 tool=1 "
        );
        assert_eq!(
            moved(&old, &["data"]),
            "alone=1 data=2 kernel=1 lib=1 old=1 tool=1 "
        );
        assert_eq!(
            moved(&old, &["tool"]),
            "alone=1 data=2 extra=1 kernel=1 lib=2 old=1 tool=2 "
        );
        assert_eq!(
            moved(&old, &["alone"]),
            "alone=2 data=1 kernel=1 lib=1 tool=1 "
        );
        // One that nobody has any more moves by itself; one without any version is left to apt.
        let (gone, lost) = (package("gone", "2"), package("lost", "1"));
        let mut with = old.clone();
        with.extend([&gone, &lost]);
        let found = moved(&with, &[]);
        assert!(
            found.contains("gone=3 ") && found.contains("lib=1 "),
            "{found}"
        );
        let error = versions(&apt, &old, &["nothing"], &Silent).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("Unable to locate package nothing"),
            "{error}"
        );
    }

    #[test]
    fn names_that_the_lock_does_not_have_are_all_named() {
        let error = known(&["bash".into()], None).unwrap_err().to_string();
        assert!(error.contains("no package `bash`"), "{error}");
    }
}
