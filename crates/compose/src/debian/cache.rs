//! The packages that were fetched, kept by their SHA-256 for the next build.

use super::sources::Archive;
use crate::lock::{Error, Package};
use crate::program::{self, Tools};
use elea_formats::digest::Sha256;
use elea_net::{Files, Found, NetError};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Packages that one run of the fetching program is given, so that progress is seen.
const BATCH: usize = 8;
/// apt's own program that fetches files.
const HELPER: &str = "/usr/lib/apt/apt-helper";

/// The folder of packages.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder; it is made if it is absent.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).at("make the folder", folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where a package is or would be.
    pub(crate) fn path(&self, digest: &Sha256) -> PathBuf {
        self.folder.join(format!("{digest}.deb"))
    }

    /// Whether it is there, with the right content.
    pub(crate) fn has(&self, digest: &Sha256) -> Result<bool, Error> {
        let path = self.path(digest);
        match sha256(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            found => Ok(found? == *digest),
        }
    }

    /// Fetches what is missing; `archives` says where. With `locked` nothing is fetched.
    pub(crate) fn fill(
        &self,
        packages: &[&Package],
        archives: impl FnOnce() -> Result<Vec<Archive>, Error>,
        locked: bool,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let total: u64 = packages.iter().map(|p| p.size).sum();
        progress.start("check packages", Some(total), Unit::Bytes);
        let mut missing = Vec::new();
        for package in packages {
            stop_if_asked(progress)?;
            if !self.has(&package.sha256)? {
                missing.push(*package);
            }
            progress.advance(package.size);
        }
        let Some(first) = missing.first() else {
            return Ok(());
        };
        if locked {
            return Err(Error::NotKept {
                count: missing.len(),
                first: format!("{} {}", first.name, first.version),
                cache: self.folder.clone(),
            });
        }
        let archives = archives()?;
        let helper = if Path::new(HELPER).exists() {
            Some(super::apt::inherited(&Tools::default(), log)?)
        } else {
            None
        };
        let total = missing.iter().map(|p| p.size).sum();
        progress.start("fetch packages", Some(total), Unit::Bytes);
        let mut gone = Vec::new();
        for batch in missing.chunks(BATCH) {
            gone.extend(self.fetch(batch, &archives, helper.as_deref(), log, progress)?);
            progress.advance(batch.iter().map(|p| p.size).sum());
        }
        elea_sys::durable::sync_folder(&self.folder)?;
        if gone.is_empty() {
            return Ok(());
        }
        Err(Error::Gone {
            packages: gone.into_iter().cloned().collect(),
            cache: self.folder.clone(),
        })
    }

    /// The bytes of those that would have to be fetched.
    pub(crate) fn lacks(&self, packages: &[&Package]) -> u64 {
        let there =
            |p: &Package| fs::metadata(self.path(&p.sha256)).is_ok_and(|m| m.len() == p.size);
        let missing = packages.iter().filter(|p| !there(p));
        missing.map(|p| p.size).sum()
    }

    /// Fetches some; those that their archive does not have any more are returned. apt's own program does it where the
    /// machine has it, with its settings.
    fn fetch<'a>(
        &self,
        batch: &[&'a Package],
        archives: &[Archive],
        helper: Option<&str>,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<&'a Package>, Error> {
        let folder = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&self.folder)
            .at("make a folder in", &self.folder)?;
        let mut targets = Vec::new();
        for package in batch {
            let archive = archives
                .iter()
                .find(|a| a.suite == package.archive)
                .ok_or_else(|| {
                    failed(
                        package,
                        format!("this machine knows no archive of {}", package.archive),
                    )
                })?;
            let target = folder.path().join(package.sha256.to_string());
            targets.push((*package, archive, target));
        }
        let gone = match helper {
            Some(inherited) => by_apt(&targets, inherited, folder.path(), log, progress)?,
            None => by_ourselves(&targets, progress)?,
        };
        for (package, _, target) in targets {
            if gone.contains(&package) {
                continue;
            }
            if sha256(&target)? != package.sha256 {
                return Err(failed(package, "its content has another SHA-256".into()));
            }
            let file = File::open(&target).at("open", &target)?;
            file.sync_all().at("sync", &target)?;
            let path = self.path(&package.sha256);
            fs::rename(&target, &path).at("rename into place", &path)?;
        }
        Ok(gone)
    }
}

/// A package, the archive that has it, and the file that it is to become.
type Wanted<'p, 'a> = (&'p Package, &'a Archive, PathBuf);

/// Fetches by apt's program; those that are gone are returned.
fn by_apt<'p>(
    targets: &[Wanted<'p, '_>],
    inherited: &str,
    folder: &Path,
    log: &Path,
    progress: &dyn Progress,
) -> Result<Vec<&'p Package>, Error> {
    let config = folder.join("apt.conf");
    let text = format!("APT::Sandbox::User \"root\";\n{inherited}");
    fs::write(&config, text).at("write", &config)?;
    let mut command = program::program(HELPER);
    command.env("APT_CONFIG", &config).arg("download-file");
    for (package, archive, target) in targets {
        let url = format!("{}/{}", archive.url, package.file);
        let digest = format!("SHA256:{}", package.sha256);
        command.arg(url).arg(target).arg(digest);
    }
    let mut gone = Vec::new();
    let begin = fs::metadata(log).map_or(0, |log| log.len());
    match program::run(command, "apt", log, progress) {
        Err(program::ProgramError::Failed { words, .. }) => {
            let said = program::since(log, begin)?;
            for (package, _, target) in targets {
                if is_gone(&said, &package.file) {
                    gone.push(*package);
                } else if !target.exists() {
                    return Err(failed(package, words));
                }
            }
            if gone.is_empty()
                && let Some((package, ..)) = targets.first()
            {
                return Err(failed(package, words));
            }
        }
        result => {
            result?;
        }
    }
    Ok(gone)
}

/// The same on a machine without apt.
fn by_ourselves<'p>(
    targets: &[Wanted<'p, '_>],
    progress: &dyn Progress,
) -> Result<Vec<&'p Package>, Error> {
    let options = elea_net::Options::default();
    let mut gone = Vec::new();
    let mut places: BTreeMap<&str, Files> = BTreeMap::new();
    for (package, archive, target) in targets {
        let place = match places.entry(&archive.url) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let place = Files::new(&archive.url, &options);
                new.insert(place.map_err(|e| failed(package, e.to_string()))?)
            }
        };
        let Package {
            file, size, sha256, ..
        } = package;
        match place.fetch(file, *size, *sha256, target, progress) {
            Ok(Found::Whole) => {}
            Ok(Found::Gone) => gone.push(*package),
            Err(NetError::Cancelled) => return Err(program::ProgramError::Cancelled.into()),
            Err(e) => return Err(failed(package, e.to_string())),
        }
    }
    Ok(gone)
}

/// Whether apt says of a URL that the archive has the file no more, or another one. An archive that does not answer is
/// another matter.
fn is_gone(said: &str, file: &str) -> bool {
    let begins = [
        "404 ",
        "410 ",
        "Hash Sum mismatch",
        "File has unexpected size",
    ];
    let absent = ["(2: No such file or directory)", "File not found"];
    said.lines().any(|line| {
        // Of `copy:///x` it makes `copy:/x`.
        let rest = line.strip_prefix("E: Failed to fetch ");
        let Some((url, why)) = rest.and_then(|rest| rest.split_once("  ")) else {
            return false;
        };
        url.strip_suffix(file).is_some_and(|url| url.ends_with('/'))
            && (begins.iter().any(|begin| why.starts_with(begin))
                || absent.iter().any(|word| why.contains(word)))
    })
}

fn failed(package: &Package, why: String) -> Error {
    Error::Fetch {
        name: package.name.clone(),
        version: package.version.clone(),
        why,
    }
}

/// Ends long loops when the person asked for it.
pub(crate) fn stop_if_asked(progress: &dyn Progress) -> Result<(), Error> {
    if progress.cancelled() {
        return Err(program::ProgramError::Cancelled.into());
    }
    Ok(())
}

/// The SHA-256 of a file's content.
pub(crate) fn sha256(path: &Path) -> Result<Sha256, PathError> {
    let mut file = File::open(path).at("open", path)?;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.read(&mut buffer).at("read", path)? {
            0 => return Ok(Sha256::new(hasher.finalize().into())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::progress::Silent;

    fn package(name: &str, content: &[u8]) -> Package {
        Package {
            name: name.into(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: Sha256::of(content),
            size: content.len() as u64,
            archive: "trixie".into(),
            file: format!("pool/{name}.deb"),
        }
    }

    #[test]
    fn what_is_missing_or_damaged_is_fetched_and_checked() {
        if !Path::new("/usr/lib/apt/apt-helper").exists() {
            println!("skipped: no apt");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (pool, folder) = (dir.path().join("pool"), dir.path().join("cache"));
        let log = dir.path().join("log");
        fs::create_dir(&pool).unwrap();
        let (a, b) = (package("a", b"first"), package("b", b"second"));
        fs::write(pool.join("a.deb"), "first").unwrap();
        fs::write(pool.join("b.deb"), "second").unwrap();
        let archives = || {
            Ok(vec![Archive {
                suite: "trixie".into(),
                url: format!("copy:{}", dir.path().display()),
                components: vec![],
            }])
        };
        let cache = Cache::open(&folder).unwrap();
        let fill =
            |packages: &[&Package], locked| cache.fill(packages, archives, locked, &log, &Silent);
        let error = fill(&[&a, &b], true).unwrap_err().to_string();
        assert!(
            error.contains("2 packages") && error.contains("--locked"),
            "{error}"
        );
        fill(&[&a, &b], false).unwrap();
        fill(&[&a, &b], true).unwrap();
        // Damage is found though the archive is gone, and mended when it is back.
        fs::write(cache.path(&b.sha256), "sec0nd").unwrap();
        assert!(fill(&[&a, &b], true).is_err());
        fill(&[&a, &b], false).unwrap();
        assert_eq!(fs::read(cache.path(&b.sha256)).unwrap(), b"second");
        // What the archive dropped is named, all of it; what is still there is kept meanwhile.
        let (fourth, fifth) = (package("d", b"fourth"), package("e", b"fifth"));
        let sixth = package("f", b"sixth");
        fs::write(pool.join("f.deb"), "sixth").unwrap();
        let error = fill(&[&fourth, &sixth, &fifth], false)
            .unwrap_err()
            .to_string();
        for words in ["2 packages", "d 1", "e 1", "elea lock --update d e"] {
            assert!(error.contains(words), "{error}");
        }
        assert!(cache.has(&sixth.sha256).unwrap());
        fs::remove_file(cache.path(&sixth.sha256)).unwrap();
        // What the archive has now is another file.
        let c = package("a", b"third");
        let gone = package("d", b"fourth");
        let kept = package("e", b"fifth");
        fs::write(pool.join("e.deb"), "fifth").unwrap();
        let error = fill(&[&c, &gone, &kept], false).unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert!(lines[0].contains("dropped 2 packages"), "{error}");
        assert!(lines[1].starts_with("  a 1 "), "{error}");
        assert!(lines[2].starts_with("  d 1 "), "{error}");
        assert!(!cache.path(&c.sha256).exists());
        // What there is is kept.
        fill(&[&kept], true).unwrap();
        let names: Vec<_> = fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(names.len(), 3, "nothing half done is left: {names:?}");
    }
}
