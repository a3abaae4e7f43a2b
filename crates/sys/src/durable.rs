//! Writes that survive a power cut in the right order.

use crate::{At as _, PathError};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

/// Writes a file whole: temporary file beside it, fsync, rename, fsync of the folder.
/// After a power cut the path holds the old content or the new, never part of either.
pub fn write(path: &Path, content: &[u8]) -> Result<(), PathError> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .tempfile_in(folder)
        .at("create a file in", folder)?;
    file.write_all(content).at("write", path)?;
    file.as_file().sync_all().at("sync", path)?;
    file.persist(path)
        .map_err(|e| e.error)
        .at("rename into place", path)?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub fn sync_folder(folder: &Path) -> Result<(), PathError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .at("sync", folder)
}

/// Makes everything written to the file system that holds `path` durable.
pub fn sync_filesystem(path: &Path) -> Result<(), PathError> {
    let file = File::open(path).at("open", path)?;
    rustix::fs::syncfs(&file).at("sync the file system of", path)
}
