//! An archive as the steps of a layer, its contents as objects.
//!
//! This thread unpacks and reads headers; contents that fit into memory are hashed and written
//! by the others.

use super::tar::{Archive, Entry, Kind, broken, refuse, unread};
use super::{WHOLE, content};
use crate::Error;
use crate::layer::{Step, Steps, What};
use crate::object::{Stream, Writer};
use crate::store::{has_threads, threads};
use elea_formats::form::INLINE_LIMIT;
use elea_formats::table::Place;
use elea_formats::tree::{Content, Leaf};
use elea_sys::At as _;
use rayon::Scope;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most entries of one archive.
const MAX_ENTRIES: usize = 4 << 20;
/// The most bytes of names and attributes of one archive.
const MAX_NAMES: usize = 1 << 30;
/// The most bytes behind the end mark of an archive (GNU tar fills up to its record size).
const MAX_TRAILER: u64 = 64 << 20;
/// Bytes of content that may wait for the other threads.
const MAX_WAITING: usize = 16 << 20;

/// What a name that begins so says of lower layers (OCI image specification, `layer.md`).
const WHITEOUT: &[u8] = b".wh.";
/// What names of aufs's own begin with; one of them means something.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Whether names that begin with `.wh.` are whiteouts or only names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    Applied,
    Names,
}

/// What the threads share.
struct Waiting {
    bytes: AtomicUsize,
    done: Mutex<Vec<(Place, Result<Content, Error>)>>,
}

/// After so many entries, what other threads have done is taken in.
const TURN: usize = 256;

impl Waiting {
    /// Names the objects that are there by now.
    fn take_in(&self, steps: &mut Steps) -> Result<(), Error> {
        let done = match self.done.lock() {
            Ok(mut done) => std::mem::take(&mut *done),
            Err(_) => Vec::new(),
        };
        for (place, content) in done {
            if let Content::Object { digest, size } = content? {
                steps.set_object(place, &digest, size);
            }
        }
        Ok(())
    }
}

/// Reads a whole archive, to the last byte that stands behind it.
pub(crate) fn read<R: Read>(
    writer: &Writer<'_>,
    archive: &mut Archive<R>,
    whiteouts: Whiteouts,
) -> Result<Steps, Error> {
    let waiting = Waiting {
        bytes: AtomicUsize::new(0),
        done: Mutex::default(),
    };
    let mut steps = if has_threads() {
        rayon::in_place_scope(|scope| entries(writer, archive, whiteouts, scope, &waiting))
    } else {
        threads()?.in_place_scope(|scope| entries(writer, archive, whiteouts, scope, &waiting))
    }?;
    waiting.take_in(&mut steps)?;
    Ok(steps)
}

/// What each entry does; contents that wait for another thread have no object's name until then.
fn entries<'s, R: Read>(
    writer: &'s Writer<'_>,
    archive: &mut Archive<R>,
    whiteouts: Whiteouts,
    scope: &Scope<'s>,
    waiting: &'s Waiting,
) -> Result<Steps, Error> {
    let mut steps = Steps::new(&writer.store.room(), writer.store.algorithm());
    let mut names = 0;
    while let Some(entry) = archive.next()? {
        let attributes = &entry.meta.xattrs;
        names += entry.path.len() + 64;
        names += attributes
            .iter()
            .map(|(k, v)| k.len() + v.len())
            .sum::<usize>();
        if steps.len() >= MAX_ENTRIES || names > MAX_NAMES {
            return Err(broken(
                "it has more entries or longer names than a system has",
            ));
        }
        let mark = match whiteouts {
            Whiteouts::Applied => mark(&entry)?,
            Whiteouts::Names => Mark::Name,
        };
        let (step, late) = match mark {
            Mark::Nothing => continue,
            Mark::Step(step) => (step, None),
            Mark::Name => step_of(writer, archive, entry, waiting)?,
        };
        let place = steps.push(&step);
        if let Some(bytes) = late {
            scope.spawn(move |_| {
                let content = content(writer, &bytes);
                waiting.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                if let Ok(mut done) = waiting.done.lock() {
                    done.push((place, content));
                }
            });
        }
        if steps.len().is_multiple_of(TURN) {
            waiting.take_in(&mut steps)?;
        }
    }
    Ok(steps)
}

/// Reads what stands behind an archive's end, so that a digest covers it.
pub(crate) fn drain(from: &mut impl Read) -> Result<(), Error> {
    let passed = io::copy(&mut from.take(MAX_TRAILER + 1), &mut io::sink());
    if passed.map_err(|e| unread(&e))? > MAX_TRAILER {
        return Err(broken("too much stands behind its end"));
    }
    Ok(())
}

/// What a name says of lower layers.
enum Mark {
    /// Something is gone.
    Step(Step),
    /// It is one of aufs's own names, and says nothing.
    Nothing,
    /// It is a name.
    Name,
}

fn mark(entry: &Entry) -> Result<Mark, Error> {
    let (folder, name) = split(&entry.path);
    if name == OPAQUE {
        return Ok(Mark::Step(Step {
            path: folder.to_vec(),
            what: What::Opaque,
        }));
    }
    if name.starts_with(AUFS) {
        return Ok(Mark::Nothing);
    }
    let Some(hidden) = name.strip_prefix(WHITEOUT) else {
        return Ok(Mark::Name);
    };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(refuse(&entry.path, "is a whiteout of nothing"));
    }
    let mut path = folder.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(hidden);
    Ok(Mark::Step(Step {
        path,
        what: What::Whiteout,
    }))
}

/// The folder and the name of a path.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// What an entry does, and the content that another thread is to make an object of.
fn step_of<R: Read>(
    writer: &Writer<'_>,
    archive: &mut Archive<R>,
    entry: Entry,
    waiting: &Waiting,
) -> Result<(Step, Option<Vec<u8>>), Error> {
    let Entry { path, meta, kind } = entry;
    let mut late = None;
    let content = match kind {
        Kind::Directory => {
            let what = What::Directory(meta);
            return Ok((Step { path, what }, None));
        }
        Kind::Link(target) => {
            let what = What::Link(target);
            return Ok((Step { path, what }, None));
        }
        Kind::Other(content) => content,
        Kind::File(size) if size > WHOLE => {
            let (digest, size) = large(writer, size, archive)?.finish()?;
            Content::Object { digest, size }
        }
        Kind::File(size) => {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            archive.read_to_end(&mut bytes).map_err(|e| unread(&e))?;
            let length = bytes.len();
            if length <= INLINE_LIMIT
                || waiting.bytes.load(Ordering::Relaxed) + length > MAX_WAITING
            {
                content(writer, &bytes)?
            } else {
                waiting.bytes.fetch_add(length, Ordering::Relaxed);
                late = Some(bytes);
                Content::Object {
                    digest: writer.store.algorithm().zeros(),
                    size,
                }
            }
        }
    };
    let what = What::Leaf(Leaf { meta, content });
    Ok((Step { path, what }, late))
}

/// Writes a content of `size` bytes as it comes; it has no name yet.
pub(crate) fn large<'w, 's>(
    writer: &'w Writer<'s>,
    size: u64,
    from: &mut impl Read,
) -> Result<Stream<'w, 's>, Error> {
    check_room(writer, size)?;
    let mut stream = writer.stream()?;
    let to = stream.path();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match from.read(&mut buffer).map_err(|e| unread(&e))? {
            0 => return Ok(stream),
            length => io::Write::write_all(&mut stream, &buffer[..length]).at("write", &to)?,
        }
    }
}

/// Whether a large file fits on the store's file system, before half of it is written.
fn check_room(writer: &Writer<'_>, needed: u64) -> Result<(), Error> {
    let path = writer.store.path();
    let status = rustix::fs::statvfs(path).at("look at the free space of", path)?;
    let available = status.f_bavail.saturating_mul(status.f_frsize);
    if needed > available {
        return Err(Error::NoSpace {
            path: path.to_owned(),
            needed,
            available,
        });
    }
    Ok(())
}
