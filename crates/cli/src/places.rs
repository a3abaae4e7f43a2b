//! Trees and images by what a person writes: a transport and a place.

use crate::failure::{Code, Failure, Outcome};
use elea_formats::digest::Digest;
use elea_formats::oci::reference::Reference;
use elea_formats::tree::Tree;
use elea_store::{Origin, Store};
use elea_sys::progress::Progress;
use elea_sys::{At, durable};
use std::fs::File;
use std::path::Path;

/// A name for a new reference in the store. A digest is no name.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    match text.parse::<Reference>() {
        Ok(Reference::Store(name)) if name.parse::<Digest>().is_err() => Ok(name),
        Ok(Reference::Store(_)) => Err("a digest cannot be a name".into()),
        Ok(_) => Err("it names a place outside the store".into()),
        Err(e) => Err(e.reason),
    }
}

/// Reads a directory or tar file as a tree, or an image's tree out of the store.
pub(crate) fn tree(
    store: &Store,
    source: &Reference,
    progress: &dyn Progress,
) -> Outcome<(Tree, Origin)> {
    let tree = match source {
        Reference::Directory(path) => store.import_dir(path, progress)?,
        Reference::Tar(Some(path)) => {
            store.import_tar(File::open(path).at("open", path)?, progress)?
        }
        Reference::Tar(None) => store.import_tar(std::io::stdin().lock(), progress)?,
        Reference::Store(name) => store.tree(&store.resolve(name)?)?,
        other => {
            return Err(unsuitable(
                other,
                "dir:, tar: and names in the store are read",
            ));
        }
    };
    progress.finish();
    let origin = Origin {
        source: source.to_string(),
        ..Origin::default()
    };
    Ok((tree, origin))
}

/// A reference of a kind that a command does not take.
pub(crate) fn unsuitable(reference: &Reference, suitable: &str) -> Failure {
    Failure::new(
        Code::Usage,
        format!("`{reference}` does not fit here; {suitable}"),
    )
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives a complete temporary file its name, durably.
pub(crate) fn keep(file: tempfile::NamedTempFile, path: &Path) -> Outcome<()> {
    file.as_file().sync_all().at("sync", path)?;
    // Temporary files are private; what a person asked for is not.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file()
        .set_permissions(mode)
        .at("set the mode of", path)?;
    file.persist(path)
        .map_err(|e| e.error)
        .at("rename into place", path)?;
    Ok(durable::sync_folder(folder_of(path))?)
}
