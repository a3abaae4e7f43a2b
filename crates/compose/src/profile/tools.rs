//! Another system's apt, for a machine that has none: an image that the config names, in the form of a profile, so that
//! its programs are run as those of a profile are.

use super::{install, places, record};
use crate::debian::sources;
use crate::lock::{Error, Options};
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::{Location, Reference, Target};
use elea_net::Registries;
use elea_store::trust::{Keys, Policy, Rules};
use elea_store::{Store, export};
use elea_sys::progress::{Progress, Unit};
use elea_sys::root::Root;
use elea_sys::{At as _, durable};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What it must have.
const NEEDED: [&str; 3] = ["/usr/bin/apt-get", "/usr/bin/dpkg", sources::KEYRING];

/// The digest of the image's manifest that a text names: `registry:HOST/NAME@sha256:…`.
pub(crate) fn pinned(text: &str) -> Option<(Location, Sha256)> {
    match text.parse() {
        Ok(Reference::Registry(location)) => match location.target {
            Target::Digest(digest) => Some((location, digest)),
            Target::Tag(_) => None,
        },
        _ => None,
    }
}

/// The tree of an image, fetched into `folder` if it is not there. Others that are there go.
pub(super) fn obtain(
    image: &str,
    folder: &Path,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PathBuf, Error> {
    let (location, digest) = pinned(image).ok_or_else(|| Error::Tree("no pinned image".into()))?;
    let name = digest.to_string();
    let at = folder.join(&name);
    if at.join("profile.json").exists() {
        return Ok(at);
    }
    fs::create_dir_all(folder).at("make the folder", folder)?;
    for entry in fs::read_dir(folder).at("list", folder)? {
        let path = entry.at("list", folder)?.path();
        fs::remove_dir_all(&path).at("remove", &path)?;
    }
    let work = crate::build::work_folder(&options.work)?;
    let new = folder.join(".new");
    for path in [&new, &new.join("tree"), &new.join("root")] {
        fs::create_dir(path).at("make the folder", path)?;
    }
    let files = work.path().join("image");
    fs::create_dir(&files).at("make the folder", &files)?;
    fetch(&location, work.path(), &files.join("image.tar"), progress)?;
    progress.start("unpack the tools", None, Unit::Items);
    let tree = new.join("tree");
    let log = work.path().join("log");
    install::unpack(&tree, &files, "image.tar", options, &log, progress)?;
    let root = Root::open(&tree)?;
    if let Some(lacking) = NEEDED.iter().find(|path| !root.exists(Path::new(path))) {
        return Err(Error::Tools {
            image: image.to_owned(),
            lacking: (*lacking).to_owned(),
        });
    }
    places::make(&root)?;
    let text = record(&[], &[], Vec::new(), Vec::new());
    durable::write_private(&new.join("profile.json"), &text)?;
    durable::sync_filesystem(&new)?;
    fs::rename(&new, &at).at("rename into place", &at)?;
    durable::sync_folder(folder)?;
    progress.finish();
    Ok(at)
}

/// Writes the image as a tar file. Its digest is in the config, which vouches for it.
fn fetch(
    location: &Location,
    work: &Path,
    tar: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let store = Store::init(&work.join("store"))?;
    let options = elea_net::Options {
        registries: Registries::of_user()?,
        ..elea_net::Options::default()
    };
    let policy = Policy {
        rules: Rules::of_keys(Keys::default()),
        allow_unsigned: true,
        allow_downgrade: true,
    };
    let reference = Reference::Registry(location.clone());
    let offer = elea_net::check(&reference, &store, &options, &policy, None, progress)?;
    let pulled = elea_net::pull(&offer, &store, &options, &policy, None, progress)?;
    let tree = store.tree(&pulled.image.image)?;
    let mut file = File::create(tar).at("create", tar)?;
    Ok(export::tar(&store, &tree, &mut file)?)
}
