//! Layers: what an OCI layer did to a tree, kept without its bytes.

use elea_formats::digest::Digest;

/// What a layer's tar file says, with contents as objects; kept in `manifests/layers/`.
#[derive(Debug, Clone)]
pub struct Layer {
    /// SHA-256 of the layer's blob as it is in the registry.
    pub blob: Digest,
    /// SHA-256 of the uncompressed tar file.
    pub diff_id: Digest,
}
