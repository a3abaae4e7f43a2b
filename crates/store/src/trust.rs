//! Whether an image may be used on this machine.
//!
//! Keys come from the command line, `/etc/elea/trust.d`, `/elea/state/trust.d` (the keys that the
//! machine was installed with) and the *running* image's
//! `/usr/lib/elea/trust.d`, never from the candidate. Judging is pure: the caller brings
//! the candidate's signatures and what is running.

mod judge;
mod key;
mod pem;

pub use judge::{Candidate, Policy, Refusal, Running, Signature, Verdict, check_release, judge};
pub use key::{Algorithm, KeyError, PrivateKey, PublicKey};

use elea_sys::{At as _, PathError};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where keys are looked for below a system's root.
pub const FOLDERS: [&str; 3] = [
    "etc/elea/trust.d",
    "elea/state/trust.d",
    "usr/lib/elea/trust.d",
];
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

    /// The keys of a system whose root is `root`, in [`FOLDERS`], and of `files`.
    pub fn of_system(root: &Path, files: &[PathBuf]) -> Result<Self, TrustError> {
        let folders: Vec<_> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
        Self::load(&folders, files)
    }

    /// Trusts one more key; `origin` is where it came from.
    pub fn add(&mut self, origin: &Path, key: PublicKey) {
        if !self.keys.iter().any(|(_, known)| *known == key) {
            self.keys.push((origin.to_owned(), key));
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
        let text = read(path)?;
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

/// A key file's text, bounded.
fn read(path: &Path) -> Result<String, PathError> {
    let mut text = String::new();
    fs::File::open(path)
        .at("open", path)?
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .at("read", path)?;
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
        let keys = Keys::of_system(dir.path(), std::slice::from_ref(&file)).unwrap();
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
        assert!(Keys::load(&[], &[dir.path().join("missing")]).is_err());
        assert!(
            Keys::load(&[dir.path().join("missing")], &[])
                .unwrap()
                .is_empty()
        );
    }
}
