//! Writes that survive a power cut in the right order.

use crate::{At as _, PathError};
use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes a file whole: temporary file beside it, fsync, rename, fsync of the folder.
/// After a power cut the path holds the old content or the new, never part of either.
/// Everybody may read it, as far as the umask lets them.
pub fn write(path: &Path, content: &[u8]) -> Result<(), PathError> {
    write_with(path, content, 0o644, |_| Ok(()))
}

/// The same for what its owner alone may read: logs, evidence.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), PathError> {
    write_with(path, content, 0o600, |_| Ok(()))
}

/// The same for what everybody may read, whatever the umask says.
pub fn write_public(path: &Path, content: &[u8]) -> Result<(), PathError> {
    write_with(path, content, 0o644, |file| {
        file.set_permissions(Permissions::from_mode(0o644))
    })
}

fn write_with(
    path: &Path,
    content: &[u8],
    mode: u32,
    settle: impl Fn(&File) -> io::Result<()>,
) -> Result<(), PathError> {
    let folder = match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .at("create a file in", folder)?;
    file.write_all(content).at("write", path)?;
    settle(file.as_file()).at("set the mode of", path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_has_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let [path, private, public] = ["a", "b", "c"].map(|name| dir.path().join(name));
        write(&path, b"old and long").unwrap();
        write(&path, b"new").unwrap();
        write_private(&private, b"x").unwrap();
        write_public(&public, b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&private), 0o600);
        assert_eq!(mode(&public), 0o644);
        // The umask of whoever runs the test may take more.
        assert_eq!(mode(&path) & 0o600, 0o600);
        assert_eq!(mode(&path) & 0o133, 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
