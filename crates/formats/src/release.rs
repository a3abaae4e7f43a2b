//! What a release says of itself: `/usr/lib/elea/release.json`, inside the image.
//!
//! The build writes it; installing and upgrading read it from the verified image, so what
//! it says is covered by the image's digest and so by the signature.

use crate::digest::{Digest, Sha256};
use serde::{Deserialize, Serialize};

/// Where the file stands in an image.
pub const PATH: &str = "usr/lib/elea/release.json";
/// The value of `schema`.
pub const SCHEMA: &str = "elea.release/1";

/// The release of a system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// [`SCHEMA`].
    pub schema: String,
    /// The system's name; an upgrade to an image of another name is refused.
    pub name: String,
    /// The version, ordered by UAPI.10; a lower one is refused.
    pub version: String,
    /// The security epoch; a lower one is refused.
    #[serde(default)]
    pub epoch: u64,
    /// The architecture as Debian names it: `amd64`.
    pub architecture: String,
    /// What to show in the boot menu: "Hello 2.0".
    pub title: String,
    /// The kernel's path in the image: `usr/lib/modules/6.12…/vmlinuz`.
    pub kernel: String,
    /// The initrds' paths in the image, in the order of loading.
    pub initrds: Vec<String>,
    /// The boot loader's path in the image: `usr/lib/elea/boot/systemd-bootx64.efi`.
    pub loader: String,
    /// The loader's version: `262.1-1`.
    pub loader_version: String,
    /// Kernel arguments of the release.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// How a boot is judged.
    #[serde(default)]
    pub health: Health,
    /// Where upgrades come from unless the machine follows something else.
    #[serde(default)]
    pub update: Option<Source>,
    /// The packages, sorted by name.
    #[serde(default)]
    pub packages: Vec<Package>,
}

/// How a boot is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Units that must be active.
    #[serde(default)]
    pub units: Vec<String>,
    /// Seconds from the start of user space to the verdict.
    pub timeout: u64,
    /// Whether a failed check condemns the entry at once instead of using up its tries.
    #[serde(default)]
    pub condemn: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            units: Vec::new(),
            timeout: 300,
            condemn: false,
        }
    }
}

/// A registry to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `registry:HOST[:PORT]/NAME:TAG`.
    pub reference: String,
    /// Whether plain HTTP may be used for a host that is not loopback.
    #[serde(default)]
    pub plain_http: bool,
}

/// One package of the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// `openssh-server`.
    pub name: String,
    /// `1:10.0p1-7`.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
}

/// What the store keeps beside an image: `manifests/<image digest>/image.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageManifest {
    /// `elea.image/1`.
    pub schema: String,
    /// The image's digest.
    pub image: Digest,
    /// The form its tree was made canonical in: `raw` or `os-1`.
    pub form: String,
    /// Where it came from: `dir:/srv/tree`, `registry:…@sha256:…`, `build:hello`.
    pub source: String,
    /// When, RFC 3339 in UTC.
    pub imported: String,
    /// Number of files (leaves) in the tree.
    pub files: u64,
    /// Bytes of content named by it, each object once.
    pub bytes: u64,
    /// The OCI manifest's SHA-256, if it came from a registry or layout.
    #[serde(default)]
    pub oci_manifest: Option<Sha256>,
    /// The release, if the image holds a system.
    #[serde(default)]
    pub release: Option<Release>,
}
