//! Layers as files, packed on every core.

use super::Packed;
use super::cut::Part;
use super::tar::{Archive, Names};
use crate::store::threads;
use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::oci::media;
use elea_formats::tree::{DirId, LeafId, MetaRef, Node, Time, Tree};
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use flate2::{Compression, GzBuilder};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Packs every part, the largest first, and returns them in their order.
pub(super) fn layers(
    store: &Store,
    tree: &Tree,
    parts: &[Part],
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Vec<Packed>, Error> {
    fs::create_dir_all(folder).at("create", folder)?;
    progress.start(
        "pack layers",
        Some(parts.iter().map(|part| part.bytes).sum()),
        Unit::Bytes,
    );
    let mut order: Vec<(usize, &Part)> = parts.iter().enumerate().collect();
    order.sort_by_key(|(index, part)| (std::cmp::Reverse(part.bytes), *index));
    let mut packed = threads()?.install(|| {
        order
            .into_par_iter()
            .with_max_len(1)
            .map(|(index, part)| Ok((index, pack(store, tree, part, folder, progress)?)))
            .collect::<Result<Vec<_>, Error>>()
    })?;
    packed.sort_by_key(|(index, _)| *index);
    progress.finish();
    Ok(packed.into_iter().map(|(_, packed)| packed).collect())
}

fn pack(
    store: &Store,
    tree: &Tree,
    part: &Part,
    folder: &Path,
    progress: &dyn Progress,
) -> Result<Packed, Error> {
    let file = tempfile::Builder::new()
        .prefix(".layer-")
        .tempfile_in(folder)
        .at("create a file in", folder)?;
    let (diff_id, blob, size) = fill(store, tree, part, file.as_file(), progress)?;
    let path = folder.join(format!("{blob}.tar.gz"));
    persist(file, &path)?;
    Ok(Packed {
        path,
        media_type: media::LAYER_GZIP,
        blob,
        size,
        diff_id,
        title: part.title.clone(),
    })
}

/// Writes a layer: the digests of its tar file and of the packed file, and the latter's size.
fn fill(
    store: &Store,
    tree: &Tree,
    part: &Part,
    file: &File,
    progress: &dyn Progress,
) -> Result<(Digest, Digest, u64), Error> {
    let written = Counted::new(BufWriter::with_capacity(1 << 18, file));
    // No name and no time in its header: the same content gives the same bytes.
    let gzip = GzBuilder::new().write(written, Compression::new(6));
    let mut archive = Archive::new(store, Counted::new(Watched { to: gzip, progress }));
    let mut selection = Selection {
        tree,
        wanted: part.leaves.iter().copied().collect(),
        top: part.top,
        names: Names::of(tree),
    };
    selection.write(&mut archive, progress)?;
    let (diff_id, Watched { to: gzip, .. }, _) = archive.finish()?.finish();
    let written = gzip.finish().at("write", "a layer")?;
    let (blob, mut buffer, size) = written.finish();
    buffer.flush().at("write", "a layer")?;
    Ok((diff_id, blob, size))
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<File, Error> {
    let file = file
        .persist(path)
        .map_err(|e| e.error)
        .at("rename into place", path)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.set_permissions(mode).at("set the mode of", path)?;
    Ok(file)
}

/// The part of a tree that a layer holds.
struct Selection<'t> {
    tree: &'t Tree,
    wanted: HashSet<LeafId>,
    top: bool,
    names: Names,
}

impl Selection<'_> {
    /// Writes the wanted leaves and the directories above them, parents first; the topmost layer
    /// has every directory.
    fn write<W: Write>(
        &mut self,
        archive: &mut Archive<'_, W>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut needed = HashSet::new();
        self.needed(DirId::ROOT, &mut needed);
        self.directory(archive, b"/", DirId::ROOT)?;
        self.folder(archive, DirId::ROOT, &mut Vec::new(), &needed, progress)
    }

    /// Writes a directory. What changes a file changes the time of its directory, and every build sets its own
    /// time on many, so a layer with these times would be another one in each release. The topmost
    /// entry of a directory is the one that counts: only it has the time.
    fn directory<W: Write>(
        &self,
        archive: &mut Archive<'_, W>,
        path: &[u8],
        id: DirId,
    ) -> Result<(), Error> {
        let meta = self.tree.meta(id);
        let mtime = if self.top {
            meta.mtime
        } else {
            Time::default()
        };
        archive.directory(path, &MetaRef { mtime, ..meta })
    }

    /// Finds the directories that have something of this layer below them.
    fn needed(&self, folder: DirId, needed: &mut HashSet<DirId>) -> bool {
        let mut any = self.top;
        for (_, node) in self.tree.entries(folder) {
            any |= match node {
                Node::Directory(child) => self.needed(child, needed),
                Node::Leaf(id) => self.wanted.contains(&id),
            };
        }
        if any {
            needed.insert(folder);
        }
        any
    }

    fn folder<W: Write>(
        &mut self,
        archive: &mut Archive<'_, W>,
        folder: DirId,
        path: &mut Vec<u8>,
        needed: &HashSet<DirId>,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let tree = self.tree;
        for (name, node) in tree.entries(folder) {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name);
            match node {
                Node::Directory(child) if needed.contains(&child) => {
                    self.directory(archive, path, child)?;
                    self.folder(archive, child, path, needed, progress)?;
                }
                Node::Leaf(id) if self.wanted.contains(&id) => {
                    if progress.cancelled() {
                        return Err(Error::Cancelled);
                    }
                    archive.entry(path, tree, node, &mut self.names)?;
                }
                _ => {}
            }
            path.truncate(length);
        }
        Ok(())
    }
}

/// Tells the person who waits what was written.
struct Watched<'p, W> {
    to: W,
    progress: &'p dyn Progress,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.progress.advance(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Passes bytes on, counted and hashed.
struct Counted<W> {
    to: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Counted<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            hash: Sha256::new(),
            size: 0,
        }
    }

    fn finish(self) -> (Digest, W, u64) {
        (Digest::new(self.hash.finalize().into()), self.to, self.size)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
