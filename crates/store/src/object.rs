//! Objects: the contents of files, named by their fs-verity digests.

use crate::lease::Own;
use crate::store::in_parallel;
use crate::{Error, Store, room};
use elea_formats::digest::Digest;
use elea_formats::table::{Room, Slab};
use elea_formats::verity::{self, Hasher};
use elea_sys::verity::VerityError;
use elea_sys::{At as _, PathError};
use rayon::prelude::*;
use rustix::fs::FlockOperation;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

impl Store {
    /// Where an object is or would be.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        self.path().join("objects").join(digest.object_path())
    }

    /// The name of an object of this store that a folder and a file in it spell.
    pub(crate) fn object_name(&self, folder: &Path, file: &Path) -> Option<Digest> {
        let head = folder.file_name()?.to_str()?;
        let rest = file.file_name()?.to_str()?;
        (head.len() == 2).then(|| self.parse_digest(&format!("{head}{rest}")))?
    }

    /// Whether an object is there (its content is not looked at).
    pub fn has_object(&self, digest: &Digest) -> bool {
        self.object_size(digest).is_some()
    }

    /// The size in bytes of an object that is there.
    pub fn object_size(&self, digest: &Digest) -> Option<u64> {
        let status = fs::symlink_metadata(self.object_path(digest)).ok()?;
        status.is_file().then_some(status.len())
    }

    /// Opens an object; its content is not checked here.
    pub fn open_object(&self, digest: &Digest) -> Result<File, Error> {
        let path = self.object_path(digest);
        match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoObject { digest: *digest })
            }
            opened => Ok(opened.at("open", &path)?),
        }
    }

    /// An object of at most `limit` bytes whole, checked against its name.
    pub fn read_object(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, Error> {
        let (mut file, size) = self.open_bounded(digest, limit)?;
        let mut bytes = vec![0; size];
        self.fill_checked(digest, &mut file, &mut bytes)?;
        Ok(bytes)
    }

    /// The same in a room.
    pub(crate) fn read_into_room(
        &self,
        digest: &Digest,
        limit: u64,
        room: &dyn Room,
    ) -> Result<Box<dyn Slab>, Error> {
        let (mut file, size) = self.open_bounded(digest, limit)?;
        let small = if size < SMALL { None } else { room.slab(size) };
        let mut slab = small.unwrap_or_else(|| room::in_memory(size));
        self.fill_checked(digest, &mut file, slab.bytes_mut())?;
        Ok(slab)
    }

    /// Copies an object of at most `limit` bytes; that it is what its name says is known at the end.
    pub(crate) fn copy_object(
        &self,
        digest: &Digest,
        limit: u64,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        let path = self.object_path(digest);
        let (mut file, _) = self.open_bounded(digest, limit)?;
        let mut check = Check::of(digest, &file);
        let mut piece = vec![0; PIECE];
        loop {
            let length = fill(&mut file, &mut piece).at("read", &path)?;
            check.update(&piece[..length]);
            out.write_all(&piece[..length])
                .at("write a copy of", &path)?;
            if length < PIECE {
                break;
            }
        }
        check.finish(path)
    }

    fn open_bounded(&self, digest: &Digest, limit: u64) -> Result<(File, usize), Error> {
        let path = self.object_path(digest);
        let file = self.open_object(digest)?;
        let size = file.metadata().at("look at", &path)?.len();
        match usize::try_from(size) {
            Ok(narrow) if size <= limit => Ok((file, narrow)),
            _ => Err(Error::TooLarge {
                what: path.display().to_string(),
                size,
                limit,
            }),
        }
    }

    /// Reads an object that is as large as the buffer; what it is not is found by its digest.
    fn fill_checked(&self, digest: &Digest, file: &mut File, into: &mut [u8]) -> Result<(), Error> {
        let path = self.object_path(digest);
        let mut check = Check::of(digest, file);
        for piece in into.chunks_mut(PIECE) {
            let length = fill(file, piece).at("read", &path)?;
            check.update(&piece[..length]);
        }
        check.finish(path)
    }
}

/// Whether what is read of an object is what its name says.
enum Check<'d> {
    /// It is sealed under that name: the kernel gives no other bytes.
    Sealed,
    Hash(&'d Digest, Box<Hasher>),
}

impl<'d> Check<'d> {
    fn of(digest: &'d Digest, file: &File) -> Self {
        match elea_sys::verity::measure(file) {
            Ok(found) if found == digest.as_bytes() => Self::Sealed,
            _ => Self::Hash(digest, Box::new(Hasher::new(digest.algorithm()))),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Self::Hash(_, hasher) = self {
            hasher.update(bytes);
        }
    }

    fn finish(self, path: PathBuf) -> Result<(), Error> {
        let Self::Hash(digest, hasher) = self else {
            return Ok(());
        };
        let found = hasher.finish().digest;
        if found == *digest {
            return Ok(());
        }
        Err(Error::Damaged { path, found })
    }
}

/// Whether all of these are there, looked at on every core.
pub(crate) fn are_there(
    objects: impl Iterator<Item = (Digest, u64)> + Send,
    is_there: impl Fn(&Digest, u64) -> bool + Sync,
) -> Result<bool, Error> {
    let mut objects = objects;
    let first: Vec<_> = objects.by_ref().take(FEW).collect();
    if !first.iter().all(|(digest, size)| is_there(digest, *size)) {
        return Ok(false);
    }
    if first.len() < FEW {
        return Ok(true);
    }
    in_parallel(|| {
        loop {
            let some: Vec<_> = objects.by_ref().take(LOOKED).collect();
            let are_there = some.par_iter().with_min_len(FEW);
            if !are_there.all(|(digest, size)| is_there(digest, *size)) {
                return Ok(false);
            }
            if some.len() < LOOKED {
                return Ok(true);
            }
        }
    })
}

/// How often and how long a file that somebody still has open is waited for.
const BUSY_TRIES: u32 = 200;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The mode of every object.
pub(crate) const MODE: u32 = 0o444;

/// From this size in bytes an image is not read into memory.
const SMALL: usize = 4 << 20;
/// How much of an object is read at once, in bytes.
const PIECE: usize = 1 << 20;
/// As many digests are written to a lease at once.
const KEPT: usize = 1024;

/// As many objects are looked for at once.
const LOOKED: usize = 4096;
/// Threads for fewer cost more than they save.
const FEW: usize = 256;

/// How much is compared at once, in bytes.
const COMPARED: usize = 16 << 10;

/// Numbers the temporary files of this process.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Something that is being added. What it uses is in its own lease, so that nothing of it is collected
/// while it lives, and in those that its store has then.
#[derive(Debug)]
pub(crate) struct Writer<'s> {
    pub(crate) store: &'s Store,
    own: Own,
}

impl<'s> Writer<'s> {
    pub(crate) fn new(store: &'s Store) -> Result<Self, Error> {
        Ok(Self {
            store,
            own: Own::new(store, "adding to the store")?,
        })
    }

    /// Says that things are used from now on: until the end of the leases of this store no collection takes
    /// what of them is there when this returns.
    pub(crate) fn keep<D: Display>(
        &self,
        kind: &str,
        used: impl IntoIterator<Item = D>,
    ) -> Result<(), Error> {
        let mut used = used.into_iter();
        loop {
            let some: Vec<D> = used.by_ref().take(KEPT).collect();
            if some.is_empty() {
                return Ok(());
            }
            let _lock = self.store.lock(FlockOperation::LockShared)?;
            self.record(kind, &some)?;
        }
    }

    fn record(&self, kind: &str, used: &[impl Display]) -> Result<(), PathError> {
        let mut leases = vec![Arc::clone(&self.own.file)];
        if let Ok(others) = self.store.leases.lock() {
            leases.extend(others.iter().cloned());
        }
        crate::lease::record(self.store, &leases, kind, used)
    }

    /// Whether a sound-looking object is there, for those who do not have its content at hand and have said
    /// that they use it: one of another size, or one that a check found damaged, is not.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> bool {
        self.store.object_size(digest) == Some(size) && !self.store.suspects(digest)
    }

    /// Whether an object is there and has this content: reading it costs less than hashing did, and
    /// what a disk has damaged is not trusted for its name and size.
    fn holds(&self, digest: &Digest, size: u64, content: impl Read) -> Result<bool, Error> {
        self.keep("object", [*digest])?;
        Ok(self.has(digest, size)
            && self
                .store
                .open_object(digest)
                .is_ok_and(|o| same(o, content)))
    }

    /// Adds content that is in memory; what is there under its name and is not the same is replaced.
    pub(crate) fn add(&self, content: &[u8]) -> Result<Digest, Error> {
        let digest = verity::measure(self.store.algorithm(), content);
        if !self.holds(&digest, content.len() as u64, content)? {
            let mut new = NewObject::create(self)?;
            new.file.write_all(content).at("write", &new.path)?;
            new.place(&digest, content.len() as u64)?;
        }
        Ok(digest)
    }

    /// Begins an object whose content comes in pieces.
    pub(crate) fn stream(&self) -> Result<Stream<'_, 's>, Error> {
        Ok(Stream {
            new: NewObject::create(self)?,
            hasher: Hasher::new(self.store.algorithm()),
        })
    }
}

/// An object whose content comes in pieces.
#[derive(Debug)]
pub(crate) struct Stream<'w, 's> {
    new: NewObject<'w, 's>,
    hasher: Hasher,
}

impl Stream<'_, '_> {
    /// Where it is written, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.new.path.clone()
    }

    /// Gives it its name: its digest and size in bytes.
    pub(crate) fn finish(self) -> Result<(Digest, u64), Error> {
        let verity::Measured { digest, size, .. } = self.hasher.finish();
        (&self.new.file).rewind().at("read", &self.new.path)?;
        if !self.new.writer.holds(&digest, size, &self.new.file)? {
            self.new.place(&digest, size)?;
        }
        Ok((digest, size))
    }
}

impl Write for Stream<'_, '_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let length = self.new.file.write(piece)?;
        self.hasher.update(&piece[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a file has this content. One that cannot be read to its end has not.
fn same(mut file: File, mut content: impl Read) -> bool {
    let mut pieces = [vec![0; COMPARED], vec![0; COMPARED]];
    let [there, wanted] = &mut pieces;
    loop {
        let (Ok(length), Ok(expected)) = (fill(&mut file, there), fill(&mut content, wanted))
        else {
            return false;
        };
        if there[..length] != wanted[..expected] {
            return false;
        }
        if length < COMPARED {
            return true;
        }
    }
}

/// Reads until the buffer is full or nothing more comes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}

/// A file that is not yet an object; gone when dropped.
#[derive(Debug)]
struct NewObject<'w, 's> {
    writer: &'w Writer<'s>,
    path: PathBuf,
    file: File,
    placed: bool,
}

impl<'w, 's> NewObject<'w, 's> {
    fn create(writer: &'w Writer<'s>) -> Result<Self, PathError> {
        let folder = writer.store.path().join("tmp");
        let process = std::process::id();
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{process}-{number}"));
            let opened = OpenOptions::new()
                .create_new(true)
                .read(true)
                .write(true)
                .mode(MODE)
                .open(&path);
            match opened {
                // Left by a process of the same number that was killed, or in another namespace.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                opened => {
                    return Ok(Self {
                        writer,
                        file: opened.at("create", &path)?,
                        path,
                        placed: false,
                    });
                }
            }
        }
    }

    /// Gives it its name, which a lease has already.
    fn place(mut self, digest: &Digest, size: u64) -> Result<(), Error> {
        self.seal()?;
        let to = self.writer.store.object_path(digest);
        let renamed = match fs::rename(&self.path, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = to.parent().unwrap_or(&to);
                fs::create_dir_all(folder).at("create", folder)?;
                fs::rename(&self.path, &to)
            }
            renamed => renamed,
        };
        renamed.at("rename into place", &to)?;
        self.placed = true;
        self.writer.store.behind.wrote(size);
        self.writer.store.acquit(digest);
        Ok(())
    }

    /// Makes the content read-only, by fs-verity where there is one.
    fn seal(&mut self) -> Result<(), Error> {
        let store = self.writer.store;
        let (unsealable, algorithm) = (&store.unsealable, store.algorithm().number());
        if !unsealable.load(Ordering::Relaxed) {
            // Sealing needs that nobody has the file open for writing.
            self.file = File::open(&self.path).at("open", &self.path)?;
            let mut tries = 0;
            loop {
                match elea_sys::verity::enable(&self.file, algorithm) {
                    Ok(_) => break,
                    Err(VerityError::Unsupported) => {
                        unsealable.store(true, Ordering::Relaxed);
                        break;
                    }
                    // A program that another thread starts just now has a copy of what was open
                    // for writing, until it really is that program.
                    Err(VerityError::Busy) if tries < BUSY_TRIES => {
                        tries += 1;
                        std::thread::sleep(BUSY_PAUSE);
                    }
                    Err(VerityError::Io(source)) => Err(source).at("seal", &self.path)?,
                    Err(e) => Err(io::Error::other(e)).at("seal", &self.path)?,
                }
            }
        }
        // It was made with this mode, less what the process's mask took.
        let status = self.file.metadata().at("look at", &self.path)?;
        if status.permissions().mode() & 0o7777 != MODE {
            let mode = fs::Permissions::from_mode(MODE);
            self.file
                .set_permissions(mode)
                .at("set the mode of", &self.path)?;
        }
        Ok(())
    }
}

impl Drop for NewObject<'_, '_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
