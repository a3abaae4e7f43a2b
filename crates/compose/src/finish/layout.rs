//! The folders at the top of an image.

use super::tree::{ROOT, Tree};
use crate::lock::Error;

/// Mount points, and folders that are the machine's: empty in an image. Mode of each.
const EMPTY: [(&str, u32); 10] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("efi", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("sysroot", 0o755),
    ("tmp", 0o1777),
];

/// Makes them so.
pub(super) fn settle(tree: &mut Tree<'_>) -> Result<(), Error> {
    for (path, mode) in EMPTY {
        tree.empty(path);
        tree.folder(path, mode, ROOT)?;
    }
    for path in ["opt", "srv", "usr/local"] {
        tree.folder(path, 0o755, ROOT)?;
    }
    // The link is in the image, what it leads to on the disk.
    tree.link("sysroot/elea", "elea")?;
    Ok(())
}
