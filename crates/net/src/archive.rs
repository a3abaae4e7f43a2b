//! OCI archives: a layout in a tar file, read in place.

use crate::NetError;
use crate::layout::{check_document, find_tag, parse_index};
use crate::registry::Document;
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::Target;
use elea_formats::oci::{MAX_DOCUMENT, sha256_text};
use elea_sys::{At as _, PathError};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

/// The most members that an archive may have.
const MAX_MEMBERS: usize = 10_000;

/// An archive and where its blobs stand in it.
#[derive(Debug)]
pub(crate) struct Archive {
    path: PathBuf,
    index: Value,
    /// Offset and size of each blob, in bytes.
    blobs: BTreeMap<Sha256, (u64, u64)>,
}

impl Archive {
    /// Reads the archive's table.
    pub(crate) fn open(path: &Path) -> Result<Self, NetError> {
        let fail = |reason: String| NetError::Layout {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).at("open", path)?;
        let mut archive = tar::Archive::new(file);
        let mut index = None;
        let mut blobs = BTreeMap::new();
        // Raw entries: names of layouts are short, and long ones are not looked at.
        let entries = archive.entries_with_seek().at("read", path)?.raw(true);
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|e| match e.raw_os_error() {
                // What the library says of a header holds the header.
                None => fail("it is no tar archive, or damaged".into()),
                Some(_) => PathError {
                    action: "read",
                    path: path.to_owned(),
                    source: e,
                }
                .into(),
            })?;
            if count >= MAX_MEMBERS {
                return Err(fail(format!("it has more than {MAX_MEMBERS} members")));
            }
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = entry.path_bytes().into_owned();
            let name = name.strip_prefix(b"./").unwrap_or(&name);
            if name == b"index.json" {
                let mut text = Vec::new();
                (&mut entry)
                    .take(MAX_DOCUMENT)
                    .read_to_end(&mut text)
                    .at("read", path)?;
                index = Some(parse_index(&text).map_err(fail)?);
            } else if let Some(digest) = blob_name(name) {
                blobs.insert(digest, (entry.raw_file_position(), entry.size()));
            }
        }
        Ok(Self {
            path: path.to_owned(),
            index: index.ok_or_else(|| fail("it has no member `index.json`".into()))?,
            blobs,
        })
    }

    /// The manifest of the archive's only image, of a tag, or of a digest.
    pub(crate) fn manifest(&self, target: &Target) -> Result<Option<Document>, NetError> {
        let digest = match target {
            Target::Digest(digest) => Some(*digest),
            Target::Tag(tag) => find_tag(&self.index, tag),
        };
        let Some(digest) = digest.filter(|d| self.blobs.contains_key(d)) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        self.blob(&digest, 0)?
            .take(MAX_DOCUMENT)
            .read_to_end(&mut bytes)
            .at("read", &self.path)?;
        check_document(bytes, digest).map(Some)
    }

    /// The archive's only image: the one entry of its index that is not a signature.
    pub(crate) fn only(&self) -> Result<Target, NetError> {
        let manifests = self.index["manifests"].as_array();
        let mut images = manifests.into_iter().flatten().filter(|m| {
            let tag = m["annotations"]["org.opencontainers.image.ref.name"].as_str();
            !tag.is_some_and(|tag| tag.starts_with("sha256-"))
        });
        let fail = |reason: &str| NetError::Layout {
            path: self.path.clone(),
            reason: reason.into(),
        };
        let image = images.next().ok_or_else(|| fail("its index is empty"))?;
        if images.next().is_some() {
            return Err(fail(
                "it holds several images; unpack it and name one by `oci:DIR:TAG`",
            ));
        }
        image["digest"]
            .as_str()
            .and_then(sha256_text::parse)
            .map(Target::Digest)
            .ok_or_else(|| fail("its index names an image without a SHA-256 digest"))
    }

    /// A blob from an offset on; the content is not checked here.
    pub(crate) fn blob(&self, digest: &Sha256, offset: u64) -> Result<io::Take<File>, NetError> {
        let (start, size) = self.blobs.get(digest).ok_or_else(|| NetError::NotFound {
            what: format!("blob sha256:{digest} in {}", self.path.display()),
        })?;
        let mut file = File::open(&self.path).at("open", &self.path)?;
        file.seek(io::SeekFrom::Start(start + offset))
            .at("read", &self.path)?;
        Ok(file.take(size.saturating_sub(offset)))
    }
}

fn blob_name(name: &[u8]) -> Option<Sha256> {
    let name = name.strip_prefix(b"blobs/sha256/")?;
    std::str::from_utf8(name).ok()?.parse().ok()
}
