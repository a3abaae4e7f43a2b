//! What is signed: cosign's "simple signing" payload with Elea's members.
//!
//! Source: containers/image `docs/containers-signature.5.md` (the payload's members) and
//! cosign `specs/SIGNATURE_SPEC.md` (its type, and where it is stored). The signature is
//! over the payload's bytes as they are stored, never over what a parser made of them.

use crate::digest::{Digest, Sha256};
use crate::oci::sha256_text;
use serde::Deserialize;

/// The value of `critical.type`.
pub const TYPE: &str = "cosign container image signature";
/// The annotation of the payload's descriptor that holds the signature, in base64.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The largest payload that is read, in bytes.
pub const MAX_PAYLOAD: u64 = 64 << 10;

/// What a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Host and name of the repository that the image was pushed to; empty for a layout.
    pub repository: String,
    /// SHA-256 of the OCI manifest.
    pub manifest: Sha256,
    /// What Elea adds; none if the image was signed by another program.
    pub elea: Option<Identity>,
}

/// What Elea adds to the claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The system's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its security epoch.
    pub epoch: u64,
    /// The image's digest.
    pub image: Digest,
    /// The form that digest was taken in: `os-1`.
    pub form: String,
}

/// Why a payload says nothing that can be relied on.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Not JSON of the right shape.
    #[error("the signed payload is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than [`MAX_PAYLOAD`].
    #[error("the signed payload has {0} bytes; at most {MAX_PAYLOAD} are read")]
    TooLarge(usize),
    /// Not cosign's.
    #[error("the signed payload is of the type `{0}`, not `{TYPE}`")]
    Type(String),
    /// Some of Elea's members are there and others not, or one is malformed.
    #[error("the signed payload's `{0}` is missing or malformed")]
    Member(&'static str),
}

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
    #[serde(default)]
    optional: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
struct Critical {
    identity: DockerIdentity,
    image: DockerImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DockerIdentity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DockerImage {
    #[serde(with = "sha256_text")]
    docker_manifest_digest: Sha256,
}

/// The bytes to sign.
pub fn encode(claims: &Claims) -> Vec<u8> {
    let mut payload = serde_json::json!({
        "critical": {
            "identity": { "docker-reference": claims.repository },
            "image": { "docker-manifest-digest": format!("sha256:{}", claims.manifest) },
            "type": TYPE,
        },
        "optional": null,
    });
    if let Some(elea) = &claims.elea {
        payload["optional"] = serde_json::json!({
            "elea.epoch": elea.epoch.to_string(),
            "elea.form": elea.form,
            "elea.image": elea.image,
            "elea.name": elea.name,
            "elea.version": elea.version,
        });
    }
    payload.to_string().into_bytes()
}

/// Reads a payload; call it only with bytes whose signature was verified.
///
/// All of Elea's members are texts, since cosign's annotations are. They are there all
/// together or not at all: a payload with some of them is refused.
pub fn parse(bytes: &[u8]) -> Result<Claims, PayloadError> {
    if bytes.len() as u64 > MAX_PAYLOAD {
        return Err(PayloadError::TooLarge(bytes.len()));
    }
    let payload: Payload = serde_json::from_slice(bytes)?;
    if payload.critical.kind != TYPE {
        return Err(PayloadError::Type(payload.critical.kind));
    }
    let optional = payload.optional.unwrap_or_default();
    let elea = if optional.keys().any(|key| key.starts_with("elea.")) {
        let text = |key: &'static str| {
            optional
                .get(key)
                .and_then(|value| value.as_str())
                .filter(|value| !value.is_empty())
                .ok_or(PayloadError::Member(key))
        };
        Some(Identity {
            name: text("elea.name")?.into(),
            version: text("elea.version")?.into(),
            epoch: text("elea.epoch")?
                .parse()
                .map_err(|_| PayloadError::Member("elea.epoch"))?,
            image: text("elea.image")?
                .parse()
                .map_err(|_| PayloadError::Member("elea.image"))?,
            form: text("elea.form")?.into(),
        })
    } else {
        None
    };
    Ok(Claims {
        repository: payload.critical.identity.docker_reference,
        manifest: payload.critical.image.docker_manifest_digest,
        elea,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            repository: "localhost:5000/hello".into(),
            manifest: Sha256::of(b"m"),
            elea: Some(Identity {
                name: "hello".into(),
                version: "2.0".into(),
                epoch: 3,
                image: Sha256::of(b"i").into(),
                form: "os-1".into(),
            }),
        }
    }

    #[test]
    fn claims_round_trip_in_a_form_that_never_changes() {
        let bytes = encode(&claims());
        let golden = include_str!("../tests/golden/signature-1.json");
        assert_eq!(String::from_utf8_lossy(&bytes), golden.trim_end());
        assert_eq!(parse(&bytes).unwrap(), claims());
        let plain = Claims {
            elea: None,
            ..claims()
        };
        assert_eq!(parse(&encode(&plain)).unwrap(), plain);
    }

    #[test]
    fn a_payload_of_cosign_itself_is_read() {
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"quay.io/a/b"}},"image":{{"docker-manifest-digest":"sha256:{}"}},"type":"{TYPE}"}},"optional":{{"creator":"x","timestamp":1}}}}"#,
            Sha256::of(b"m")
        );
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read.repository, "quay.io/a/b");
        assert_eq!(read.elea, None);
    }

    #[test]
    fn half_a_claim_is_refused() {
        let whole = String::from_utf8(encode(&claims())).unwrap();
        for (text, reason) in [
            (whole.replace("elea.epoch", "elea.epock"), "`elea.epoch`"),
            (whole.replace("\"3\"", "\"-3\""), "`elea.epoch`"),
            (whole.replace("\"3\"", "3"), "`elea.epoch`"),
            (whole.replace("\"hello\"", "\"\""), "`elea.name`"),
            (whole.replace(TYPE, "atomic container signature"), "atomic"),
            (whole.replace("sha256:", "md5:"), "64 digits"),
            (whole[..whole.len() - 2].to_owned(), "not valid"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
