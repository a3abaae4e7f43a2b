//! Signatures where cosign keeps them: a manifest at the tag `sha256-<digest>.sig`, whose
//! layers are payloads with the signature in an annotation (cosign `SIGNATURE_SPEC.md`).

use crate::NetError;
use crate::source::Source;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::Target;
use elea_formats::oci::{Descriptor, Manifest, OciError, media};
use elea_formats::signature::{ANNOTATION, MAX_PAYLOAD};
use elea_store::trust::{PublicKey, Signature};
use elea_sys::progress::Progress;
use std::collections::BTreeMap;

/// The most signatures that are read of one image.
const MAX_SIGNATURES: usize = 32;
/// The longest signature, in base64 characters.
const MAX_TEXT: usize = 1024;

/// The tag of the signatures of a manifest.
pub(crate) fn tag(manifest: &Sha256) -> String {
    format!("sha256-{manifest}.sig")
}

/// Fetches the signatures of a manifest; entries of other kinds are passed over.
pub(crate) fn fetch(
    source: &Source,
    manifest: &Sha256,
    progress: &dyn Progress,
) -> Result<Vec<Signature>, NetError> {
    let Some(found) = list(source, manifest, progress)? else {
        return Ok(Vec::new());
    };
    let mut signatures = Vec::new();
    for layer in found.layers.iter().take(MAX_SIGNATURES) {
        if let Some(signature) = of_layer(layer) {
            let payload = source.small_blob(layer, MAX_PAYLOAD, progress)?;
            signatures.push(Signature { payload, signature });
        }
    }
    Ok(signatures)
}

/// The manifest that lists the signatures, if there is one.
pub(crate) fn list(
    source: &Source,
    manifest: &Sha256,
    progress: &dyn Progress,
) -> Result<Option<Manifest>, NetError> {
    let tag = tag(manifest);
    let Some(document) = source.manifest(&Target::Tag(tag.clone()), progress)? else {
        return Ok(None);
    };
    Manifest::parse(&document.bytes)
        .map(Some)
        .map_err(|source: OciError| NetError::Document { what: tag, source })
}

/// The signature in a layer's annotation.
fn of_layer(layer: &Descriptor) -> Option<Vec<u8>> {
    let text = layer.annotations.get(ANNOTATION)?;
    if layer.media_type != media::SIMPLE_SIGNING || text.len() > MAX_TEXT {
        return None;
    }
    STANDARD.decode(text).ok()
}

/// What is stored for a list of signatures: the manifest, and the config that it names.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) manifest: Manifest,
    pub(crate) config: Vec<u8>,
}

/// Whether a key's signature over a payload is among those that are there.
pub(crate) fn holds(existing: &Manifest, payload: &[u8], key: &PublicKey) -> bool {
    let digest = Sha256::of(payload);
    existing
        .layers
        .iter()
        .any(|layer| layer.digest == digest && is_by(layer, payload, key))
}

fn is_by(layer: &Descriptor, payload: &[u8], key: &PublicKey) -> bool {
    of_layer(layer).is_some_and(|signature| key.verify(payload, &signature))
}

/// Adds the signature of `key` to those that are there. Its own over the same payload is
/// replaced, so that signing again does not make the list longer; those of others stay.
pub(crate) fn add(existing: Option<Manifest>, signature: &Signature, key: &PublicKey) -> Listed {
    let payload = Descriptor {
        media_type: media::SIMPLE_SIGNING.into(),
        digest: Sha256::of(&signature.payload),
        size: signature.payload.len() as u64,
        annotations: BTreeMap::from([(ANNOTATION.into(), STANDARD.encode(&signature.signature))]),
        platform: None,
    };
    let mut layers = existing.map(|m| m.layers).unwrap_or_default();
    layers.retain(|layer| layer.digest != payload.digest || !is_by(layer, &signature.payload, key));
    layers.push(payload);
    if layers.len() > MAX_SIGNATURES {
        layers.drain(..layers.len() - MAX_SIGNATURES);
    }
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|l| format!("sha256:{}", l.digest))
        .collect();
    let config = serde_json::json!({
        "architecture": "",
        "config": {},
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes();
    Listed {
        manifest: Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.into()),
            config: Descriptor {
                media_type: media::CONFIG.into(),
                digest: Sha256::of(&config),
                size: config.len() as u64,
                annotations: BTreeMap::new(),
                platform: None,
            },
            layers,
            annotations: BTreeMap::new(),
        },
        config,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_store::trust::{Algorithm, PrivateKey};

    fn sign(key: &PrivateKey, payload: &[u8]) -> Signature {
        Signature {
            payload: payload.to_vec(),
            signature: key.sign(payload).unwrap(),
        }
    }

    #[test]
    fn signing_again_replaces_and_other_signers_stay() {
        let one = PrivateKey::generate(Algorithm::EcdsaP256).unwrap();
        let two = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let mut list = None;
        for (key, payload) in [(&one, b"a"), (&two, b"a"), (&one, b"b"), (&one, b"a")] {
            list = Some(add(list, &sign(key, payload), &key.public()).manifest);
        }
        let list = list.unwrap();
        assert_eq!(list.layers.len(), 3);
        for (key, payload, there) in [
            (&one, b"a", true),
            (&two, b"a", true),
            (&one, b"b", true),
            (&two, b"b", false),
        ] {
            assert_eq!(holds(&list, payload, &key.public()), there);
        }
    }

    #[test]
    fn layers_that_are_no_signatures_are_passed_over() {
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let mut layer = add(None, &sign(&key, b"p"), &key.public())
            .manifest
            .layers
            .remove(0);
        assert!(of_layer(&layer).is_some());
        layer.annotations.insert(ANNOTATION.into(), "?".into());
        assert!(of_layer(&layer).is_none());
        layer
            .annotations
            .insert(ANNOTATION.into(), "A".repeat(MAX_TEXT + 4));
        assert!(of_layer(&layer).is_none());
        layer
            .annotations
            .insert(ANNOTATION.into(), STANDARD.encode("s"));
        layer.media_type = media::LAYER.into();
        assert!(of_layer(&layer).is_none());
    }
}
