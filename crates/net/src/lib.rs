//! Fetching and pushing: the only code that talks to a network.
//!
//! Two protocols: registries by the OCI distribution specification 1.1, and files of a web server whose digests are known. Images in
//! OCI layouts and archives are read and written by the same code. What a network says is
//! hostile: sizes, counts, redirects, retries and waiting are bounded, and nothing is
//! believed that a digest or a signature does not cover.

mod archive;
mod auth;
mod beside;
mod chunked;
mod error;
mod fetch;
mod files;
mod http;
mod layers;
mod layout;
mod look;
mod offer;
mod partial;
mod pull;
mod push;
mod registries;
pub mod registry;
mod repair;
mod sign;
mod signatures;
mod sink;
mod source;
mod stream;

pub use beside::{Beside, check_beside, missing};
pub use error::NetError;
pub use files::{Files, Found};
pub use look::look;
pub use offer::{Offer, check};
pub use pull::{Pulled, pull};
pub use push::{Pushed, push};
pub use registries::Registries;
pub use repair::{Repaired, repair};
pub use sign::{Signed, sign};

use elea_store::export::Compression;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// How to talk to a registry.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether plain HTTP may be used for a host that is not loopback. Loopback hosts are
    /// always asked by plain HTTP unless `ca_file` is given.
    pub plain_http: bool,
    /// Registries (`HOST:PORT`) that are read by plain HTTP, since somebody has said so of each.
    pub plain_hosts: BTreeSet<String>,
    /// Certificates to trust instead of the system's: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Credentials instead of those of podman's and docker's files.
    pub auth_file: Option<PathBuf>,
    /// Mirrors, and what is blocked; they count where an image is read, never where one is written.
    pub registries: Registries,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub idle_timeout: Duration,
    /// How often a request is made before it is given up.
    pub attempts: u32,
    /// The pause after the first failed attempt; it doubles each time, up to 30 s.
    pub backoff: Duration,
    /// How many layers are fetched at the same time.
    pub parallel: usize,
    /// How a push packs layers. Where nothing is said: with tables for a registry, so that others fetch only the
    /// files that they lack; as gzip for a layout, which every program reads.
    pub compression: Option<Compression>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            plain_http: false,
            plain_hosts: BTreeSet::new(),
            ca_file: None,
            auth_file: None,
            registries: Registries::default(),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            attempts: 5,
            backoff: Duration::from_millis(500),
            parallel: 3,
            compression: None,
        }
    }
}
