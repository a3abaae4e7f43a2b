//! OCI images: descriptors, manifests, indexes, configs and references.
//!
//! Source: the OCI image specification 1.1 (`manifest.md`, `image-index.md`, `config.md`,
//! `descriptor.md`) and Docker's "Image Manifest Version 2, Schema 2", which differs in
//! media types alone. Unknown members are ignored, as the specification demands.

pub mod media;
pub mod reference;

use crate::digest::Sha256;
use crate::generation::Payload;
use crate::release::Release;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The largest manifest, index or config that is read, in bytes.
pub const MAX_DOCUMENT: u64 = 4 << 20;
/// The most layers that an image may have (overlayfs and registries stop far below).
pub const MAX_LAYERS: usize = 512;
/// The label that says that an image can be booted by bootc's rules.
pub const LABEL_BOOTC: &str = "containers.bootc";
/// The label with the image's digest.
pub const LABEL_IMAGE: &str = "elea.image";
/// The label with the form of that digest.
pub const LABEL_FORM: &str = "elea.form";
/// The annotation and label with the version, from the OCI specification's `annotations.md`.
pub const VERSION: &str = "org.opencontainers.image.version";
/// The annotation and label with the title, from the OCI specification's `annotations.md`.
pub const TITLE: &str = "org.opencontainers.image.title";

/// Why a document was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// Not JSON of the right shape.
    #[error("the {kind} is not valid: {source}")]
    Json {
        /// "image manifest", "image index", "image config".
        kind: &'static str,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// Larger than [`MAX_DOCUMENT`].
    #[error("the {kind} has {size} bytes; at most {MAX_DOCUMENT} are read")]
    TooLarge {
        /// What it is.
        kind: &'static str,
        /// Its size in bytes.
        size: u64,
    },
    /// A schema version other than 2.
    #[error("the {kind} has schema version {version}; only 2 is known")]
    Schema {
        /// What it is.
        kind: &'static str,
        /// What it says.
        version: u64,
    },
    /// More layers than [`MAX_LAYERS`].
    #[error("the image has {0} layers; at most {MAX_LAYERS} are read")]
    Layers(usize),
    /// A layer of a kind that is not read.
    #[error(
        "layer {digest} has the media type `{media_type}`, which is not a layer that can be read"
    )]
    Layer {
        /// The layer's digest.
        digest: Sha256,
        /// What it says that it is.
        media_type: String,
    },
    /// A document of a kind that is not an image.
    #[error("`{0}` is not an image manifest or an image index")]
    MediaType(String),
}

/// What names a blob: media type, digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is; see [`media`].
    pub media_type: String,
    /// SHA-256 of its bytes.
    #[serde(with = "sha256_text")]
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// An operating system and architecture, as Go names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
}

/// An image manifest: a config and layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u64,
    /// [`media::MANIFEST`] or Docker's; may be absent in OCI's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The config blob.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free key-value pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index: manifests for several platforms, or the tags of a layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// [`media::INDEX`] or Docker's; may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// An image's config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time; Elea leaves it out, so that the same image has the same config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// `amd64`.
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// What a container is started with.
    #[serde(default)]
    pub config: Container,
    /// The layers' uncompressed digests.
    pub rootfs: RootFs,
    /// What made each layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Elea's own member: the release, so that an upgrade can be shown before it is fetched.
    /// The manifest names the config by digest, so a signature of the manifest covers it.
    #[serde(
        default,
        rename = "elea.release",
        skip_serializing_if = "Option::is_none"
    )]
    pub release: Option<Release>,
    /// Elea's own member: kernel and initrds, so that a boot partition without room for them is
    /// found before anything is fetched.
    #[serde(
        default,
        rename = "elea.payloads",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub payloads: Vec<Payload>,
}

/// What a container is started with; only what Elea reads or writes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// Labels.
    #[serde(default, skip_serializing_if = "is_none_or_empty")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The command; `["/sbin/init"]` for a system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
}

/// The digests of the layers' uncompressed tar files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `sha256:…` of each layer's tar, lowest first.
    pub diff_ids: Vec<String>,
}

/// What made a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The command or program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Whether it changed only the config and has no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// What a reference names: one image, or one per platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// One image per platform.
    Index(Index),
}

impl Document {
    /// Reads a manifest or an index; `media_type` is what the server called it, if it did.
    pub fn parse(bytes: &[u8], media_type: Option<&str>) -> Result<Self, OciError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            #[serde(default)]
            media_type: Option<String>,
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = parse_json("image manifest", bytes)?;
        let said = kind.media_type.as_deref().or(media_type);
        match said.map(|s| s.split(';').next().unwrap_or(s).trim()) {
            Some(media::INDEX | media::DOCKER_INDEX) => Index::parse(bytes).map(Self::Index),
            Some(media::MANIFEST | media::DOCKER_MANIFEST) => {
                Manifest::parse(bytes).map(Self::Manifest)
            }
            Some(other) if kind.media_type.is_some() => Err(OciError::MediaType(other.into())),
            _ if kind.manifests.is_some() => Index::parse(bytes).map(Self::Index),
            _ => Manifest::parse(bytes).map(Self::Manifest),
        }
    }
}

impl Manifest {
    /// Reads an image manifest and checks its schema version and the number of its layers.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let manifest: Self = parse_json("image manifest", bytes)?;
        schema("image manifest", manifest.schema_version)?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(OciError::Layers(manifest.layers.len()));
        }
        Ok(manifest)
    }

    /// Whether every layer is of a kind that can be read as part of a tree.
    pub fn check_layers(&self) -> Result<(), OciError> {
        match self.layers.iter().find(|l| !media::is_layer(&l.media_type)) {
            None => Ok(()),
            Some(layer) => Err(OciError::Layer {
                digest: layer.digest,
                media_type: layer.media_type.clone(),
            }),
        }
    }

    /// The bytes to store; their SHA-256 is the manifest's digest.
    pub fn encode(&self) -> Vec<u8> {
        encode_json(self)
    }
}

impl Index {
    /// Reads an index and checks its schema version.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        let index: Self = parse_json("image index", bytes)?;
        schema("image index", index.schema_version)?;
        Ok(index)
    }

    /// The manifest for Linux on `architecture` (Go's name).
    pub fn for_linux(&self, architecture: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|d| {
            d.platform
                .as_ref()
                .is_some_and(|p| p.os == "linux" && p.architecture == architecture)
        })
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        encode_json(self)
    }
}

impl ImageConfig {
    /// Reads an image config.
    pub fn parse(bytes: &[u8]) -> Result<Self, OciError> {
        parse_json("image config", bytes)
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.as_ref()?.get(name).map(String::as_str)
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        encode_json(self)
    }
}

fn parse_json<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, OciError> {
    if bytes.len() as u64 > MAX_DOCUMENT {
        return Err(OciError::TooLarge {
            kind,
            size: bytes.len() as u64,
        });
    }
    serde_json::from_slice(bytes).map_err(|source| OciError::Json { kind, source })
}

fn encode_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and maps with text keys always encode")
}

fn schema(kind: &'static str, version: u64) -> Result<(), OciError> {
    if version == 2 {
        Ok(())
    } else {
        Err(OciError::Schema { kind, version })
    }
}

#[expect(clippy::ref_option, reason = "serde gives the field by reference")]
fn is_none_or_empty(labels: &Option<BTreeMap<String, String>>) -> bool {
    labels.as_ref().is_none_or(BTreeMap::is_empty)
}

/// `sha256:<hex>`, the one algorithm that registries use.
pub mod sha256_text {
    use crate::digest::Sha256;
    use serde::{Deserialize as _, Deserializer, Serializer};

    /// Writes `sha256:<hex>`.
    pub fn serialize<S: Serializer>(digest: &Sha256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("sha256:{digest}"))
    }

    /// Reads `sha256:<hex>`.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(80).collect();
            serde::de::Error::custom(format_args!("`{shown}` is not `sha256:` and 64 digits"))
        })
    }

    /// Reads `sha256:<hex>`.
    pub fn parse(text: &str) -> Option<Sha256> {
        text.strip_prefix("sha256:")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest_text(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"sha256:{HEX}","size":2}},
            "layers":[{{"mediaType":"{}","digest":"sha256:{HEX}","size":9,"urls":["x"]}}]{extra}}}"#,
            media::CONFIG,
            media::LAYER_GZIP
        )
    }

    #[test]
    fn a_manifest_is_read_and_unknown_members_are_ignored() {
        let text = manifest_text(r#","subject":{"a":1},"annotations":{"k":"v"}"#);
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.layers[0].size, 9);
        assert_eq!(manifest.annotations["k"], "v");
        manifest.check_layers().unwrap();
        assert_eq!(Manifest::parse(&manifest.encode()).unwrap(), manifest);
    }

    #[test]
    fn a_document_is_known_by_what_it_says_then_by_what_the_server_says() {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"sha256:{HEX}","size":3,
            "platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#,
            media::MANIFEST
        );
        let Document::Index(index) = Document::parse(index.as_bytes(), None).unwrap() else {
            panic!("an index is not a manifest")
        };
        assert!(index.for_linux("arm64").is_some());
        assert!(index.for_linux("amd64").is_none());
        let text = manifest_text("");
        for said in [None, Some(media::MANIFEST), Some("application/json")] {
            assert!(matches!(
                Document::parse(text.as_bytes(), said),
                Ok(Document::Manifest(_))
            ));
        }
        let other = manifest_text(r#","mediaType":"application/vnd.cncf.helm""#);
        let error = Document::parse(other.as_bytes(), None).unwrap_err();
        assert!(error.to_string().contains("helm"), "{error}");
    }

    #[test]
    fn hostile_documents_are_refused_with_a_reason() {
        let many = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"a","digest":"sha256:{HEX}","size":1}},"layers":[{}]}}"#,
            vec![
                format!(r#"{{"mediaType":"a","digest":"sha256:{HEX}","size":1}}"#);
                MAX_LAYERS + 1
            ]
            .join(",")
        );
        let huge = " ".repeat(usize::try_from(MAX_DOCUMENT).unwrap() + 1);
        let deep = format!("{{\"x\":{}", "[".repeat(100_000));
        for (text, reason) in [
            (manifest_text("").replace("sha256:", "sha512:"), "sha512"),
            (
                manifest_text("").replace("Version\":2", "Version\":1"),
                "schema version 1",
            ),
            (manifest_text("").replace(":9,", ":-9,"), "invalid value"),
            (many, "513 layers"),
            (huge, "at most"),
            (deep, "not valid"),
            ("<html>".into(), "not valid"),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let foreign = manifest_text("").replace(media::LAYER_GZIP, "application/x-evil");
        let manifest = Manifest::parse(foreign.as_bytes()).unwrap();
        assert!(
            manifest
                .check_layers()
                .unwrap_err()
                .to_string()
                .contains("x-evil")
        );
    }

    #[test]
    fn a_config_keeps_labels_and_release_out_of_each_others_way() {
        let text = r#"{"architecture":"amd64","os":"linux","variant":"x",
            "config":{"Labels":null,"Env":["A=b"]},"rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.label(LABEL_BOOTC), None);
        assert_eq!(config.release, None);
        let again = ImageConfig::parse(&config.encode()).unwrap();
        assert_eq!(again.architecture, "amd64");
    }
}
