//! One bootable state of a machine: `/elea/generations/<n>/manifest.json`.
//!
//! The manifest is written once, before the boot entry, and never changed. Whether a
//! generation is good, tried or failed stands in the boot loader's entries and the log.

use crate::digest::Digest;
use crate::release::{Health, Source};
use serde::{Deserialize, Serialize};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.generation/1";

/// A file on `$BOOT`, named by its own SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// SHA-256 of the file (not fs-verity); its place is `$BOOT/elea/<digest>`.
    pub sha256: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its number; a higher one is a later decision, and numbers are never used again.
    pub number: u64,
    /// The image it boots.
    pub image: Digest,
    /// The form of the image.
    pub form: String,
    /// Name, version, epoch and title of the release.
    pub name: String,
    /// Version of the release.
    pub version: String,
    /// Security epoch of the release.
    pub epoch: u64,
    /// The text of the boot menu.
    pub title: String,
    /// The kernel.
    pub kernel: Payload,
    /// The initrds, in the order of loading.
    pub initrds: Vec<Payload>,
    /// The whole kernel command line of its boot entry.
    pub options: String,
    /// How its boots are judged.
    pub health: Health,
    /// What it follows for upgrades.
    pub source: Option<Source>,
    /// SHA-256 of the OCI manifest it was fetched as.
    pub oci_manifest: Option<Digest>,
    /// The number whose image and decision it repeats (a rollback), if any.
    pub from: Option<u64>,
    /// When it was staged, RFC 3339 in UTC.
    pub created: String,
}

/// The kernel argument that names the image: `composefs.digest=v1-sha256-12:<hex>`.
pub const DIGEST_ARGUMENT: &str = "composefs.digest";
/// The kernel argument that names the generation: `elea.generation=<n>`.
pub const GENERATION_ARGUMENT: &str = "elea.generation";
