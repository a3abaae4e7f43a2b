//! The folder: made, opened, locked.

use crate::fsck::is_unfinished;
use crate::object::Writer;
use crate::{Error, meta};
use elea_formats::digest::{Algorithm, Digest};
use elea_sys::behind::Behind;
use elea_sys::{At as _, PathError, durable};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// The folders of a store.
const FOLDERS: [&str; 7] = [
    "objects",
    "images",
    "manifests",
    "manifests/layers",
    "refs",
    "leases",
    "tmp",
];

/// A store. Clones share their leases.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    algorithm: Algorithm,
    /// Features that allow reading alone.
    unknown: Arc<Vec<String>>,
    /// The files of the leases that live in this process.
    pub(crate) leases: Arc<Mutex<Vec<Arc<File>>>>,
    /// What is written goes to the disk meanwhile.
    pub(crate) behind: Arc<Behind>,
    /// Whether the file system has no fs-verity, once that is known.
    pub(crate) unsealable: Arc<AtomicBool>,
    /// Objects that a check found damaged and nobody has replaced yet.
    suspects: Arc<Mutex<HashSet<Digest>>>,
}

impl Store {
    /// Makes a store with SHA-256 in a folder that is empty or absent, or goes on where somebody died who
    /// began to.
    pub fn init(path: &Path) -> Result<Self, Error> {
        Self::init_with(path, Algorithm::Sha256)
    }

    /// The same with objects and images that are named by this algorithm.
    pub fn init_with(path: &Path, algorithm: Algorithm) -> Result<Self, Error> {
        fs::create_dir_all(path).at("create", path)?;
        for entry in fs::read_dir(path).at("read", path)? {
            if !is_begun(&entry.at("read", path)?) {
                return Err(Error::NotEmpty {
                    path: path.to_owned(),
                });
            }
        }
        for folder in FOLDERS {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).at("create", &folder)?;
        }
        try_links(path)?;
        // The file that makes it a store comes last.
        durable::write_public(&path.join(meta::NAME), meta::encode(algorithm).as_bytes())?;
        Self::open(path)
    }

    /// Opens a store; one with feature bits that are not known is refused.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = path.join(meta::NAME);
        let mut bytes = Vec::new();
        match File::open(&file) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(Error::NotAStore {
                    path: path.to_owned(),
                });
            }
            opened => opened.at("open", &file)?,
        }
        .take(meta::MAX)
        .read_to_end(&mut bytes)
        .at("read", &file)?;
        let (algorithm, unknown) = meta::parse(path, &bytes)?;
        Ok(Self {
            path: path.to_owned(),
            algorithm,
            unknown: Arc::new(unknown),
            leases: Arc::default(),
            behind: Arc::new(Behind::new(path)),
            unsealable: Arc::default(),
            suspects: Arc::default(),
        })
    }

    /// Makes all that was added durable, and with it what is known of files and layers. Sealing an image does so, and
    /// letting go of the store's last clone.
    pub fn sync(&self) -> Result<(), Error> {
        Ok(self.behind.sync()?)
    }

    /// Opens a store and makes it if it is absent.
    pub fn open_or_init(path: &Path) -> Result<Self, Error> {
        match Self::open(path) {
            Err(Error::NotAStore { .. }) => Self::init(path),
            result => result,
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its objects and images are named by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Refuses a store that names its objects by another algorithm than what is to use it.
    pub fn require(&self, wanted: Algorithm) -> Result<(), Error> {
        if self.algorithm == wanted {
            return Ok(());
        }
        Err(Error::Algorithm {
            path: self.path.clone(),
            found: self.algorithm,
            wanted,
        })
    }

    /// The object or image of this store that a text names.
    pub(crate) fn parse_digest(&self, text: &str) -> Option<Digest> {
        let digest: Digest = text.parse().ok()?;
        (digest.algorithm() == self.algorithm).then_some(digest)
    }

    /// The same store for a repair: these objects count as absent until they were written anew,
    /// so whatever comes by with their content replaces them.
    #[must_use]
    pub fn suspecting(&self, objects: impl IntoIterator<Item = Digest>) -> Self {
        Self {
            suspects: Arc::new(Mutex::new(objects.into_iter().collect())),
            ..self.clone()
        }
    }

    /// Whether an object is known to be damaged.
    pub(crate) fn suspects(&self, digest: &Digest) -> bool {
        self.suspects.lock().is_ok_and(|all| all.contains(digest))
    }

    /// Says that an object was written anew.
    pub(crate) fn acquit(&self, digest: &Digest) {
        if let Ok(mut all) = self.suspects.lock() {
            all.remove(digest);
        }
    }

    /// Refuses a store that this process may not write to: read-only media, another one's folder, a newer
    /// program's store.
    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        self.check_known()?;
        let folder = self.path.join("tmp");
        let (access, flags) = (Access::WRITE_OK, AtFlags::EACCESS);
        match rustix::fs::accessat(CWD, &folder, access, flags) {
            Err(e @ (Errno::ROFS | Errno::ACCESS)) => Err(Error::NotWritable {
                path: self.path.clone(),
                source: e.into(),
            }),
            // What else is wrong is said where it is met.
            _ => Ok(()),
        }
    }

    /// Refuses a store that only a newer program may write.
    pub(crate) fn check_known(&self) -> Result<(), Error> {
        if self.unknown.is_empty() {
            return Ok(());
        }
        Err(Error::ReadOnly {
            path: self.path.clone(),
            features: self.unknown.to_vec(),
        })
    }

    /// Begins to add something: no collection takes what it uses until the writer is gone.
    pub(crate) fn writer(&self) -> Result<Writer<'_>, Error> {
        self.make_folders()?;
        Writer::new(self)
    }

    /// Makes the folders that a power cut or a person has taken; refuses a store that cannot be written to.
    pub(crate) fn make_folders(&self) -> Result<(), Error> {
        self.check_writable()?;
        for folder in FOLDERS {
            let folder = self.path.join(folder);
            if !folder.is_dir() {
                fs::create_dir_all(&folder).at("create", &folder)?;
            }
        }
        Ok(())
    }

    /// Locks the folder, for a moment: shared to say what is used, exclusive to take away. (Programs of composefs
    /// lock in the same way.)
    pub(crate) fn lock(&self, operation: FlockOperation) -> Result<File, PathError> {
        let file = File::open(&self.path).at("open", &self.path)?;
        rustix::fs::flock(&file, operation).at("lock", &self.path)?;
        Ok(file)
    }
}

/// Refuses a file system that has no symbolic links: FAT and its like.
fn try_links(store: &Path) -> Result<(), Error> {
    let link = store.join(format!("tmp/{}-links", std::process::id()));
    let _ = fs::remove_file(&link);
    match rustix::fs::symlink("x", &link) {
        Err(Errno::PERM | Errno::NOSYS | Errno::NOTSUP) => Err(Error::NoLinks {
            path: store.to_owned(),
        }),
        made => {
            made.at("create", &link)?;
            fs::remove_file(&link).at("remove", &link)?;
            Ok(())
        }
    }
}

/// Whether this may stand in a folder that is to become a store: what a power cut leaves of one whose
/// `meta.json` was not durable yet. Nothing is named in it, and no file is anybody else's.
fn is_begun(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let Some(name) = name.to_str() else {
        return false;
    };
    let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
    match name {
        "lost+found" => true,
        "images" | "refs" | "manifests" => is_folder && holds_only(&entry.path(), &|_| false),
        "objects" | "leases" | "tmp" | "partial" | "cache" => {
            is_folder && holds_only(&entry.path(), &is_ours)
        }
        _ => is_unfinished(Path::new(name)),
    }
}

/// Whether all files below a folder have such names.
fn holds_only(folder: &Path, may_be: &dyn Fn(&str) -> bool) -> bool {
    let fits = |entry: io::Result<fs::DirEntry>| {
        let Ok(entry) = entry else { return false };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => holds_only(&entry.path(), may_be),
            _ => entry.file_name().to_str().is_some_and(may_be),
        }
    };
    fs::read_dir(folder).is_ok_and(|mut entries| entries.all(fits))
}

/// Whether a file is named by a digest, or by a process and what it numbers.
fn is_ours(name: &str) -> bool {
    let is_hex = name.len() > 60 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let is_numbered = name
        .split_once('-')
        .is_some_and(|(process, _)| process.parse::<u32>().is_ok());
    is_hex || is_numbered
}

/// Does something with every core: in the caller's threads if it has brought some, else in threads of one
/// operation. A process's lasting ones keep the mounts that it had when they were
/// started, and Elea writes from a mount namespace of its own.
pub(crate) fn in_parallel<T: Send>(
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    if has_threads() {
        return work();
    }
    threads()?.install(work)
}

/// Whether the caller has brought threads.
pub(crate) fn has_threads() -> bool {
    rayon::current_thread_index().is_some()
}

/// Threads for one operation.
pub(crate) fn threads() -> Result<rayon::ThreadPool, Error> {
    Ok(rayon::ThreadPoolBuilder::new()
        .thread_name(|n| format!("store-{n}"))
        .build()?)
}

/// Writes a file that is believed without a look at the objects that it tells of: it gets its name at the next sync,
/// when they are durable. The name need not be.
pub(crate) fn write_after_all(
    store: &Store,
    at: PathBuf,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), PathError> {
    let folder = store.path().join("tmp");
    let mut file = tempfile::Builder::new()
        .prefix(&format!("{}-", std::process::id()))
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(&folder)
        .at("create a file in", &folder)?;
    write(file.as_file_mut()).at("write", &at)?;
    store.behind.name_after(file, at);
    Ok(())
}

/// The names in a folder, sorted; none if it is absent.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, PathError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("read", folder)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.at("read", folder)?.path());
    }
    paths.sort();
    Ok(paths)
}
