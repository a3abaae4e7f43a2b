//! Where an image goes: a repository or a layout, by one interface.

use crate::layout::Layout;
use crate::registry::Registry;
use crate::source::{Image, Source};
use crate::{NetError, Options};
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::oci::{Descriptor, media};
use elea_sys::At as _;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// A place that images are written to.
#[derive(Debug)]
pub(crate) struct Sink {
    /// The same place for reading: what is there already.
    pub(crate) source: Source,
    /// Host and name; empty for a layout.
    pub(crate) repository: String,
    /// The tag to give; empty where none is given.
    pub(crate) tag: String,
}

impl Sink {
    /// Finds the place of a reference, and makes a layout that is not there yet.
    pub(crate) fn locate(reference: &Reference, options: &Options) -> Result<Self, NetError> {
        match reference {
            Reference::Registry(location) => match &location.target {
                Target::Tag(tag) => Ok(Self {
                    source: Source::Registry(Box::new(Registry::new(location, options)?)),
                    repository: location.repository(),
                    tag: tag.clone(),
                }),
                Target::Digest(_) => Err(transport(reference)),
            },
            Reference::Layout { path, tag } => Ok(Self {
                source: Source::Layout(Layout::create(path)?),
                repository: String::new(),
                tag: tag.clone(),
            }),
            other => Err(transport(other)),
        }
    }

    /// The place that an image was read from, to put something beside it.
    pub(crate) fn beside(reference: &Reference, image: Image) -> Result<Self, NetError> {
        match image.source {
            Source::Archive(_) => Err(transport(reference)),
            source => Ok(Self {
                source,
                repository: image.repository.unwrap_or_default(),
                tag: String::new(),
            }),
        }
    }

    /// Whether a blob is there.
    pub(crate) fn has_blob(
        &self,
        digest: &Sha256,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<bool, NetError> {
        match &self.source {
            Source::Registry(registry) => registry.has_blob(digest, progress),
            Source::Layout(layout) => Ok(layout.has_blob(digest, size)),
            Source::Archive(_) => Ok(false),
        }
    }

    /// Adds a blob from a file.
    pub(crate) fn put_file(
        &self,
        digest: &Sha256,
        path: &Path,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        match &self.source {
            Source::Registry(registry) => registry.put_file(digest, path, size, progress),
            Source::Layout(layout) => {
                layout.put_blob(digest, &mut File::open(path).at("open", path)?)
            }
            Source::Archive(_) => Ok(()),
        }
    }

    /// Adds a small blob, unless it is there.
    pub(crate) fn put_bytes(&self, bytes: &[u8], progress: &dyn Progress) -> Result<(), NetError> {
        match &self.source {
            Source::Registry(registry) => registry.put_bytes(bytes, progress).map(|_| ()),
            Source::Layout(layout) => layout.put_blob(&Sha256::of(bytes), &mut &*bytes),
            Source::Archive(_) => Ok(()),
        }
    }

    /// Adds a manifest under a tag.
    pub(crate) fn put_manifest(
        &self,
        tag: &str,
        bytes: &[u8],
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        match &self.source {
            Source::Registry(registry) => registry
                .put_manifest(tag, media::MANIFEST, bytes, progress)
                .map(|_| ()),
            Source::Layout(layout) => {
                self.put_bytes(bytes, progress)?;
                let descriptor = Descriptor {
                    media_type: media::MANIFEST.into(),
                    digest: Sha256::of(bytes),
                    size: bytes.len() as u64,
                    annotations: BTreeMap::new(),
                    platform: None,
                };
                layout.put_tag(tag, descriptor)
            }
            Source::Archive(_) => Ok(()),
        }
    }
}

fn transport(reference: &Reference) -> NetError {
    NetError::Transport {
        reference: reference.to_string(),
        verb: "pushed to",
    }
}
