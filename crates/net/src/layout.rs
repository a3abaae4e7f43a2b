//! OCI layouts: a folder with `oci-layout`, `index.json` and `blobs/sha256/` (image-layout.md).

use crate::NetError;
use crate::registry::Document;
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::Target;
use elea_formats::oci::{Descriptor, MAX_DOCUMENT, media, sha256_text};
use elea_sys::{At as _, durable};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

/// The annotation of a tag.
const NAME: &str = "org.opencontainers.image.ref.name";
/// What `oci-layout` holds.
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout's folder.
#[derive(Debug)]
pub(crate) struct Layout {
    path: PathBuf,
}

impl Layout {
    /// An existing layout.
    pub(crate) fn open(path: &Path) -> Result<Self, NetError> {
        let layout = Self {
            path: path.to_owned(),
        };
        let text = read_file(&path.join("oci-layout"))?
            .ok_or_else(|| layout.fail("it has no file `oci-layout`"))?;
        let version: Value = serde_json::from_slice(&text)
            .map_err(|e| layout.fail(&format!("its file `oci-layout`: {e}")))?;
        match version["imageLayoutVersion"].as_str() {
            Some("1.0.0") => Ok(layout),
            other => Err(layout.fail(&format!("it has the version {}", other.unwrap_or("none")))),
        }
    }

    /// A layout to write into: an existing one, or a new one in a new or empty folder.
    pub(crate) fn create(path: &Path) -> Result<Self, NetError> {
        if path.join("oci-layout").exists() {
            return Self::open(path);
        }
        let layout = Self {
            path: path.to_owned(),
        };
        fs::create_dir_all(path).at("create", path)?;
        if fs::read_dir(path).at("read", path)?.next().is_some() {
            return Err(layout.fail("it is neither a layout nor an empty folder"));
        }
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).at("create", &blobs)?;
        layout
            .save_index(&json!({"schemaVersion": 2, "mediaType": media::INDEX, "manifests": []}))?;
        durable::write(&path.join("oci-layout"), VERSION.as_bytes())?;
        Ok(layout)
    }

    fn fail(&self, reason: &str) -> NetError {
        NetError::Layout {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }

    fn blob_path(&self, digest: &Sha256) -> PathBuf {
        self.path.join(format!("blobs/sha256/{digest}"))
    }

    fn index(&self) -> Result<Value, NetError> {
        let path = self.path.join("index.json");
        let text = read_file(&path)?.ok_or_else(|| self.fail("it has no file `index.json`"))?;
        parse_index(&text).map_err(|reason| self.fail(&reason))
    }

    fn save_index(&self, index: &Value) -> Result<(), NetError> {
        let path = self.path.join("index.json");
        Ok(durable::write(&path, index.to_string().as_bytes())?)
    }

    /// The manifest or index of a tag or digest; none if the layout has no such tag or blob.
    pub(crate) fn manifest(&self, target: &Target) -> Result<Option<Document>, NetError> {
        let digest = match target {
            Target::Digest(digest) => *digest,
            Target::Tag(tag) => match find_tag(&self.index()?, tag) {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let Some(bytes) = read_file(&self.blob_path(&digest))? else {
            return Ok(None);
        };
        check_document(bytes, digest).map(Some)
    }

    /// A blob from an offset on; the content is not checked here.
    pub(crate) fn blob(&self, digest: &Sha256, offset: u64) -> Result<File, NetError> {
        let path = self.blob_path(digest);
        let mut file = File::open(&path).at("open", &path)?;
        file.seek(io::SeekFrom::Start(offset)).at("read", &path)?;
        Ok(file)
    }

    /// Whether the layout has a blob of this digest and size.
    pub(crate) fn has_blob(&self, digest: &Sha256, size: u64) -> bool {
        fs::metadata(self.blob_path(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// Adds a blob from a reader; it is named once it is complete and durable.
    pub(crate) fn put_blob(&self, digest: &Sha256, content: &mut dyn Read) -> Result<(), NetError> {
        let path = self.blob_path(digest);
        let folder = self.path.join("blobs/sha256");
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&folder)
            .at("create a file in", &folder)?;
        io::copy(content, &mut file).at("write", &path)?;
        file.flush().at("write", &path)?;
        file.as_file().sync_all().at("sync", &path)?;
        file.persist(&path)
            .map_err(|e| e.error)
            .at("rename into place", &path)?;
        Ok(durable::sync_folder(&folder)?)
    }

    /// Points a tag at a manifest that is in the layout; other tags and what others wrote beside them stay.
    pub(crate) fn put_tag(&self, tag: &str, mut descriptor: Descriptor) -> Result<(), NetError> {
        let mut index = self.index()?;
        descriptor.annotations.insert(NAME.into(), tag.into());
        let entry =
            serde_json::to_value(&descriptor).map_err(|e| self.fail(&format!("its index: {e}")))?;
        let manifests = index["manifests"]
            .as_array_mut()
            .ok_or_else(|| self.fail("its index has no manifests"))?;
        manifests.retain(|m| m["annotations"][NAME].as_str() != Some(tag));
        manifests.push(entry);
        self.save_index(&index)
    }
}

/// Reads `index.json` and checks that it is one.
pub(crate) fn parse_index(text: &[u8]) -> Result<Value, String> {
    let index: Value =
        serde_json::from_slice(text).map_err(|e| format!("its file `index.json`: {e}"))?;
    if index["schemaVersion"].as_u64() != Some(2) || !index["manifests"].is_array() {
        return Err("its file `index.json` is not an index".into());
    }
    Ok(index)
}

/// The digest that a tag points at.
pub(crate) fn find_tag(index: &Value, tag: &str) -> Option<Sha256> {
    let entry = index["manifests"]
        .as_array()?
        .iter()
        .find(|m| m["annotations"][NAME].as_str() == Some(tag))?;
    sha256_text::parse(entry["digest"].as_str()?)
}

/// A manifest's bytes, whose digest must be the one that it was asked for by.
pub(crate) fn check_document(bytes: Vec<u8>, expected: Sha256) -> Result<Document, NetError> {
    let actual = Sha256::of(&bytes);
    if actual != expected {
        return Err(NetError::Digest {
            what: format!("the manifest sha256:{expected}"),
            expected,
            actual,
        });
    }
    Ok(Document {
        bytes,
        media_type: None,
        digest: actual,
    })
}

/// A small file whole; none if there is none.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, NetError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_DOCUMENT + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(NetError::TooLarge {
            what: path.display().to_string(),
            limit: MAX_DOCUMENT,
        });
    }
    Ok(Some(bytes))
}
