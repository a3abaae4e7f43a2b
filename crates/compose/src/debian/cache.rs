//! The packages that were fetched, kept by their SHA-256 for the next build.

use super::sources::Archive;
use crate::lock::{Error, Package};
use crate::program;
use elea_formats::digest::Sha256;
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At as _, PathError};
use sha2::Digest as _;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Packages that one run of the fetching program is given, so that progress is seen.
const BATCH: usize = 8;

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
                first: first.name.clone(),
                cache: self.folder.clone(),
            });
        }
        let archives = archives()?;
        let inherited = super::apt::inherited(log)?;
        let total = missing.iter().map(|p| p.size).sum();
        progress.start("fetch packages", Some(total), Unit::Bytes);
        for batch in missing.chunks(BATCH) {
            self.fetch(batch, &archives, &inherited, log, progress)?;
            progress.advance(batch.iter().map(|p| p.size).sum());
        }
        Ok(elea_sys::durable::sync_folder(&self.folder)?)
    }

    fn fetch(
        &self,
        batch: &[&Package],
        archives: &[Archive],
        inherited: &str,
        log: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let folder = tempfile::Builder::new()
            .prefix(".fetch-")
            .tempdir_in(&self.folder)
            .at("make a folder in", &self.folder)?;
        let config = folder.path().join("apt.conf");
        fs::write(
            &config,
            format!("APT::Sandbox::User \"root\";\n{inherited}"),
        )
        .at("write", &config)?;
        let mut command = program::program("/usr/lib/apt/apt-helper");
        command.env("APT_CONFIG", &config).arg("download-file");
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
            command
                .arg(format!("{}/{}", archive.url, package.file))
                .arg(&target)
                .arg(format!("SHA256:{}", package.sha256));
            targets.push((*package, target));
        }
        match program::run(command, "apt", log, progress) {
            Err(program::ProgramError::Failed { words, .. }) => {
                let missing = targets.iter().find(|(_, target)| !target.exists());
                let package = missing.map_or(batch[0], |(package, _)| package);
                return Err(failed(package, words));
            }
            result => result?,
        };
        for (package, target) in targets {
            if sha256(&target)? != package.sha256 {
                return Err(failed(package, "its content has another SHA-256".into()));
            }
            let file = File::open(&target).at("open", &target)?;
            file.sync_all().at("sync", &target)?;
            let path = self.path(&package.sha256);
            fs::rename(&target, &path).at("rename into place", &path)?;
        }
        Ok(())
    }
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
fn sha256(path: &Path) -> Result<Sha256, PathError> {
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
        // What the archive has now is another file.
        let c = package("a", b"third");
        let error = fill(&[&c], false).unwrap_err().to_string();
        assert!(error.contains("a 1 cannot be fetched"), "{error}");
        assert!(!cache.path(&c.sha256).exists());
        let names: Vec<_> = fs::read_dir(&folder).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "nothing half done is left: {names:?}");
    }
}
