//! What scenarios share: releases, and disks in known states to begin from.

use crate::guest::{BOOT, Guest, Running};
use crate::works::{Release, Works};
use crate::{Result, talk};
use elea_testkit::Error;
use elea_testkit::disk::Disk;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A state that a scenario begins from; the machine is switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// 1.0 is committed.
    First,
    /// 1.0 is committed, 2.0 is armed.
    Staged,
    /// 1.0 and 2.0 are committed.
    Second,
}

impl Base {
    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Staged => "staged",
            Self::Second => "second",
        }
    }
}

/// How a scenario ended well.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// What was seen.
    pub(crate) happened: String,
    /// Starts of the boot loader until a good system.
    pub(crate) boots: usize,
    /// Seconds from the failure until a good system.
    pub(crate) seconds: u64,
    /// What was kept for the person who looks the next morning.
    pub(crate) evidence: String,
}

/// The works, and what was made ready in them.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Keys, store, registry.
    pub(crate) works: Works,
    built: BTreeSet<String>,
    followed: Option<Release>,
    prepared: BTreeSet<Base>,
    loud: bool,
}

impl Stage {
    /// Builds the programs and starts the registry.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        Ok(Self::of(Works::open(folder)?))
    }

    /// The same with works that are there.
    pub(crate) fn of(works: Works) -> Self {
        Self {
            works,
            built: BTreeSet::new(),
            followed: None,
            prepared: BTreeSet::new(),
            loud: std::env::var_os("ELEA_VM_LOUD").is_some(),
        }
    }

    /// Makes a release the one that machines follow.
    pub(crate) fn publish(&mut self, release: Release) -> Result<()> {
        if self.built.insert(release.tag()) {
            self.works.build(release)?;
            self.works.publish(release)?;
        } else if self.followed != Some(release) {
            self.works.follow(release)?;
        }
        self.followed = Some(release);
        Ok(())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.works.folder.join("machines").join(name)
    }

    /// Makes the disk of a base, and those that it stands on.
    fn prepare(&mut self, base: Base) -> Result<()> {
        if self.prepared.contains(&base) {
            return Ok(());
        }
        match base {
            Base::First => self.publish(Release::First)?,
            Base::Staged => {
                self.prepare(Base::First)?;
                self.publish(Release::Second)?;
            }
            Base::Second => self.prepare(Base::Staged)?,
        }
        let folder = self.folder(base.name());
        let mark = folder.join("made-with");
        if fs::read_to_string(&mark).ok() == Some(self.works.programs.identity()?) {
            self.prepared.insert(base);
            return Ok(());
        }
        talk::note(&format!("preparing the state `{}`", base.name()));
        let disk = folder.join("disk");
        if base == Base::First {
            let _ = fs::remove_dir_all(&folder);
            make_folder(&folder)?;
            self.works.install(Release::First, &disk, &[])?;
        } else {
            let from = if base == Base::Staged {
                Base::First
            } else {
                Base::Staged
            };
            self.take(from, &folder)?;
        }
        let mut guest = Guest::new(&self.works, &folder, &disk)?;
        guest.loud = self.loud;
        guest.machine.start()?;
        let version = if base == Base::Second { "2.0" } else { "1.0" };
        guest.wait_version(version, None, BOOT)?;
        guest.wait_committed(BOOT)?;
        if base == Base::Staged {
            guest.must("elea upgrade")?;
        }
        guest.machine.power_off(Duration::from_mins(3))?;
        fs::write(&mark, self.works.programs.identity()?)
            .map_err(|e| Error::other(format!("cannot write {}: {e}", mark.display())))?;
        self.prepared.insert(base);
        Ok(())
    }

    /// Copies the machine of a base into a folder.
    fn take(&self, base: Base, folder: &Path) -> Result<Disk> {
        let from = self.folder(base.name());
        let _ = fs::remove_dir_all(folder);
        make_folder(folder)?;
        let variables = folder.join("variables.fd");
        fs::copy(from.join("variables.fd"), &variables)
            .map_err(|e| Error::other(format!("cannot write {}: {e}", variables.display())))?;
        Disk::open(&from.join("disk"))?.copy(&folder.join("disk"))
    }

    /// A machine of its own that begins in a known state, switched off.
    pub(crate) fn trial(&mut self, name: &str, base: Base) -> Result<Trial> {
        self.prepare(base)?;
        let folder = self.folder(name);
        let disk = self.take(base, &folder)?;
        self.trial_of(&folder, disk)
    }

    /// A machine of its own with a disk that is installed anew.
    pub(crate) fn trial_installed(&mut self, name: &str, more: &[&str]) -> Result<Trial> {
        self.publish(Release::First)?;
        let folder = self.folder(name);
        let _ = fs::remove_dir_all(&folder);
        make_folder(&folder)?;
        let path = folder.join("disk");
        self.works.install(Release::First, &path, more)?;
        let disk = Disk::open(&path)?;
        self.trial_of(&folder, disk)
    }

    fn trial_of(&self, folder: &Path, disk: Disk) -> Result<Trial> {
        let mut guest = Guest::new(&self.works, folder, disk.path())?;
        guest.loud = self.loud;
        Ok(Trial {
            guest,
            disk,
            begun: Instant::now(),
            boots: 0,
            seconds: 0,
        })
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))
}

/// One machine that something happens to.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The machine.
    pub(crate) guest: Guest,
    /// Its disk, to be touched only while it is switched off.
    pub(crate) disk: Disk,
    begun: Instant,
    boots: usize,
    seconds: u64,
}

impl Trial {
    /// Switches it on; the failure counts from now.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.mark();
        self.guest.machine.start()
    }

    /// The failure counts from now.
    pub(crate) fn mark(&mut self) {
        self.begun = Instant::now();
        self.boots = self.guest.boots();
    }

    /// Waits until a version runs and is good; the time and boots until then are kept.
    pub(crate) fn good(&mut self, version: &str, limit: Duration) -> Result<Running> {
        let running = self.guest.wait_version(version, None, limit)?;
        self.arrived();
        self.guest.wait_committed(BOOT)?;
        Ok(running)
    }

    /// The time and boots from the failure end here.
    pub(crate) fn arrived(&mut self) {
        self.seconds = self.begun.elapsed().as_secs();
        self.boots = self.guest.boots() - self.boots;
    }

    /// How many boots it took.
    pub(crate) fn boots(&self) -> usize {
        self.boots
    }

    /// Switches it off.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.guest.machine.power_off(Duration::from_mins(3))
    }

    /// Ends well: the machine is switched off, its disk removed, the console kept.
    pub(crate) fn told(mut self, happened: &str, evidence: String) -> Result<Told> {
        if self.guest.machine.is_running() {
            self.stop()?;
        }
        let _ = fs::remove_file(self.disk.path());
        Ok(Told {
            happened: happened.to_owned(),
            boots: self.boots,
            seconds: self.seconds,
            evidence,
        })
    }

    /// What `elea status` says of the failed generation; there must be one of this version.
    pub(crate) fn evidence(&self, version: &str) -> Result<String> {
        let status = self.guest.status()?;
        let failed = status["refused"].as_array().and_then(|list| {
            list.iter()
                .rev()
                .find(|one| one["version"].as_str() == Some(version))
        });
        let Some(failed) = failed else {
            return Err(Error::other(format!(
                "`elea status` does not name a failed {version}: {status}"
            )));
        };
        let number = failed["number"].as_u64().unwrap_or(0);
        let reason = failed["reason"].as_str().unwrap_or_default();
        let kept = self.guest.machine.ssh(&format!(
            "cd /sysroot/elea/generations/{number} && find evidence tries -type f -printf '%f\\n'"
        ))?;
        let files: BTreeSet<&str> = kept
            .out
            .lines()
            .filter_map(|name| name.rsplit_once('.').map(|_| kind_of(name)))
            .collect();
        let reason = format!("\"{reason}\"");
        let all: Vec<&str> = std::iter::once(reason.as_str()).chain(files).collect();
        Ok(all.join(", "))
    }

    /// An error unless a command prints just this.
    pub(crate) fn says(&self, command: &str, wanted: &str) -> Result<()> {
        let said = self.guest.must(command)?;
        self.check(said.trim() == wanted, &format!("`{command}` says `{said}`"))
    }

    /// An error unless a thing holds.
    pub(crate) fn check(&self, holds: bool, what: &str) -> Result<()> {
        if holds {
            return Ok(());
        }
        let tail = self.guest.machine.console().tail(0, 15);
        Err(Error::other(format!(
            "{what}; the console's last lines:\n{tail}"
        )))
    }
}

/// The kind of an evidence file: its name without what names one boot.
fn kind_of(name: &str) -> &str {
    let first = name.split(['-', '.']).next().unwrap_or(name);
    if first.len() == 8 && first.bytes().all(|b| b.is_ascii_hexdigit()) {
        return "record of the try";
    }
    first
}
