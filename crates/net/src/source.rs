//! Where an image comes from: a repository, a layout or an archive, by one interface.

use crate::archive::Archive;
use crate::layout::Layout;
use crate::registry::{Document, Registry};
use crate::{NetError, Options};
use elea_formats::digest::Digest;
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
    pub(crate) digest: Digest,
    /// The index that it was found in.
    pub(crate) index: Option<Digest>,
}

impl Image {
    /// Finds the source of a reference; nothing is fetched yet.
    pub(crate) fn locate(reference: &Reference, options: &Options) -> Result<Self, NetError> {
        let (source, repository, target) = match reference {
            Reference::Registry(location) => (
                Source::Registry(Box::new(Registry::new(location, options)?)),
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
        let mut target = self.target.clone();
        let mut index = None;
        for _ in 0..2 {
            let document = self.source.manifest(&target, progress)?;
            let document = document.ok_or_else(|| NetError::NotFound {
                what: format!("image {}", self.reference),
            })?;
            let parsed = oci::Document::parse(&document.bytes, document.media_type.as_deref());
            match parsed.map_err(|source| self.document(source))? {
                oci::Document::Manifest(manifest) => {
                    manifest
                        .check_layers()
                        .map_err(|source| self.document(source))?;
                    return Ok(Opened {
                        manifest,
                        digest: document.digest,
                        index,
                    });
                }
                oci::Document::Index(list) => {
                    index = Some(document.digest);
                    let found = list
                        .for_linux(architecture())
                        .ok_or_else(|| self.platform())?;
                    target = Target::Digest(found.digest);
                }
            }
        }
        Err(self.platform())
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

    fn platform(&self) -> NetError {
        NetError::Platform {
            what: self.reference.clone(),
            architecture: architecture().into(),
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
        let actual = Digest::sha256(&bytes);
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
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
