//! Owners of a whole tree, changed from one set of numbers to another.

use elea_sys::{At as _, PathError};
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

/// The kernel drops it when the owner changes.
const CAPABILITY: &str = "security.capability";

/// Changes the owners below a folder; modes and capabilities stay.
pub(in crate::finish) fn tree(
    folder: &Path,
    users: &BTreeMap<u32, u32>,
    groups: &BTreeMap<u32, u32>,
) -> Result<(), PathError> {
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        let meta = fs::symlink_metadata(&path).at("look at", &path)?;
        let owner = (
            users.get(&meta.uid()).copied(),
            groups.get(&meta.gid()).copied(),
        );
        if owner != (None, None) {
            change(&path, &meta, owner)?;
        }
        if meta.is_dir() {
            tree(&path, users, groups)?;
        }
    }
    Ok(())
}

fn change(
    path: &Path,
    meta: &fs::Metadata,
    (uid, gid): (Option<u32>, Option<u32>),
) -> Result<(), PathError> {
    let mut capability = [0; 64];
    let length = if meta.is_file() {
        rustix::fs::lgetxattr(path, CAPABILITY, &mut capability).unwrap_or(0)
    } else {
        0
    };
    lchown(path, uid, gid).at("own", path)?;
    if !meta.is_symlink() {
        let mode = fs::Permissions::from_mode(meta.mode() & 0o7777);
        fs::set_permissions(path, mode).at("set the mode of", path)?;
    }
    if length > 0 {
        rustix::fs::lsetxattr(path, CAPABILITY, &capability[..length], XattrFlags::empty())
            .at("set the capabilities of", path)?;
    }
    Ok(())
}
