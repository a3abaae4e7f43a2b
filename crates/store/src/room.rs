//! Where the tables of large trees are kept: in a file of the store's file system, so that a tree of any
//! size needs little memory.

use elea_formats::table::{Room, Slab};
use elea_sys::spill::{self, Region, Spill};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A file without a name in a folder, made when something is first put there.
#[derive(Debug)]
struct Spilled {
    folder: PathBuf,
    spill: OnceLock<Option<Spill>>,
}

/// Room in a file of this folder.
pub(crate) fn in_folder(folder: &Path) -> Arc<dyn Room> {
    Arc::new(Spilled {
        folder: folder.to_owned(),
        spill: OnceLock::new(),
    })
}

impl Room for Spilled {
    /// None where no file can be made: on a store that may not be written to, or a full disk.
    fn slab(&self, size: usize) -> Option<Box<dyn Slab>> {
        let spill = self.spill.get_or_init(|| Spill::new_in(&self.folder).ok());
        let region = spill.as_ref()?.region(size).ok()?;
        Some(Box::new(Piece(region)))
    }
}

/// From this size in bytes large pages are worth their room.
const LARGE: usize = 1 << 20;

/// Bytes in memory.
pub(crate) fn in_memory(size: usize) -> Box<dyn Slab> {
    match (size >= LARGE).then(|| spill::in_memory(size)) {
        Some(Ok(region)) => Box::new(Piece(region)),
        _ => Box::new(vec![0; size]),
    }
}

#[derive(Debug)]
struct Piece(Region);

impl Slab for Piece {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}
