//! Where an image comes from: a repository, a layout or an archive, by one interface.

use crate::archive::Archive;
use crate::layout::Layout;
use crate::registry::{Document, Registry};
use crate::{NetError, Options};
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::oci::{self, Descriptor, ImageConfig, MAX_DOCUMENT, Manifest};
use elea_sys::progress::Progress;
use std::io::Read;

/// A place that images are read from.
#[derive(Debug)]
pub(crate) enum Source {
    Registry(Box<Registry>),
    Layout(Layout),
    Archive(Archive),
}

/// A source, and what of it is meant.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) source: Source,
    /// How it was asked for.
    pub(crate) reference: String,
    /// Host and name, if it is in a registry.
    pub(crate) repository: Option<String>,
    target: Target,
}

/// An image's manifest, once it was fetched.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) manifest: Manifest,
    pub(crate) digest: Sha256,
    /// The index that it was found in.
    pub(crate) index: Option<Sha256>,
}

impl Image {
    /// Finds the source of a reference; nothing is fetched yet.
    pub(crate) fn locate(reference: &Reference, options: &Options) -> Result<Self, NetError> {
        let (source, repository, target) = match reference {
            Reference::Registry(location) => (
                Source::Registry(Box::new(Registry::to_read(location, options)?)),
                Some(location.repository()),
                location.target.clone(),
            ),
            Reference::Layout { path, tag } => (
                Source::Layout(Layout::open(path)?),
                None,
                Target::Tag(tag.clone()),
            ),
            Reference::Archive(path) => {
                let archive = Archive::open(path)?;
                let target = archive.only()?;
                (Source::Archive(archive), None, target)
            }
            other => {
                return Err(NetError::Transport {
                    reference: other.to_string(),
                    verb: "pulled",
                });
            }
        };
        Ok(Self {
            source,
            reference: reference.to_string(),
            repository,
            target,
        })
    }

    /// Fetches the manifest; of an index, the one for this machine.
    pub(crate) fn open(&self, progress: &dyn Progress) -> Result<Opened, NetError> {
        let document = self.document_of(&self.target, progress)?;
        let (document, index) = match self.parse(&document)? {
            oci::Document::Manifest(_) => (document, None),
            oci::Document::Index(list) => {
                let found = list.for_linux(architecture());
                let found = found.ok_or_else(|| self.platform(&list))?;
                let inner = self.document_of(&Target::Digest(found.digest), progress)?;
                if inner.bytes.len() as u64 != found.size {
                    return Err(NetError::Size {
                        what: self.reference.clone(),
                        digest: found.digest,
                        announced: found.size,
                        actual: inner.bytes.len() as u64,
                    });
                }
                (inner, Some(document.digest))
            }
        };
        let oci::Document::Manifest(manifest) = self.parse(&document)? else {
            return Err(NetError::Nested {
                what: self.reference.clone(),
            });
        };
        manifest
            .check_layers()
            .map_err(|source| self.document(source))?;
        Ok(Opened {
            manifest,
            digest: document.digest,
            index,
        })
    }

    fn document_of(&self, target: &Target, progress: &dyn Progress) -> Result<Document, NetError> {
        let found = self.source.manifest(target, progress)?;
        found.ok_or_else(|| NetError::NotFound {
            what: format!("image {}", self.reference),
        })
    }

    fn parse(&self, document: &Document) -> Result<oci::Document, NetError> {
        oci::Document::parse(&document.bytes, document.media_type.as_deref())
            .map_err(|source| self.document(source))
    }

    /// Fetches the config.
    pub(crate) fn config(
        &self,
        opened: &Opened,
        progress: &dyn Progress,
    ) -> Result<ImageConfig, NetError> {
        let bytes = self
            .source
            .small_blob(&opened.manifest.config, MAX_DOCUMENT, progress)?;
        ImageConfig::parse(&bytes).map_err(|source| self.document(source))
    }

    fn document(&self, source: oci::OciError) -> NetError {
        NetError::Document {
            what: self.reference.clone(),
            source,
        }
    }

    fn platform(&self, list: &oci::Index) -> NetError {
        let platforms = list.manifests.iter().filter_map(|m| m.platform.as_ref());
        let mut offered: Vec<String> = platforms
            .map(|p| format!("{}/{}", p.os, p.architecture))
            .map(|text| text.chars().filter(|c| !c.is_control()).take(40).collect())
            .take(12)
            .collect();
        offered.dedup();
        NetError::Platform {
            what: self.reference.clone(),
            architecture: architecture().into(),
            offered,
        }
    }
}

impl Source {
    /// A manifest or index; none if there is none.
    pub(crate) fn manifest(
        &self,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<Option<Document>, NetError> {
        match self {
            Self::Registry(registry) => registry.manifest(target, progress),
            Self::Layout(layout) => layout.manifest(target),
            Self::Archive(archive) => archive.manifest(target),
        }
    }

    /// A small blob whole, checked against its descriptor.
    pub(crate) fn small_blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, NetError> {
        let what = format!("blob sha256:{}", descriptor.digest);
        if descriptor.size > limit {
            return Err(NetError::TooLarge { what, limit });
        }
        let bytes = match self {
            Self::Registry(registry) => registry.small_blob(descriptor, limit, progress)?,
            Self::Layout(layout) => read(layout.blob(&descriptor.digest, 0)?, limit, &what)?,
            Self::Archive(archive) => read(archive.blob(&descriptor.digest, 0)?, limit, &what)?,
        };
        let actual = Sha256::of(&bytes);
        if actual != descriptor.digest {
            return Err(NetError::Digest {
                what,
                expected: descriptor.digest,
                actual,
            });
        }
        Ok(bytes)
    }
}

fn read(reader: impl Read, limit: u64, what: &str) -> Result<Vec<u8>, NetError> {
    let mut bytes = Vec::new();
    reader
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|e| NetError::Connection {
            action: "read",
            url: what.to_owned(),
            reason: e.to_string(),
        })?;
    Ok(bytes)
}

/// This machine's architecture as Go names it.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}
