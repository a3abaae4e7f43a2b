//! From the names in a config to exact packages.

use super::{Archive, Error, Lock, Options, Package, SCHEMA, Update, file, stages, update};
use crate::config::{Base, Config, Findings, Loader};
use crate::debian::apt::{Apt, Found, Release, Setup};
use crate::debian::bootstrap::{self, BOOT_PACKAGE};
use crate::debian::cache::Cache;
use crate::debian::{self, sources};
use crate::program::{ProgramError, Tools};
use elea_formats::digest::Sha256;
use elea_sys::progress::{Progress, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What every system has: what Debian calls essential or required, an init, devices, messages,
/// and the tools that mend and grow its file systems. (apt-patterns(7) and names.)
const SYSTEM: [&str; 10] = [
    "?essential",
    "?priority(required)",
    "ca-certificates",
    "dbus",
    "e2fsprogs",
    "kmod",
    "libpam-systemd",
    "systemd",
    "systemd-sysv",
    "udev",
];

/// What is wrong: the key of the config, what it is, and what helps.
type Wrong = Vec<(String, String, Option<String>)>;

/// What is asked of archives.
pub(crate) struct Asked<'a> {
    /// Which archives.
    pub(crate) base: &'a Base,
    /// What there is in any case: apt-patterns(7) and names.
    pub(crate) system: &'a [&'a str],
    /// Names of packages.
    pub(crate) install: &'a [String],
    /// The key of the config that has them.
    pub(crate) key: String,
    pub(crate) recommends: bool,
    /// The kernel's package.
    pub(crate) kernel: Option<&'a String>,
    pub(crate) loader: Option<&'a Loader>,
    /// Ties what is wrong to lines of the config.
    pub(crate) errors: &'a dyn Fn(Wrong) -> Findings,
}

/// The config's lock: the one that lies beside it, if it still fits, or a new one. Versions and
/// numbers that an older lock has are kept, but for what `options.update` moves and what that needs.
/// Nothing is written beside the config; see [`super::save`].
pub fn resolve(config: &Config, options: &Options, progress: &dyn Progress) -> Result<Lock, Error> {
    asked(config, file::load(config)?, options, progress)
}

/// The lock of a specialisation of a system that has this lock: the same, if it asks the same of archives.
pub fn resolve_beside(
    special: &Config,
    system: &Lock,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Lock, Error> {
    if request(special) == system.request {
        return Ok(system.clone());
    }
    let own = file::load(special)?.filter(|loaded| loaded.own);
    let old = own.unwrap_or_else(|| file::Loaded {
        lock: system.clone(),
        own: false,
    });
    asked(special, Some(old), options, progress)
}

fn asked(
    config: &Config,
    old: Option<file::Loaded>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Lock, Error> {
    let asked = Asked {
        base: &config.base,
        system: &SYSTEM,
        install: &config.packages.install,
        key: "packages.install".into(),
        recommends: config.packages.recommends,
        kernel: Some(&config.kernel.package),
        loader: Some(&config.loader),
        errors: &|found| config.errors(found),
    };
    settle(
        &asked,
        request(config),
        old,
        &config.path,
        options,
        progress,
    )
}

/// The lock for what is asked: the old one, if it still fits, or a new one.
pub(crate) fn settle(
    asked: &Asked<'_>,
    request: Sha256,
    old: Option<file::Loaded>,
    path: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Lock, Error> {
    let fits = old
        .as_ref()
        .filter(|old| old.own && old.lock.request == request);
    if let Some(old) = fits.filter(|_| options.update == Update::Keep) {
        return Ok(old.lock.clone());
    }
    if let Update::Only(names) = &options.update {
        update::known(names, old.as_ref().map(|old| &old.lock))?;
    }
    if options.locked {
        let path = path.to_owned();
        return Err(match old {
            Some(old) if old.own => Error::Outdated {
                path,
                why: "packages, suite, kernel or loader were changed".into(),
            },
            _ => Error::NoLock { path },
        });
    }
    let work = crate::build::work_folder(&options.work)?;
    let solver = Solver {
        asked,
        options,
        old: old.as_ref().map(|old| &old.lock),
        work: work.path(),
        progress,
    };
    let lock = solver.lock(request)?;
    progress.finish();
    // A lock of the same packages has no later time: the image would be another one for nothing.
    let same =
        |old: &&file::Loaded| old.lock.packages == lock.packages && old.lock.loader == lock.loader;
    Ok(match fits.filter(same) {
        Some(old) => old.lock.clone(),
        None => lock,
    })
}

/// Fetches the packages of a lock that are not kept yet, so that it holds whatever the archives drop.
pub fn fetch(
    config: &Config,
    lock: &Lock,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let work = crate::build::work_folder(&options.work)?;
    let cache = Cache::open(&options.cache)?;
    let archives = || {
        let system = options.system();
        let mut archives = debian::archives(&config.base, &config.base.suite, &system)?;
        archives.extend(debian::archives(
            &config.base,
            &config.loader.suite,
            &system,
        )?);
        Ok(archives)
    };
    let log = work.path().join("log");
    cache.fill(&all(lock), archives, options.locked, &log, progress)?;
    progress.finish();
    Ok(())
}

/// The bytes that a [`fetch`] would fetch.
pub fn to_fetch(lock: &Lock, options: &Options) -> Result<u64, Error> {
    Ok(Cache::open(&options.cache)?.lacks(&all(lock)))
}

fn all(lock: &Lock) -> Vec<&Package> {
    lock.all().collect()
}

/// The digest of everything that a config asks of archives.
pub fn request(config: &Config) -> Sha256 {
    let asked = serde_json::json!({
        "architecture": config.base.architecture,
        "components": config.base.components,
        "kernel": config.kernel.package,
        "loader": [config.loader.suite, config.loader.package, config.loader.version],
        "packages": config.packages.install,
        "recommends": config.packages.recommends,
        "suite": config.base.suite,
        "system": SYSTEM,
    });
    Sha256::of(asked.to_string().as_bytes())
}

struct Solver<'a> {
    asked: &'a Asked<'a>,
    options: &'a Options,
    old: Option<&'a Lock>,
    work: &'a Path,
    progress: &'a dyn Progress,
}

impl Solver<'_> {
    fn lock(&self, request: Sha256) -> Result<Lock, Error> {
        let base = self.asked.base;
        let log = self.work.join("log");
        let main = debian::archives(base, &base.suite, &self.options.system())?;
        let cache = Cache::open(&self.options.cache)?;
        let keep: Vec<&Package> = match self.old.filter(|_| self.options.update != Update::All) {
            Some(old) => old.packages.iter().collect(),
            None => Vec::new(),
        };
        let mut kept = Vec::new();
        for package in &keep {
            if cache.has(&package.sha256)? {
                kept.push(*package);
            }
        }
        let local = self.work.join("kept");
        let tools = Tools::of(self.options);
        bootstrap::repository(&local, &kept, &cache, &tools, &log, self.progress)?;
        let setup = Setup {
            archives: &main,
            tools: &tools,
            local: Some(&local),
            architecture: &base.architecture,
            recommends: self.asked.recommends,
        };
        let folder = self.work.join("apt");
        let apt = Apt::new(&folder, setup, &log)?;
        self.progress.start("ask archives", None, Unit::Items);
        apt.update(self.progress)?;
        self.progress.start("solve", None, Unit::Items);
        if !keep.is_empty() {
            apt.pin(&self.versions(&apt, &keep)?)?;
        }
        let found = self.solve(&apt)?;
        let packages = self.packages(&apt, &found, &main, &keep)?;

        let mut archives = releases(&main, &apt.releases()?);
        let loader = match self.asked.loader {
            None => None,
            Some(wanted) => Some(self.loader_of(wanted, setup, &cache, &mut archives)?),
        };
        let epoch = newest(&archives)?;
        Ok(Lock {
            schema: SCHEMA.into(),
            request,
            architecture: base.architecture.clone(),
            epoch,
            stages: stages::assign(self.old, &packages, epoch),
            archives,
            packages,
            loader,
            users: self.old.map(|old| old.users.clone()).unwrap_or_default(),
            groups: self.old.map(|old| old.groups.clone()).unwrap_or_default(),
        })
    }

    /// The loader's package, whose archive is one of `archives` afterwards.
    fn loader_of(
        &self,
        wanted: &Loader,
        setup: Setup<'_>,
        cache: &Cache,
        archives: &mut Vec<Archive>,
    ) -> Result<Package, Error> {
        let system = self.options.system();
        let pool = debian::archives(self.asked.base, &wanted.suite, &system)?;
        let pool = &pool[..1];
        if let Some((loader, release)) = self.kept_loader(wanted, pool, cache)? {
            archives.push(release);
            return Ok(loader);
        }
        let setup = Setup {
            archives: pool,
            local: None,
            ..setup
        };
        let apt = Apt::new(&self.work.join("loader"), setup, &self.work.join("log"))?;
        let loader = self.loader(wanted, &apt, pool)?;
        archives.extend(releases(pool, &apt.releases()?));
        Ok(loader)
    }

    /// The versions to take: those of the older lock, but for what is named, what the config asks for newly,
    /// and what these need.
    fn versions(&self, apt: &Apt, keep: &[&Package]) -> Result<Vec<(String, String)>, Error> {
        let named: &[String] = match &self.options.update {
            Update::Only(names) => names,
            _ => &[],
        };
        let known: BTreeSet<&str> = keep.iter().map(|p| p.name.as_str()).collect();
        let asked = self.asked.install.iter();
        let new = asked
            .chain(self.asked.kernel)
            .map(String::as_str)
            .filter(|name| !known.contains(name));
        let named = named.iter().map(String::as_str);
        let names: Vec<&str> = named
            .filter(|name| known.contains(name))
            .chain(new)
            .collect();
        match update::versions(apt, keep, &names, self.progress) {
            Err(Error::Program(ProgramError::Failed { words, .. })) => {
                Err(self.unsolved(apt, &words)?)
            }
            result => result,
        }
    }

    /// The loader of the older lock and its archive as it was then, if nothing asks for another one and it is kept.
    fn kept_loader(
        &self,
        wanted: &Loader,
        pool: &[sources::Archive],
        cache: &Cache,
    ) -> Result<Option<(Package, Archive)>, Error> {
        let Some(old) = self.old else { return Ok(None) };
        let Some(loader) = &old.loader else {
            return Ok(None);
        };
        let moves = match &self.options.update {
            Update::Keep => false,
            Update::All => true,
            Update::Only(names) => names.contains(&loader.name),
        };
        let fits = loader.name == wanted.package
            && pool.iter().any(|a| a.suite == loader.archive)
            && wanted.version.as_ref().is_none_or(|v| *v == loader.version);
        if moves || !fits || !cache.has(&loader.sha256)? {
            return Ok(None);
        }
        let release = old.archives.iter().rfind(|a| a.suite == loader.archive);
        Ok(release.map(|release| (loader.clone(), release.clone())))
    }

    fn solve(&self, apt: &Apt) -> Result<Vec<Found>, Error> {
        let asked = self.asked;
        let mut wanted: BTreeSet<&str> = asked.system.iter().copied().collect();
        wanted.insert(BOOT_PACKAGE);
        wanted.extend(
            asked
                .kernel
                .into_iter()
                .chain(asked.install)
                .map(String::as_str),
        );
        let wanted: Vec<&str> = wanted.into_iter().collect();
        match apt.solve(&wanted, self.progress) {
            Err(Error::Program(ProgramError::Failed { words, .. })) => {
                Err(self.unsolved(apt, &words)?)
            }
            result => result,
        }
    }

    /// What apt could not do, tied to the lines of the config that asked for it.
    fn unsolved(&self, apt: &Apt, words: &str) -> Result<Error, Error> {
        let mut missing = BTreeSet::new();
        for line in words.lines() {
            let name = line
                .strip_prefix("E: Unable to locate package ")
                .or_else(|| {
                    line.strip_prefix("E: Package '")?
                        .strip_suffix("' has no installation candidate")
                });
            missing.extend(name.map(|n| n.trim().to_owned()));
        }
        if missing.is_empty() {
            let what = "these packages cannot be installed together";
            let found = vec![(self.asked.key.clone(), what.into(), Some(words.into()))];
            return Ok(Error::Config((self.asked.errors)(found)));
        }
        let names = apt.names(self.progress)?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let suite = &self.asked.base.suite;
        let found = missing
            .into_iter()
            .map(|name| {
                let key = if self.asked.kernel == Some(&name) {
                    "kernel.package".to_owned()
                } else {
                    format!("{}[{name}]", self.asked.key)
                };
                let help = crate::config::nearest(&name, &names)
                    .map(|near| format!("did you mean `{near}`?"));
                (key, format!("{suite} has no package `{name}`"), help)
            })
            .collect();
        Ok(Error::Config((self.asked.errors)(found)))
    }

    fn packages(
        &self,
        apt: &Apt,
        found: &[Found],
        archives: &[sources::Archive],
        kept: &[&Package],
    ) -> Result<Vec<Package>, Error> {
        let mut out = BTreeMap::new();
        let mut fresh = Vec::new();
        for found in found.iter().filter(|f| f.name != BOOT_PACKAGE) {
            let same = |p: &&&Package| {
                (&p.name, &p.version, &p.architecture)
                    == (&found.name, &found.version, &found.architecture)
            };
            match kept.iter().find(same) {
                Some(package) if found.url.starts_with("copy:") => {
                    out.insert(found.name.clone(), (*package).clone());
                }
                _ => fresh.push(found),
            }
        }
        if !fresh.is_empty() {
            let exact: Vec<String> = fresh
                .iter()
                .map(|f| format!("{}={}", f.name, f.version))
                .collect();
            let digests = apt.digests(&exact, self.progress)?;
            for found in fresh {
                out.insert(found.name.clone(), package(found, archives, &digests)?);
            }
        }
        Ok(out.into_values().collect())
    }

    fn loader(
        &self,
        wanted: &Loader,
        apt: &Apt,
        pool: &[sources::Archive],
    ) -> Result<Package, Error> {
        self.progress.start("ask for the loader", None, Unit::Items);
        apt.update(self.progress)?;
        // Only the file is wanted, so what it depends on is not solved.
        let exact = match &wanted.version {
            Some(version) => format!("{}={version}", wanted.package),
            None => wanted.package.clone(),
        };
        let none = |key: &str, what: String| {
            let help = Some("see [loader] in the config".to_owned());
            Error::Config((self.asked.errors)(vec![(key.into(), what, help)]))
        };
        let found = match apt.download_url(&exact, self.progress) {
            Err(Error::Program(ProgramError::Failed { .. })) => {
                let key = if wanted.version.is_some() {
                    "loader.version"
                } else {
                    "loader.package"
                };
                return Err(none(key, format!("{} has no {exact}", wanted.suite)));
            }
            result => result?,
        };
        let major = |version: &str| -> Option<u32> {
            let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        if major(&found.version).is_none_or(|n| n < OLDEST_LOADER) {
            let what = format!(
                "{} {} is too old: it hangs on a damaged kernel; {OLDEST_LOADER} or newer is needed",
                found.name, found.version
            );
            return Err(none("loader.suite", what));
        }
        let exact = [format!("{}={}", found.name, found.version)];
        let digests = apt.digests(&exact, self.progress)?;
        package(&found, pool, &digests)
    }
}

/// The oldest systemd-boot that goes on to the next entry when a kernel or initrd is damaged.
const OLDEST_LOADER: u32 = 258;

fn package(
    found: &Found,
    archives: &[sources::Archive],
    digests: &[(String, String, u64, Sha256)],
) -> Result<Package, Error> {
    let answer = |why: &str| Error::Answer {
        about: format!("{} {}", found.name, found.version),
        why: why.to_owned(),
    };
    let (_, _, size, sha256) = digests
        .iter()
        .find(|(name, version, ..)| (name, version) == (&found.name, &found.version))
        .ok_or_else(|| answer("it names no SHA-256"))?;
    let (archive, file) = archives
        .iter()
        .filter_map(|a| Some((a, found.url.strip_prefix(&a.url)?.strip_prefix('/')?)))
        .max_by_key(|(a, _)| a.url.len())
        .ok_or_else(|| answer(&format!("{} is in none of the archives", found.url)))?;
    // Archives at one URL share their pool, so the first one's name serves for all.
    let archive = archives
        .iter()
        .find(|a| a.url == archive.url)
        .unwrap_or(archive);
    Ok(Package {
        name: found.name.clone(),
        version: found.version.clone(),
        architecture: found.architecture.clone(),
        sha256: *sha256,
        size: *size,
        archive: archive.suite.clone(),
        file: file.to_owned(),
    })
}

fn releases(archives: &[sources::Archive], found: &[Release]) -> Vec<Archive> {
    archives
        .iter()
        .filter_map(|archive| {
            let release = found.iter().find(|r| r.names.contains(&archive.suite))?;
            Some(Archive {
                suite: archive.suite.clone(),
                date: release.date.clone(),
                release: release.digest,
            })
        })
        .collect()
}

/// The newest date of the archives, in seconds since 1970.
fn newest(archives: &[Archive]) -> Result<i64, Error> {
    archives
        .iter()
        .filter_map(|a| {
            let date = a.date.replace(" UTC", " +0000").replace(" GMT", " +0000");
            jiff::fmt::rfc2822::parse(&date).ok()
        })
        .map(|date| date.timestamp().as_second())
        .max()
        .ok_or_else(|| Error::Answer {
            about: "release files".into(),
            why: "none has a date".into(),
        })
}
