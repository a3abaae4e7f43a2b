//! What a place offers, judged before anything large of it is fetched.

use crate::layers::{self, Wanted};
use crate::source::{Image, Opened};
use crate::{NetError, Options, signatures};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_formats::oci::reference::Reference;
use elea_formats::oci::{Descriptor, ImageConfig, LABEL_FORM, LABEL_IMAGE, sha256_text};
use elea_formats::release::Release;
use elea_store::Store;
use elea_store::trust::{
    Candidate, Demand, Policy, Refusal, Running, Signature, Verdict, check_release, judge,
};
use elea_sys::progress::Progress;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// An image that is offered, and all that is known of it before its layers are fetched.
#[derive(Debug, Clone)]
pub struct Offer {
    /// How it was asked for.
    pub reference: Reference,
    /// Host and name of its repository; none if it is in a layout or archive.
    pub repository: Option<String>,
    /// SHA-256 of its OCI manifest.
    pub manifest: Sha256,
    /// What vouches for it.
    pub verdict: Verdict,
    /// The release that its config says it holds. The manifest names the config by digest, so a
    /// signature covers it; whether the layers hold that release is known after [`pull`](crate::pull()).
    pub release: Option<Release>,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Bytes of all its layers as they are stored there.
    pub total: u64,
    /// Bytes of the layers that the store knows nothing of; 0 when the image is here. Of a layer with a table
    /// fewer are fetched, and one whose objects are damaged comes again.
    pub missing: u64,
    /// The image's digest as the signature, or else the label, names it.
    pub image: Option<Digest>,
    /// The form of that digest.
    pub form: Form,
    /// Whether the store has that image, with all of its objects.
    pub here: bool,
    /// The signatures of trusted keys.
    pub(crate) signatures: Vec<Signature>,
    /// The layers with what they must unpack to.
    pub(crate) wanted: Vec<Wanted>,
}

/// Looks at what a reference names: manifest, signatures, verdict, config, release, and what
/// of it the store has. Nothing is written.
///
/// `running` is the system that the image would follow, if there is one.
pub fn check(
    reference: &Reference,
    store: &Store,
    options: &Options,
    policy: &Policy,
    running: Option<&Running>,
    progress: &dyn Progress,
) -> Result<Offer, NetError> {
    let image = Image::locate(reference, options)?;
    let opened = image.open(progress)?;
    let (verdict, signatures) =
        judge_opened(reference, &image, &opened, policy, running, progress)?;
    let config = image.config(&opened, progress)?;
    check_release(config.release.as_ref(), &verdict, running, policy)?;
    let (claimed, form) = claimed(&image.reference, &config, &verdict)?;
    let wanted = wanted(store, &image.reference, &opened, &config)?;
    let here = match claimed {
        Some(digest) => layers::is_whole(store, &digest),
        None => false,
    };
    let unknown = wanted.iter().filter(|one| one.recorded.is_none());
    let missing = if here {
        0
    } else {
        size_of(unknown.map(|one| &one.layer))
    };
    let layers = opened.manifest.layers;
    Ok(Offer {
        reference: reference.clone(),
        repository: image.repository,
        manifest: opened.digest,
        verdict,
        release: config.release.clone(),
        config,
        total: size_of(&layers),
        layers,
        missing,
        image: claimed,
        form,
        here,
        signatures,
        wanted,
    })
}

impl Offer {
    /// The layers that the store knows nothing of, with their sizes.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = (Sha256, u64)> {
        let unknown = self.wanted.iter().filter(|one| one.recorded.is_none());
        unknown.map(|one| (one.layer.digest, one.layer.size))
    }
}

/// Bytes of layers, each once.
fn size_of<'a>(layers: impl IntoIterator<Item = &'a Descriptor>) -> u64 {
    let mut seen = BTreeSet::new();
    layers
        .into_iter()
        .filter(|layer| seen.insert(layer.digest))
        .fold(0, |sum, layer| sum.saturating_add(layer.size))
}

/// The verdict on an image, and the signatures of trusted keys. Where an index was asked for,
/// a signature of the index is as good as one of the image: it names the image by digest.
fn judge_opened(
    reference: &Reference,
    image: &Image,
    opened: &Opened,
    policy: &Policy,
    running: Option<&Running>,
    progress: &dyn Progress,
) -> Result<(Verdict, Vec<Signature>), NetError> {
    let place = absolute(reference);
    let demand = &policy.rules.find(&place).demand;
    let verdict_on = |manifest| -> Result<_, NetError> {
        let mut found = match demand {
            Demand::Signed(_) => signatures::fetch(&image.source, &manifest, progress)?,
            Demand::Accept | Demand::Reject => Vec::new(),
        };
        let candidate = Candidate {
            reference: &place,
            manifest,
            signatures: &found,
        };
        let verdict = judge(&candidate, running, policy);
        if let Demand::Signed(signers) = demand {
            let by = |s: &Signature| signers.keys.who_signed(&s.payload, &s.signature);
            found.retain(|s| by(s).is_some());
        }
        Ok((verdict, found))
    };
    let (first, trusted) = verdict_on(opened.digest)?;
    let (verdict, trusted) = match (&first, opened.index) {
        (
            Ok(Verdict::Unsigned { .. }) | Err(Refusal::Unsigned { .. } | Refusal::TooFew { .. }),
            Some(index),
        ) => {
            match verdict_on(index)? {
                (Ok(verdict), trusted) => (Ok(verdict), trusted),
                // What is wrong with a signature says more than that there is none.
                (Err(Refusal::Unsigned { .. }), _) => (first, trusted),
                (Err(refusal), _) => (Err(refusal), Vec::new()),
            }
        }
        _ => (first, trusted),
    };
    Ok((verdict?, trusted))
}

/// A reference whose path means the same everywhere: rules are for absolute paths.
pub(crate) fn absolute(reference: &Reference) -> Reference {
    let path = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match reference {
        Reference::Layout { path: folder, tag } => Reference::Layout {
            path: path(folder),
            tag: tag.clone(),
        },
        Reference::Archive(file) => Reference::Archive(path(file)),
        other => other.clone(),
    }
}

/// The digest and form that the signature or label names.
fn claimed(
    what: &str,
    config: &ImageConfig,
    verdict: &Verdict,
) -> Result<(Option<Digest>, Form), NetError> {
    let signed = match verdict {
        Verdict::Signed { claims, .. } => claims.elea.as_ref(),
        Verdict::Unsigned { .. } => None,
    };
    let label = config.label(LABEL_IMAGE);
    if let (Some(signed), Some(label)) = (signed, label)
        && label != signed.image.to_string()
    {
        return Err(NetError::Label {
            what: what.to_owned(),
            label: label.chars().take(80).collect(),
            signed: signed.image.to_string(),
        });
    }
    let form = signed
        .map(|identity| identity.form.as_str())
        .or_else(|| config.label(LABEL_FORM));
    let form = match form {
        None => Form::default(),
        Some(name) => name.parse().map_err(|_| NetError::Form {
            what: what.to_owned(),
            form: name.chars().take(80).collect(),
        })?,
    };
    let digest = match (signed, label) {
        (Some(signed), _) => Some(signed.image),
        (None, Some(label)) => Some(label.parse().map_err(|_| NetError::NoDigest {
            what: what.to_owned(),
            label: label.chars().take(80).collect(),
        })?),
        (None, None) => None,
    };
    Ok((digest, form))
}

/// The layers with the digests that the config says they unpack to, and what the store knows of them.
pub(crate) fn wanted(
    store: &Store,
    what: &str,
    opened: &Opened,
    config: &ImageConfig,
) -> Result<Vec<Wanted>, NetError> {
    let layers = &opened.manifest.layers;
    let named = &config.rootfs.diff_ids;
    if layers.len() != named.len() {
        return Err(NetError::Layers {
            what: what.to_owned(),
            layers: layers.len(),
            named: named.len(),
        });
    }
    let blobs: Vec<Sha256> = layers.iter().map(|layer| layer.digest).collect();
    let recorded = store.recorded_layers(&blobs)?;
    let all = layers.iter().zip(named).zip(recorded);
    all.map(|((layer, diff_id), recorded)| {
        let diff_id = sha256_text::parse(diff_id).ok_or_else(|| NetError::NoDigest {
            what: what.to_owned(),
            label: diff_id.chars().take(80).collect(),
        })?;
        Ok(Wanted {
            layer: layer.clone(),
            diff_id,
            recorded: recorded.filter(|recorded| recorded.diff_id == diff_id),
        })
    })
    .collect()
}
