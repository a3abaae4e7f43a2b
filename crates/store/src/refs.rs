//! References: names that people give to images, and what keeps images.
//!
//! A reference is a link in `refs/` to the image's link in `images/`; its name is
//! percent-encoded, so that any name is one file.

use crate::store::list;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_sys::{At as _, durable};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

impl Store {
    /// What a person calls an image: a reference, a digest, or the beginning (8 digits or more) of one digest.
    pub fn resolve(&self, name: &str) -> Result<Digest, Error> {
        let none = || Error::NoImage {
            name: name.chars().take(200).collect(),
        };
        if let Some(file) = encode(name)
            && let Some(digest) = self.target(&self.path().join("refs").join(file))?
        {
            return Ok(digest);
        }
        let hex = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        if !(8..=2 * self.algorithm().bytes()).contains(&name.len()) || !name.bytes().all(hex) {
            return Err(none());
        }
        let mut found = self.image_names()?;
        found.retain(|digest| digest.to_string().starts_with(name));
        match found.as_slice() {
            [] => Err(none()),
            [digest] => Ok(*digest),
            several => Err(Error::Ambiguous {
                name: name.to_owned(),
                count: several.len(),
            }),
        }
    }

    /// All references.
    pub fn refs(&self) -> Result<BTreeMap<String, Digest>, Error> {
        let mut refs = BTreeMap::new();
        for path in list(&self.path().join("refs"))? {
            let file = path.file_name().unwrap_or_default();
            if let Some(name) = decode(file.as_bytes())
                && let Some(digest) = self.target(&path)?
            {
                refs.insert(name, digest);
            }
        }
        Ok(refs)
    }

    /// Points a reference at an image, durably.
    pub fn set_ref(&self, name: &str, digest: &Digest) -> Result<(), Error> {
        let file = encode(name)
            .filter(|_| name.parse::<Digest>().is_err())
            .ok_or_else(|| Error::RefName {
                name: name.chars().take(200).collect(),
            })?;
        self.make_folders()?;
        // The image stays until the reference says so.
        let _lock = self.lock(FlockOperation::LockShared)?;
        if !self.has_image(digest) {
            return Err(Error::NoImage {
                name: digest.to_string(),
            });
        }
        let to = PathBuf::from(format!("../images/{digest}"));
        // Whoever made the image's own name may not have come to this.
        durable::sync_folder(&self.path().join("images"))?;
        let folder = self.path().join("refs");
        let at = folder.join(file);
        if fs::read_link(&at).is_ok_and(|there| there == to) {
            // Nor may whoever wrote this one.
            durable::sync_folder(&folder)?;
        } else {
            link(self, &to, &at)?;
        }
        Ok(())
    }

    /// Takes a reference away; false if there was none.
    pub fn remove_ref(&self, name: &str) -> Result<bool, Error> {
        self.check_writable()?;
        let Some(file) = encode(name) else {
            return Ok(false);
        };
        let folder = self.path().join("refs");
        let path = folder.join(file);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            removed => removed.at("remove", &path)?,
        }
        durable::sync_folder(&folder)?;
        Ok(true)
    }

    /// The image at the end of a link's target; none if there is no link, or a broken one.
    pub(crate) fn target(&self, path: &Path) -> Result<Option<Digest>, Error> {
        match fs::read_link(path) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) =>
            {
                Ok(None)
            }
            read => Ok(self.image_name(&read.at("read", path)?)),
        }
    }
}

/// Numbers the new links of this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Makes or replaces a link, durably.
pub(crate) fn link(store: &Store, to: &Path, at: &Path) -> Result<(), Error> {
    let folder = at.parent().unwrap_or(at);
    // Beside its place, under a name that no link has; a collection takes such for leavings.
    let lock = store.lock(FlockOperation::LockShared)?;
    let process = std::process::id();
    let new = loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let new = folder.join(format!(".new-{process}-{number}"));
        match symlink(to, &new) {
            // Left by a process of the same number that was killed.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                made.at("create", &new)?;
                break new;
            }
        }
    };
    fs::rename(&new, at).at("rename into place", at)?;
    drop(lock);
    durable::sync_folder(folder)?;
    Ok(())
}

/// Whether a file in `refs/` is named as a reference is.
pub(crate) fn is_reference(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| decode(name.as_bytes()).is_some())
}

/// The file name of a reference; none if it cannot be one.
fn encode(name: &str) -> Option<String> {
    if name.is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
        return None;
    }
    let mut out = String::new();
    for (i, byte) in name.bytes().enumerate() {
        match byte {
            b'.' if i == 0 => out.push_str("%2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                out.push(char::from(byte));
            }
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02x}");
            }
        }
    }
    (out.len() <= 240).then_some(out)
}

/// The name of a reference; none if the file is not one.
fn decode(file: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = file;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // One name, one file.
    (encode(&name)?.as_bytes() == file).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_file_each() {
        for name in [
            "hello",
            "localhost:5000/a/b:2.0",
            ".hidden",
            "%2e",
            "größe",
            "a b",
        ] {
            let file = encode(name).unwrap();
            assert!(!file.contains('/') && !file.starts_with('.'), "{file}");
            assert_eq!(decode(file.as_bytes()).as_deref(), Some(name));
        }
        for name in ["", "a\nb", &"x".repeat(201), &"/".repeat(100)] {
            assert_eq!(encode(name), None, "{name}");
        }
        for file in ["%2E", "%61", ".new-1-x", "%", "%zz", "a/b"] {
            assert_eq!(decode(file.as_bytes()), None, "{file}");
        }
    }
}
