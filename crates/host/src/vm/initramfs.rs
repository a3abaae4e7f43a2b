//! The second initramfs: what is on a physical root, with one generation.

use super::Error;
use crate::machine::MEMORY_BOOT;
use elea_formats::cpio::Writer;
use elea_formats::digest::Digest;
use elea_formats::generation::{Generation, MEMORY};
use elea_store::Store;
use elea_sys::At as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;

/// A document of the store is never larger, in bytes.
const LIMIT: u64 = 64 << 20;

/// Writes the objects, their store and the generation; returns how many bytes they are.
pub(super) fn write(
    store: &Store,
    objects: &BTreeMap<Digest, u64>,
    generation: &Generation,
    out: &mut impl Write,
) -> Result<u64, Error> {
    let mut archive = Archive {
        writer: Writer::new(),
        folders: BTreeSet::new(),
        written: 0,
        out,
    };
    let image = generation.image;
    for name in [
        "meta.json".to_owned(),
        format!("manifests/{image}/image.json"),
    ] {
        let path = store.path().join(&name);
        let text = fs::read(&path).at("read", &path)?;
        archive.file(&format!("store/{name}"), &text)?;
    }
    archive.folder("state")?;
    archive.folder(&format!("{MEMORY_BOOT}/loader/entries"))?;
    archive.folder("store/refs")?;
    archive.folder("store/images")?;
    let link = format!("../objects/{}", image.object_path());
    archive.put(|writer| writer.link(&below(&format!("store/images/{image}")), &link))?;
    for (digest, size) in objects {
        let bytes = store.read_object(digest, (*size).max(LIMIT))?;
        archive.file(&format!("store/objects/{}", digest.object_path()), &bytes)?;
    }
    let text = serde_json::to_vec_pretty(generation).unwrap_or_default();
    let name = format!("generations/{}/manifest.json", generation.number);
    archive.file(&name, &text)?;
    archive.end()
}

/// Writes an initramfs and as many zeros as the next one needs before it.
pub(super) fn pad(out: &mut impl Write, bytes: &[u8]) -> Result<u64, Error> {
    let zeros = bytes.len().next_multiple_of(512) - bytes.len();
    put(out, bytes)?;
    put(out, &[0; 512][..zeros])?;
    Ok((bytes.len() + zeros) as u64)
}

fn put(out: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    Ok(out.write_all(bytes).at("write", "the initramfs")?)
}

fn below(path: &str) -> String {
    format!("{MEMORY}/elea/{path}")
}

/// An archive of which no more than one entry is in memory.
struct Archive<'o, W> {
    writer: Writer,
    folders: BTreeSet<String>,
    written: u64,
    out: &'o mut W,
}

impl<W: Write> Archive<'_, W> {
    fn put(
        &mut self,
        add: impl FnOnce(&mut Writer) -> Result<(), elea_formats::cpio::Error>,
    ) -> Result<(), Error> {
        add(&mut self.writer)?;
        let bytes = self.writer.take();
        self.written += bytes.len() as u64;
        put(self.out, &bytes)
    }

    /// A folder and those above it, each once.
    fn folder(&mut self, path: &str) -> Result<(), Error> {
        let path = below(path);
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            if self.folders.insert(path[..end].to_owned()) {
                self.put(|writer| writer.directory(&path[..end], 0o755))?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder)?;
        }
        self.put(|writer| writer.file(&below(path), 0o644, bytes))
    }

    fn end(self) -> Result<u64, Error> {
        let rest = self.writer.finish();
        put(self.out, &rest)?;
        Ok(self.written + rest.len() as u64)
    }
}
