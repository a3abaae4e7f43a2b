//! What an image was built from, inside it: the config as it was resolved, the files that it names, and the lock, so that
//! anybody can build it again (`docs/formats/source.md`).

use crate::build::{self, Built};
use crate::config::{self, Config, Content, File};
use crate::lock::{self, Error, Lock, Options};
use crate::own::{ELEA, INITRD, Said};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::tree::{Content as Node, Tree};
use elea_store::Store;
use elea_sys::progress::Progress;
use elea_sys::{At as _, PathError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where it stands in an image.
pub(crate) const FOLDER: &str = "usr/lib/elea/source";
/// That of the system that runs.
pub(crate) const HERE: &str = "/usr/lib/elea/source";
/// Names in there.
const CONFIG: &str = "elea.json";
const LOCK: &str = "elea.lock";
pub(crate) const BUILDER: &str = "builder.json";
const FILES: &str = "files";
/// Bounds in bytes: of a config or lock, of one file, of all, and of a program.
const MAX_TEXT: u64 = 16 << 20;
const MAX_FILE: u64 = 256 << 20;
const MAX_ALL: u64 = 4 << 30;
const MAX_PROGRAM: u64 = 256 << 20;
/// How many files a config may name.
const MAX_FILES: usize = 100_000;

/// Who built an image: `builder.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// `elea.builder/1`.
    pub schema: String,
    /// The version of the program that built it.
    pub elea: String,
    /// What Elea's own programs in the image are, by their paths in it; an older one does not say it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, Said>,
}

impl Builder {
    /// This program; it has not said yet what the programs of the image are.
    pub fn this() -> Self {
        Self {
            schema: "elea.builder/1".into(),
            elea: env!("CARGO_PKG_VERSION").into(),
            programs: BTreeMap::new(),
        }
    }
}

/// The files of [`FOLDER`] by their paths in it.
pub(crate) fn gather(
    config: &Config,
    lock: &Lock,
    builder: &Builder,
) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    let mut out = BTreeMap::new();
    let mut config = config.clone();
    // One system at a time is built.
    config.specialisation.clear();
    // Their text is filled in already, and the variables are no part of a resolved config.
    for (path, template) in std::mem::take(&mut config.templates) {
        let place = keep(&mut out, &template.source, template.text.into_bytes());
        let content = Content::Copy(place);
        config.files.insert(
            path,
            File {
                content,
                ..template.file
            },
        );
    }
    for path in paths(&mut config) {
        // What was put there from a template.
        let known = path.to_str().is_some_and(|path| out.contains_key(path));
        if !known {
            let content = fs::read(&*path).at("read", &*path)?;
            *path = keep(&mut out, path, content);
        }
    }
    let cannot = |e: serde_json::Error| Error::Tree(format!("the config cannot be written: {e}"));
    let mut json = serde_json::to_value(&config).map_err(cannot)?;
    clean(&mut json);
    // A time zone that nobody asked for need not be known to the image.
    if config.origin("system.timezone").is_none()
        && let Some(system) = json.get_mut("system").and_then(|s| s.as_object_mut())
    {
        system.remove("timezone");
    }
    let builder = serde_json::to_value(builder).map_err(cannot)?;
    out.insert(CONFIG.into(), format!("{json:#}\n").into_bytes());
    out.insert(BUILDER.into(), format!("{builder:#}\n").into_bytes());
    out.insert(LOCK.into(), lock::encode(lock).into_bytes());
    Ok(out)
}

/// Keeps a file's content under its digest and its own name, which may go into names of the image.
fn keep(out: &mut BTreeMap<String, Vec<u8>>, path: &Path, content: Vec<u8>) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let place = format!("{FILES}/{}/{name}", Sha256::of(&content));
    out.insert(place.clone(), content);
    place.into()
}

/// Every file of the build machine that a config names.
fn paths(config: &mut Config) -> Vec<&mut PathBuf> {
    fn copied(content: &mut Content) -> Option<&mut PathBuf> {
        match content {
            Content::Copy(path) => Some(path),
            _ => None,
        }
    }
    let files = config.files.values_mut().map(|f| &mut f.content);
    let homes = config.home.values_mut().flat_map(|home| {
        let files = home.files.values_mut().map(|f| &mut f.content);
        files.chain(home.units.values_mut().map(|u| &mut u.content))
    });
    let units = config.units.values_mut().filter_map(|u| u.source.as_mut());
    let secrets = config.secrets.values_mut().map(|s| &mut s.from);
    let trust = config.trust.keys.iter_mut().chain(&mut config.trust.policy);
    let templates = config.templates.values_mut().map(|t| &mut t.source);
    files
        .chain(homes)
        .filter_map(copied)
        .chain(units)
        .chain(secrets)
        .chain(trust)
        .chain(templates)
        .chain(&mut config.certificates.trust)
        .collect()
}

/// What is not said is left out.
fn clean(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(clean);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(clean),
        _ => {}
    }
}

/// What an image brings to be built again.
#[derive(Debug)]
pub struct Source {
    /// Who built it.
    pub builder: Builder,
    /// SHA-256 of the image's own `elea` and `elea-initrd`, which the rebuilt one gets too.
    pub programs: [Sha256; 2],
    config: Config,
    lock: Lock,
    elea: PathBuf,
    initrd: PathBuf,
    /// The images that it names, each of which is built again by itself.
    specialisations: BTreeMap<String, Digest>,
    /// It has the files.
    _folder: tempfile::TempDir,
}

/// Why an image cannot be built again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It does not say what it was built from.
    #[error(
        "the image {image} does not have {path}: it was not made by `elea build`, or by an older one, so it cannot be built again"
    )]
    Absent {
        /// The image.
        image: Digest,
        /// What is missing.
        path: String,
    },
    /// What it says makes no sense here.
    #[error("what the image {image} was built from makes no sense to this Elea: {why}")]
    Nonsense {
        /// The image.
        image: Digest,
        /// Why.
        why: String,
    },
    /// The config in it is refused.
    #[error("{0}")]
    Config(#[source] config::Findings),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] elea_store::Error),
    /// A file could not be written.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl Source {
    /// Takes it out of an image, into a folder below `work` that is removed when this is dropped.
    ///
    /// # Errors
    /// Whoever made the image wrote all of this: it is bounded, and a config that names a file outside is refused.
    pub fn load(store: &Store, image: &Digest, work: &Path) -> Result<Self, SourceError> {
        let nonsense = |why: String| SourceError::Nonsense { image: *image, why };
        let tree = store.tree(image)?;
        let folder = tempfile::Builder::new()
            .prefix("elea-source-")
            .tempdir_in(work)
            .at("make a folder in", work)?;
        let top = folder.path().canonicalize().at("open", folder.path())?;
        let take = |path: &str, limit: u64| -> Result<Vec<u8>, SourceError> {
            let absent = || SourceError::Absent {
                image: *image,
                path: format!("/{path}"),
            };
            store.read_file(&tree, path, limit)?.ok_or_else(absent)
        };
        let write = |to: &Path, bytes: &[u8]| fs::write(to, bytes).at("write", to);
        let (elea, initrd) = (top.join("elea"), top.join("elea-initrd"));
        let mut programs = Vec::new();
        for (path, to) in [(ELEA, &elea), (INITRD, &initrd)] {
            let bytes = take(path, MAX_PROGRAM)?;
            programs.push(Sha256::of(&bytes));
            write(to, &bytes)?;
        }
        let source = top.join("source");
        fs::create_dir(&source).at("make the folder", &source)?;
        for name in [CONFIG, LOCK] {
            write(
                &source.join(name),
                &take(&format!("{FOLDER}/{name}"), MAX_TEXT)?,
            )?;
        }
        let builder = take(&format!("{FOLDER}/{BUILDER}"), MAX_TEXT)?;
        let builder: Builder =
            serde_json::from_slice(&builder).map_err(|e| nonsense(e.to_string()))?;
        extract(store, &tree, &source.join(FILES)).map_err(|e| match e {
            Taken::Store(e) => SourceError::Store(e),
            Taken::Path(e) => SourceError::Path(e),
            Taken::Odd(why) => nonsense(why),
        })?;
        let mut config = config::load(&source.join(CONFIG)).map_err(SourceError::Config)?;
        if config.read.len() > 1 {
            return Err(nonsense("its config imports another one".into()));
        }
        if let Some(path) = paths(&mut config)
            .into_iter()
            .find(|path| !path.starts_with(&source))
        {
            return Err(nonsense(format!(
                "its config names {}, which it does not bring",
                path.display()
            )));
        }
        let text = fs::read_to_string(source.join(LOCK)).at("read", source.join(LOCK))?;
        let lock = lock::parse(&text).map_err(nonsense)?;
        if lock::request(&config) != lock.request {
            return Err(nonsense("its lock is not that of its config".into()));
        }
        Ok(Self {
            builder,
            programs: [programs[0], programs[1]],
            config,
            lock,
            elea,
            initrd,
            specialisations: store
                .image(image)?
                .release
                .map(|release| release.specialisations)
                .unwrap_or_default(),
            _folder: folder,
        })
    }

    /// Builds the image again, from the packages of its lock alone and with its own programs. `options` say where the
    /// work is done and packages are kept.
    pub fn build(
        &self,
        store: &Store,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Built, Error> {
        let options = Options {
            tools: None,
            elea: self.elea.clone(),
            initrd: self.initrd.clone(),
            specialisations: self.specialisations.clone(),
            fresh: true,
            ..options.clone()
        };
        build::build(&self.config, &self.lock, store, &options, progress)
    }
}

enum Taken {
    Store(elea_store::Error),
    Path(PathError),
    Odd(String),
}

/// Writes the files that the config names: a folder for each, with the file in it.
fn extract(store: &Store, tree: &Tree, to: &Path) -> Result<(), Taken> {
    let top = format!("{FOLDER}/{FILES}");
    let Some(folder) = tree.directory(top.as_bytes()) else {
        return Ok(());
    };
    let text = |name: &[u8]| {
        let name = String::from_utf8(name.to_vec());
        name.map_err(|_| Taken::Odd("a name in it is not UTF-8".into()))
    };
    let (mut count, mut bytes) = (0, 0);
    for (digest, _) in tree.entries(folder) {
        let digest = text(digest)?;
        let Some(inner) = tree.directory(format!("{top}/{digest}").as_bytes()) else {
            return Err(Taken::Odd(format!("`{digest}` is no folder")));
        };
        let place = to.join(&digest);
        fs::create_dir_all(&place)
            .at("make the folder", &place)
            .map_err(Taken::Path)?;
        for (name, node) in tree.entries(inner) {
            let name = text(name)?;
            let is_file = matches!(node, elea_formats::tree::Node::Leaf(id)
                if matches!(tree.content(id), Node::Inline(_) | Node::Object { .. }));
            if !is_file {
                return Err(Taken::Odd(format!("`{name}` is no file")));
            }
            let content = store.read_file(tree, &format!("{top}/{digest}/{name}"), MAX_FILE);
            let content = content.map_err(Taken::Store)?.unwrap_or_default();
            count += 1;
            bytes += content.len() as u64;
            if count > MAX_FILES || bytes > MAX_ALL {
                return Err(Taken::Odd("it brings too many files".into()));
            }
            let path = place.join(&name);
            fs::write(&path, content)
                .at("write", &path)
                .map_err(Taken::Path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
