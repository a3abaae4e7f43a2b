//! Elea's own programs, `elea` and `elea-initrd`, as they go into every image.
//!
//! They are large, and are the same from build to build. On a machine that runs an image of Elea's, that image says what its
//! programs are (`docs/formats/source.md`), so that building its config again need not read them.

use crate::debian::cache;
use crate::lock::{Error, Options};
use crate::source::{BUILDER, Builder, HERE};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::tree::Content;
use elea_store::{Draft, Store};
use elea_sys::{At as _, PathError};
use rustix::fs::{StatVfsMountFlags, statvfs};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where an image has them.
pub(crate) const ELEA: &str = "usr/bin/elea";
pub(crate) const INITRD: &str = "usr/lib/elea/elea-initrd";

/// What an image says of one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// The fs-verity digest of its bytes: the object's name.
    pub object: Digest,
    /// Bytes.
    pub size: u64,
}

/// What tells that a file is the one that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    times: [(i64, i64); 2],
}

impl State {
    fn of(path: &Path) -> Result<Self, PathError> {
        let meta = fs::metadata(path).at("look at", path)?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            times: [
                (meta.ctime(), meta.ctime_nsec()),
                (meta.mtime(), meta.mtime_nsec()),
            ],
        })
    }
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// Where the image has it.
    pub(crate) place: &'static str,
    pub(crate) sha256: Sha256,
    /// What the image of this system says of it, if it is that image's.
    said: Option<Said>,
    state: State,
}

/// Both of them.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) elea: Program,
    pub(crate) initrd: Program,
}

impl Programs {
    /// Those that a build is to take.
    pub(crate) fn of(options: &Options) -> Result<Self, PathError> {
        Self::from(options, Path::new(HERE))
    }

    /// The same; `source` is the folder in which an image says what it has.
    fn from(options: &Options, source: &Path) -> Result<Self, PathError> {
        let builder = Here::read(source);
        Ok(Self {
            elea: Program::of(&options.elea, ELEA, builder.as_ref())?,
            initrd: Program::of(&options.initrd, INITRD, builder.as_ref())?,
        })
    }

    /// Whether neither was written to or replaced since.
    pub(crate) fn are_same(&self) -> Result<bool, PathError> {
        Ok(self.elea.is_same()? && self.initrd.is_same()?)
    }

    pub(crate) fn both(&self) -> [&Program; 2] {
        [&self.elea, &self.initrd]
    }
}

impl Program {
    fn of(path: &Path, place: &'static str, here: Option<&Here>) -> Result<Self, PathError> {
        let state = State::of(path)?;
        let said = here.and_then(|here| here.said(path, place, &state));
        let sha256 = match said {
            Some(said) => said.sha256,
            None => cache::sha256(path)?,
        };
        Ok(Self {
            path: path.to_owned(),
            place,
            sha256,
            said: said.cloned(),
            state,
        })
    }

    fn is_same(&self) -> Result<bool, PathError> {
        Ok(State::of(&self.path)? == self.state)
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, PathError> {
        fs::read(&self.path).at("read", &self.path)
    }

    /// Its content, in the store from now on.
    pub(crate) fn content(&self, store: &Store, draft: &Draft<'_>) -> Result<Content, Error> {
        if let Some(said) = &self.said
            && said.object.algorithm() == store.algorithm()
            && store.has_object(&said.object)
        {
            let (digest, size) = (said.object, said.size);
            return Ok(Content::Object { digest, size });
        }
        Ok(draft.content(&self.read()?)?)
    }
}

/// The image that runs, as far as it says what its programs are.
struct Here {
    builder: Builder,
    device: u64,
}

impl Here {
    /// None where no such image runs. A file that could be written to says nothing of others.
    fn read(source: &Path) -> Option<Self> {
        let path = source.join(BUILDER);
        if !is_sealed(&path) {
            return None;
        }
        let builder = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let device = fs::metadata(&path).ok()?.dev();
        Some(Self { builder, device })
    }

    /// What it says of the file that is at its place: of the same mount, not of one that lies over it.
    fn said(&self, path: &Path, place: &str, state: &State) -> Option<&Said> {
        let is_there = path.strip_prefix("/").is_ok_and(|p| p == Path::new(place));
        let said = self.builder.programs.get(place)?;
        let is_its = is_there && state.device == self.device && state.size == said.size;
        is_its.then_some(said)
    }
}

/// Whether nobody can write to it: the file system that it is on is mounted so.
fn is_sealed(path: &Path) -> bool {
    statvfs(path).is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const BYTES: &[u8] = &[7; 5000];

    /// A folder that looks as a system's root does, with the two programs in it and what an image says of them.
    fn here(folder: &Path, said: &Said) -> Here {
        let path = folder.join("program");
        fs::write(&path, BYTES).unwrap();
        let builder = Builder {
            programs: BTreeMap::from([(place(folder), said.clone())]),
            ..Builder::this()
        };
        let device = fs::metadata(&path).unwrap().dev();
        Here { builder, device }
    }

    /// The place at which the file stands, as an image would name it.
    fn place(folder: &Path) -> String {
        let path = folder.join("program");
        path.strip_prefix("/").unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn what_the_image_says_of_its_program_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let draft = store.draft(store.empty_tree()).unwrap();
        let Content::Object { digest, size } = draft.content(BYTES).unwrap() else {
            panic!("it is no object")
        };
        let said = Said {
            // Of something else, so that it is seen who was asked.
            sha256: Sha256::of(b"said"),
            object: digest,
            size,
        };
        let here = here(folder.path(), &said);
        let path = folder.path().join("program");
        let place: &'static str = place(folder.path()).leak();
        let program = Program::of(&path, place, Some(&here)).unwrap();
        assert_eq!(program.sha256, said.sha256);
        fs::write(&path, vec![8; BYTES.len()]).unwrap();
        assert!(!program.is_same().unwrap());
        let content = program.content(&store, &draft).unwrap();
        assert_eq!(content, Content::Object { digest, size });

        // Without an image that says it, at another place, of another size or device, it is read.
        let read = Sha256::of(&vec![8; BYTES.len()]);
        let of = |place, here| Program::of(&path, place, here).unwrap().sha256;
        assert_eq!(of(place, None), read);
        assert_eq!(of("usr/bin/elea", Some(&here)), read);
        let other = Here {
            device: here.device + 1,
            builder: here.builder.clone(),
        };
        assert_eq!(of(place, Some(&other)), read);
        fs::write(&path, b"shorter").unwrap();
        assert_eq!(of(place, Some(&here)), Sha256::of(b"shorter"));
    }

    #[test]
    fn a_folder_that_can_be_written_to_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&Builder::this()).unwrap();
        fs::write(folder.path().join(BUILDER), text).unwrap();
        assert!(Here::read(folder.path()).is_none());
        assert!(Here::read(&folder.path().join("absent")).is_none());
    }

    #[test]
    fn a_program_that_the_store_has_not_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let draft = store.draft(store.empty_tree()).unwrap();
        let said = Said {
            sha256: Sha256::of(BYTES),
            object: Sha256::of(b"gone").into(),
            size: BYTES.len() as u64,
        };
        let here = here(folder.path(), &said);
        let place: &'static str = place(folder.path()).leak();
        let path = folder.path().join("program");
        let program = Program::of(&path, place, Some(&here)).unwrap();
        let content = program.content(&store, &draft).unwrap();
        assert!(matches!(content, Content::Object { digest, .. } if digest != said.object));
    }
}
