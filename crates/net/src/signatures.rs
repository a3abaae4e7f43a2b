//! Signatures where cosign keeps them: a manifest at the tag `sha256-<digest>.sig`, whose
//! layers are payloads with the signature in an annotation (cosign `SIGNATURE_SPEC.md`).

use crate::NetError;
use crate::source::Source;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_formats::digest::Digest;
use elea_formats::oci::reference::Target;
use elea_formats::oci::{Descriptor, Manifest, OciError, media};
use elea_formats::signature::{ANNOTATION, MAX_PAYLOAD};
use elea_store::trust::Signature;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;

/// The most signatures that are read of one image.
const MAX_SIGNATURES: usize = 32;
/// The longest signature, in base64 characters.
const MAX_TEXT: usize = 1024;

/// The tag of the signatures of a manifest.
pub(crate) fn tag(manifest: &Digest) -> String {
    format!("sha256-{manifest}.sig")
}

/// Fetches the signatures of a manifest; entries of other kinds are passed over.
pub(crate) fn fetch(
    source: &Source,
    manifest: &Digest,
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
    manifest: &Digest,
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

/// Adds a signature to those that are there. One over the same payload is replaced, so that
/// signing again does not make the list longer.
pub(crate) fn add(existing: Option<Manifest>, signature: &Signature) -> Listed {
    let payload = Descriptor {
        media_type: media::SIMPLE_SIGNING.into(),
        digest: Digest::sha256(&signature.payload),
        size: signature.payload.len() as u64,
        annotations: BTreeMap::from([(ANNOTATION.into(), STANDARD.encode(&signature.signature))]),
        platform: None,
    };
    let mut layers = existing.map(|m| m.layers).unwrap_or_default();
    layers.retain(|layer| layer.digest != payload.digest);
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
                digest: Digest::sha256(&config),
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

    #[test]
    fn signing_again_replaces_and_other_signers_stay() {
        let signature = |payload: &[u8], signature: &[u8]| Signature {
            payload: payload.to_vec(),
            signature: signature.to_vec(),
        };
        let one = add(None, &signature(b"a", b"1")).manifest;
        let two = add(Some(one), &signature(b"b", b"2")).manifest;
        let three = add(Some(two), &signature(b"a", b"3")).manifest;
        let all: Vec<_> = three.layers.iter().map(|l| of_layer(l).unwrap()).collect();
        assert_eq!(all, [b"2".to_vec(), b"3".to_vec()]);
    }

    #[test]
    fn layers_that_are_no_signatures_are_passed_over() {
        let mut layer = add(
            None,
            &Signature {
                payload: b"p".to_vec(),
                signature: b"s".to_vec(),
            },
        )
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
