//! Whether an image may be used on this machine.
//!
//! Keys and rules come from the command line, `/etc/elea`, `/elea/state/trust.d` (the keys that the
//! machine was installed with) and the *running* image's `/usr/lib/elea`, never from the
//! candidate (`docs/formats/trust.md`). Judging is pure: the caller brings the candidate's
//! signatures and what is running.

mod judge;
mod key;
mod pem;
mod rules;
mod sealed;

pub use judge::{Candidate, Policy, Refusal, Running, Signature, Verdict, check_release, judge};
pub use key::{Algorithm, KeyError, PrivateKey, PublicKey};
pub use rules::{Demand, Known, Rule, Rules, RulesError, Signers, parse as parse_rules};

use elea_sys::{At as _, PathError};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where a system keeps what it trusts.
#[derive(Debug, Clone)]
pub struct Places {
    /// The root whose `/etc` counts.
    pub root: PathBuf,
    /// The root of the running image, whose `/usr` counts.
    pub image: PathBuf,
    /// The machine's `/elea/state`.
    pub state: PathBuf,
}

impl Places {
    /// Of a system that is all below one root.
    pub fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            image: root.to_owned(),
            state: root.join("elea/state"),
        }
    }

    /// The folders of keys.
    fn folders(&self) -> [PathBuf; 3] {
        [
            self.image.join("usr/lib/elea/trust.d"),
            self.root.join("etc/elea/trust.d"),
            self.state.join("trust.d"),
        ]
    }
}

/// The largest key file that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The most key files that are read of one folder.
const MAX_FILES: usize = 256;

/// The public keys that are trusted, each with the file that it came from.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    keys: Vec<(PathBuf, PublicKey)>,
}

/// Why the trusted keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A folder or file could not be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A file does not hold public keys.
    #[error("{} does not hold a trusted key: {source}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A `trust.toml` makes no sense.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A folder has more files than anybody means.
    #[error("{} holds more than {MAX_FILES} key files", path.display())]
    Many {
        /// The folder.
        path: PathBuf,
    },
}

impl Keys {
    /// The public keys of `files`, which must exist, and of the files named `*.pub` or `*.pem`
    /// in `folders`, which need not. A file that holds no key is an error, since somebody meant one.
    pub fn load(folders: &[PathBuf], files: &[PathBuf]) -> Result<Self, TrustError> {
        let mut keys = Self::default();
        for file in files {
            keys.load_file(file)?;
        }
        for folder in folders {
            for file in key_files(folder)? {
                keys.load_file(&file)?;
            }
        }
        Ok(keys)
    }

    /// Trusts one more key; `origin` is where it came from.
    pub fn add(&mut self, origin: &Path, key: PublicKey) {
        if !self.keys.iter().any(|(_, known)| *known == key) {
            self.keys.push((origin.to_owned(), key));
        }
    }

    /// Trusts others too.
    pub(crate) fn extend(&mut self, others: &Self) {
        for (origin, key) in &others.keys {
            self.add(origin, key.clone());
        }
    }

    /// The keys and the files that they came from.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &PublicKey)> {
        self.keys.iter().map(|(path, key)| (path.as_path(), key))
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key that made this signature over `message`, if it is a trusted one.
    pub fn who_signed(&self, message: &[u8], signature: &[u8]) -> Option<&PublicKey> {
        self.keys
            .iter()
            .map(|(_, key)| key)
            .find(|key| key.verify(message, signature))
    }

    fn load_file(&mut self, path: &Path) -> Result<(), TrustError> {
        let text = read(path, MAX_FILE)?;
        let keys = PublicKey::parse_pem(&text).map_err(|source| TrustError::Key {
            path: path.to_owned(),
            source,
        })?;
        for key in keys {
            self.add(path, key);
        }
        Ok(())
    }
}

/// The key files of a folder, by name; none if it does not exist.
fn key_files(folder: &Path) -> Result<Vec<PathBuf>, TrustError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", folder)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.at("read", folder)?.path();
        if path.extension().is_some_and(|e| e == "pub" || e == "pem") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(TrustError::Many {
                path: folder.to_owned(),
            });
        }
    }
    files.sort();
    Ok(files)
}

/// A file's text. A longer file is an error: half of one may say what nobody meant.
fn read(path: &Path, limit: u64) -> Result<String, PathError> {
    let mut text = String::new();
    fs::File::open(path)
        .at("open", path)?
        .take(limit + 1)
        .read_to_string(&mut text)
        .at("read", path)?;
    if text.len() as u64 > limit {
        let what = format!("it is larger than {} KiB", limit >> 10);
        return Err(io::Error::other(what)).at("read", path);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files_and_folders_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("etc/elea/trust.d");
        fs::create_dir_all(&folder).unwrap();
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let other = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let both = format!("{}{}", key.public().to_pem(), other.public().to_pem());
        fs::write(folder.join("a.pub"), &both).unwrap();
        fs::write(folder.join("README"), "not a key").unwrap();
        let file = dir.path().join("b.pub");
        fs::write(&file, other.public().to_pem()).unwrap();
        let folders = Places::below(dir.path()).folders();
        let keys = Keys::load(&folders, std::slice::from_ref(&file)).unwrap();
        assert_eq!(keys.iter().count(), 2);
        let signature = key.sign(b"hello").unwrap();
        assert_eq!(
            keys.who_signed(b"hello", &signature),
            Some(key.public()).as_ref()
        );
        assert_eq!(keys.who_signed(b"hullo", &signature), None);
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.pub");
        let secret = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        for (text, reason) in [
            ("", "no PEM"),
            ("ssh-ed25519 AAAA me", "no PEM"),
            (&*secret.to_pem(), "PRIVATE KEY"),
        ] {
            fs::write(&file, text).unwrap();
            let error = Keys::load(&[dir.path().to_owned()], &[]).unwrap_err();
            assert!(error.to_string().contains("x.pub"), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        }
        fs::write(&file, "\n".repeat((64 << 10) + 1)).unwrap();
        let error = Keys::load(&[], std::slice::from_ref(&file)).unwrap_err();
        assert!(error.to_string().contains("larger than 64 KiB"), "{error}");
        assert!(Keys::load(&[], &[dir.path().join("missing")]).is_err());
        assert!(
            Keys::load(&[dir.path().join("missing")], &[])
                .unwrap()
                .is_empty()
        );
    }
}
