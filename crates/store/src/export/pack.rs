//! Layers as files, packed on every core.

use super::chunks::{self, Chunks};
use super::cut::Part;
use super::tar::{Archive, Head, Names, Out};
use super::{Compression, Packed};
use crate::store::in_parallel;
use crate::{Error, Store};
use elea_formats::chunked::Position;
use elea_formats::digest::Sha256;
use elea_formats::tree::{DirId, MetaRef, Node, Time, Tree};
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use rayon::prelude::*;
use sha2::Digest as _;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Packs every part, the largest first, and returns them in their order.
pub(super) fn layers(
    store: &Store,
    tree: &Tree,
    parts: &[Part],
    compression: Compression,
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
    let mut packed = in_parallel(|| {
        order
            .into_par_iter()
            .with_max_len(1)
            .map(|(index, part)| {
                let job = Job {
                    store,
                    tree,
                    part,
                    progress,
                };
                Ok((index, job.pack(compression, folder)?))
            })
            .collect::<Result<Vec<_>, Error>>()
    })?;
    packed.sort_by_key(|(index, _)| *index);
    progress.finish();
    Ok(packed.into_iter().map(|(_, packed)| packed).collect())
}

/// A layer to be packed.
struct Job<'a> {
    store: &'a Store,
    tree: &'a Tree,
    part: &'a Part,
    progress: &'a dyn Progress,
}

impl Job<'_> {
    fn pack(&self, compression: Compression, folder: &Path) -> Result<Packed, Error> {
        let file = tempfile::Builder::new()
            .prefix(".layer-")
            .tempfile_in(folder)
            .at("create a file in", folder)?;
        let written = Counted::new(BufWriter::with_capacity(1 << 18, file.as_file()));
        let mut annotations = BTreeMap::new();
        let (diff_id, written) = match compression {
            Compression::Gzip => {
                // No name and no time in its header: the same content gives the same bytes.
                let gzip = GzBuilder::new().write(written, flate2::Compression::new(6));
                let (diff_id, gzip) = self.fill(gzip)?;
                (diff_id, gzip.finish().at("write", "a layer")?)
            }
            Compression::Zstd => {
                let zstd = zstd::Encoder::new(written, chunks::LEVEL).at("write", "a layer")?;
                let (diff_id, zstd) = self.fill(zstd)?;
                (diff_id, zstd.finish().at("write", "a layer")?)
            }
            Compression::Chunked => {
                let chunks = Chunks::new(written).at("write", "a layer")?;
                let (diff_id, chunks) = self.fill(chunks)?;
                let (written, position) = chunks.finish().at("write", "a layer")?;
                annotations.extend(position.iter().flat_map(Position::annotations));
                (diff_id, written)
            }
        };
        let (blob, mut buffer, size) = written.finish();
        buffer.flush().at("write", "a layer")?;
        drop(buffer);
        let path = folder.join(blob.to_string());
        persist(file, &path)?;
        Ok(Packed {
            path,
            media_type: compression.media_type(),
            annotations,
            blob,
            size,
            diff_id,
            title: self.part.title.clone(),
        })
    }

    /// Writes the tar file of a layer into what packs it: its digest, and what packed it.
    fn fill<W: Out>(&self, to: W) -> Result<(Sha256, W), Error> {
        let progress = self.progress;
        let mut archive = Archive::new(self.store, Counted::new(Watched { to, progress }));
        let mut selection = Selection {
            tree: self.tree,
            wanted: Vec::new(),
            top: self.part.top,
            names: Names::of(self.tree),
        };
        selection.wanted.resize(selection.names.leaves(), false);
        for id in &self.part.leaves {
            selection.wanted[id.index()] = true;
        }
        selection.write(&mut archive, progress)?;
        let (diff_id, Watched { to, .. }, _) = archive.finish()?.finish();
        Ok((diff_id, to))
    }
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
    /// Of each leaf, whether it is in the layer.
    wanted: Vec<bool>,
    top: bool,
    names: Names,
}

impl Selection<'_> {
    /// Writes the wanted leaves and the directories above them, parents first; the topmost layer
    /// has every directory.
    fn write<W: Out>(
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
    fn directory<W: Out>(
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
                Node::Leaf(id) => self.wanted[id.index()],
            };
        }
        if any {
            needed.insert(folder);
        }
        any
    }

    fn folder<W: Out>(
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
                Node::Leaf(id) if self.wanted[id.index()] => {
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

// One stream: where contents begin makes no difference.
impl<W: Write> Out for GzEncoder<W> {}
impl<W: Write> Out for zstd::Encoder<'_, W> {}

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

impl<W: Out> Out for Watched<'_, W> {
    fn content(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.to.content(head)
    }

    fn between(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.to.between(head)
    }
}

/// Passes bytes on, counted and hashed.
#[derive(Debug)]
pub(super) struct Counted<W> {
    to: W,
    hash: sha2::Sha256,
    pub(super) size: u64,
}

impl<W: Write> Counted<W> {
    pub(super) fn new(to: W) -> Self {
        Self {
            to,
            hash: sha2::Sha256::new(),
            size: 0,
        }
    }

    /// Where it goes.
    pub(super) fn get_ref(&self) -> &W {
        &self.to
    }

    /// The digest of what came, where it went, and its size in bytes.
    pub(super) fn finish(self) -> (Sha256, W, u64) {
        (Sha256::new(self.hash.finalize().into()), self.to, self.size)
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

impl<W: Out> Out for Counted<W> {
    fn content(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.to.content(head)
    }

    fn between(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.to.between(head)
    }
}
