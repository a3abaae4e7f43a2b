//! What a release says of itself: `/usr/lib/elea/release.json`, inside the image.
//!
//! The build writes it; installing and upgrading read it from the verified image, so what
//! it says is covered by the image's digest and so by the signature.

use crate::digest::{Digest, Sha256};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// Where the file stands in an image.
pub const PATH: &str = "usr/lib/elea/release.json";
/// The value of `schema`.
pub const SCHEMA: &str = "elea.release/1";
/// How many specialisations a release may have.
pub const MAX_SPECIALISATIONS: usize = 32;
/// The longest name of one, in bytes.
const MAX_NAME: usize = 64;

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
    /// The same system in other ways: the images (SHA-256) that stand in the boot menu beside this one, by their names.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "specialisations"
    )]
    pub specialisations: BTreeMap<String, Digest>,
}

/// Whether a specialisation may be called so: it becomes a word of the boot menu and part of names of files.
pub fn is_specialisation(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain)
}

fn specialisations<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Digest>, D::Error> {
    let all = BTreeMap::<String, Digest>::deserialize(from)?;
    if all.len() > MAX_SPECIALISATIONS {
        let what = format!("there are more than {MAX_SPECIALISATIONS} specialisations");
        return Err(D::Error::custom(what));
    }
    match all.keys().find(|name| !is_specialisation(name)) {
        Some(name) => {
            let shown: String = name.chars().take(80).collect();
            let what = format!("`{}` is no name of a specialisation", shown.escape_debug());
            Err(D::Error::custom(what))
        }
        None => Ok(all),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A release with these specialisations, as it stands in an image.
    fn text(specialisations: &serde_json::Value) -> String {
        serde_json::json!({
            "schema": SCHEMA, "name": "a", "version": "1", "architecture": "amd64", "title": "A", "kernel": "k",
            "initrds": [], "loader": "l", "loader_version": "1", "specialisations": specialisations,
        })
        .to_string()
    }

    #[test]
    fn specialisations_have_plain_names_and_are_not_many() {
        let image = Digest::from(Sha256::of(b"image")).to_string();
        let read = |value| serde_json::from_str::<Release>(&text(&value));
        let one = read(serde_json::json!({ "quiet-2.0_b": image })).unwrap();
        assert_eq!(one.specialisations["quiet-2.0_b"].to_string(), image);
        let again = serde_json::to_value(&one).unwrap();
        assert_eq!(again["specialisations"]["quiet-2.0_b"], image);
        // What has none is written as before there were any.
        let none = read(serde_json::json!({})).unwrap();
        assert!(!serde_json::to_string(&none).unwrap().contains("special"));
        for name in ["", "a b", "a\noptions evil", "../a", &"a".repeat(65)] {
            let error = read(serde_json::json!({ name: image })).unwrap_err();
            assert!(error.to_string().contains("no name"), "{name}: {error}");
        }
        assert!(read(serde_json::json!({ "a": "no digest" })).is_err());
        let many = |count: usize| (0..count).map(|n| (format!("s{n}"), image.clone().into()));
        let many = |count| read(serde_json::Value::Object(many(count).collect()));
        assert!(many(MAX_SPECIALISATIONS).is_ok());
        let error = many(MAX_SPECIALISATIONS + 1).unwrap_err().to_string();
        assert!(error.contains("more than 32"), "{error}");
    }
}
