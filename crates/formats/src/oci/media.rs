//! Media types: OCI's (`media-types.md`), Docker's version 2 schema 2, and cosign's.

/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer: tar.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer: tar, gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer: tar, zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker's image manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's layer: tar, gzip.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// The payload of a cosign signature.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What is asked for when a manifest is fetched: the value of `Accept`.
pub const ACCEPT: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// How a layer of this media type is packed; none if it is not a layer that can be read.
/// ("Foreign" and encrypted layers cannot.)
pub fn packing(media_type: &str) -> Option<Packing> {
    match media_type {
        LAYER => Some(Packing::Plain),
        LAYER_GZIP | DOCKER_LAYER => Some(Packing::Gzip),
        LAYER_ZSTD => Some(Packing::Zstd),
        _ => None,
    }
}

/// Whether a media type is that of a layer that can be read.
pub fn is_layer(media_type: &str) -> bool {
    packing(media_type).is_some()
}
