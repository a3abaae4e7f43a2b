//! Signatures onto what is in a registry or layout.

use crate::signatures::{self, Listed};
use crate::sink::Sink;
use crate::source::Image;
use crate::{NetError, Options, Registries};
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::oci::{ImageConfig, LABEL_FORM, LABEL_IMAGE};
use elea_formats::signature::{self, Claims, Identity};
use elea_store::trust::{PrivateKey, Signature};
use elea_sys::progress::Progress;

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What the signature says.
    pub claims: Claims,
    /// The key's id.
    pub key: Sha256,
    /// Whether a signature was added; false if this key had signed the same before.
    pub added: bool,
}

/// Signs an image that is in a registry or layout.
///
/// What the signature says of the image beside its manifest is `identity`, or else what the
/// image's config says; an image that Elea did not push has none, and is then signed as any
/// container image is. Who signs vouches for the manifest, so look at it first.
pub fn sign(
    reference: &Reference,
    options: &Options,
    key: &PrivateKey,
    identity: Option<Identity>,
    progress: &dyn Progress,
) -> Result<Signed, NetError> {
    // A mirror is not where a signature is put.
    let options = &Options {
        registries: Registries::default(),
        ..options.clone()
    };
    let image = Image::locate(reference, options)?;
    let opened = image.open(progress)?;
    let elea = match identity {
        Some(identity) => Some(identity),
        None => of_config(&image.reference, &image.config(&opened, progress)?)?,
    };
    let sink = Sink::beside(reference, image)?;
    let claims = Claims {
        repository: sink.repository.clone(),
        manifest: opened.digest,
        elea,
    };
    let added = add_signature(&sink, &claims, key, progress)?;
    Ok(Signed {
        claims,
        key: key.public().id(),
        added,
    })
}

/// What the config of an image that Elea pushed says of it.
fn of_config(what: &str, config: &ImageConfig) -> Result<Option<Identity>, NetError> {
    let (Some(release), Some(image)) = (&config.release, config.label(LABEL_IMAGE)) else {
        return Ok(None);
    };
    Ok(Some(Identity {
        name: release.name.clone(),
        version: release.version.clone(),
        epoch: release.epoch,
        image: image.parse().map_err(|_| NetError::NoDigest {
            what: what.to_owned(),
            label: image.chars().take(80).collect(),
        })?,
        form: config.label(LABEL_FORM).unwrap_or("os-1").to_owned(),
    }))
}

/// Adds a signature to those that are there; false if it is there already. What is served
/// afterwards is looked at.
pub(crate) fn add_signature(
    sink: &Sink,
    claims: &Claims,
    key: &PrivateKey,
    progress: &dyn Progress,
) -> Result<bool, NetError> {
    let public = key.public();
    let payload = signature::encode(claims);
    let existing = signatures::list(&sink.source, &claims.manifest, progress)?;
    if let Some(existing) = &existing
        && signatures::holds(existing, &payload, &public)
    {
        return Ok(false);
    }
    let signature = Signature {
        signature: key.sign(&payload)?,
        payload,
    };
    let Listed { manifest, config } = signatures::add(existing, &signature, &public);
    sink.put_bytes(&signature.payload, progress)?;
    sink.put_bytes(&config, progress)?;
    let bytes = manifest.encode();
    let tag = signatures::tag(&claims.manifest);
    sink.put_manifest(&tag, &bytes, progress)?;
    let pushed = Sha256::of(&bytes);
    match served(sink, &Target::Tag(tag.clone()), progress)? {
        Some(served) if served == pushed => Ok(true),
        served => Err(NetError::Served {
            what: format!("the signature at {tag}"),
            pushed,
            served,
        }),
    }
}

/// What a tag or digest names now.
pub(crate) fn served(
    sink: &Sink,
    target: &Target,
    progress: &dyn Progress,
) -> Result<Option<Sha256>, NetError> {
    let document = sink.source.manifest(target, progress)?;
    Ok(document.map(|document| document.digest))
}
