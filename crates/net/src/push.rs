//! An image from the store into a registry or layout.

use crate::beside;
use crate::partial::Packing;
use crate::sign::{add_signature, served};
use crate::sink::Sink;
use crate::source::{Source, architecture};
use crate::{NetError, Options};
use elea_formats::digest::{Algorithm, Digest, Sha256};
use elea_formats::erofs;
use elea_formats::generation::{MAX_PAYLOAD, Payload};
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::oci::{
    Container, Descriptor, History, ImageConfig, LABEL_BOOTC, LABEL_FORM, LABEL_IMAGE, Manifest,
    RootFs, TITLE, VERSION, media,
};
use elea_formats::release::{ImageManifest, Release};
use elea_formats::signature::{Claims, Identity};
use elea_formats::tree::Tree;
use elea_store::Store;
use elea_store::export::{self, Compression, Packed};
use elea_store::trust::PrivateKey;
use elea_sys::At as _;
use elea_sys::progress::{Progress, Silent, Unit};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// SHA-256 of the manifest that the tag names now.
    pub manifest: Sha256,
    /// How many layers it has.
    pub layers: usize,
    /// Bytes that were uploaded: layers and config.
    pub uploaded: u64,
    /// Bytes that were there already.
    pub present: u64,
    /// The id of the key that signed it, if one was given.
    pub signed_by: Option<Sha256>,
    /// The names of the specialisations that stand beside it now.
    pub specialisations: Vec<String>,
}

/// Writes an image as an OCI image: layers, config, signature, and last the tag. The specialisations that it names come
/// before it, at tags of their own.
///
/// The same image gives the same manifest, bit for bit; what is there is not uploaded again.
pub fn push(
    image: &Digest,
    store: &Store,
    reference: &Reference,
    options: &Options,
    key: Option<&PrivateKey>,
    progress: &dyn Progress,
) -> Result<Pushed, NetError> {
    let _lease = store.lease(&format!("pushing {reference}"))?;
    let (mut uploaded, mut present, mut specialisations) = (0, 0, Vec::new());
    for (name, image, place) in beside::to_push(&store.image(image)?, store, reference)? {
        let pushed = push_one(&image, store, &place, options, key, progress)?;
        uploaded += pushed.uploaded;
        present += pushed.present;
        specialisations.push(name);
    }
    let pushed = push_one(image, store, reference, options, key, progress)?;
    Ok(Pushed {
        uploaded: pushed.uploaded + uploaded,
        present: pushed.present + present,
        specialisations,
        ..pushed
    })
}

fn push_one(
    image: &Digest,
    store: &Store,
    reference: &Reference,
    options: &Options,
    key: Option<&PrivateKey>,
    progress: &dyn Progress,
) -> Result<Pushed, NetError> {
    let mut about = store.image(image)?;
    let tree = store.tree(image)?;
    // Machines have SHA-256, and so has what is sent to them.
    if store.algorithm() != Algorithm::Sha256 {
        about.image = store.digest_by(Algorithm::Sha256, &tree, erofs::Version::V1)?;
    }
    let sink = Sink::locate(reference, options)?;
    let tag = Target::Tag(sink.tag.clone());
    // A place that cannot be reached, or wants a login, is found before the work.
    served(&sink, &tag, progress)?;
    let packing = Packing::new(store)?;
    let compression = options.compression.unwrap_or(match sink.source {
        Source::Registry(_) => Compression::Chunked,
        Source::Layout(_) | Source::Archive(_) => Compression::Gzip,
    });
    let packed = export::layers(store, &tree, compression, packing.path(), progress)
        .map_err(|error| NetError::from(error).in_store(store.path()))?;
    let payloads = payloads(store, &tree, about.release.as_ref())?;
    let config = plan_config(&about, &packed, payloads).encode();
    let manifest = plan_manifest(&about, &config, &packed).encode();
    let digest = Sha256::of(&manifest);
    let mut pushed = Pushed {
        manifest: digest,
        layers: packed.len(),
        uploaded: 0,
        present: 0,
        signed_by: None,
        specialisations: Vec::new(),
    };
    upload(&sink, &packed, &mut pushed, progress)?;
    let size = config.len() as u64;
    if sink.has_blob(&Sha256::of(&config), size, progress)? {
        pushed.present += size;
    } else {
        sink.put_bytes(&config, progress)?;
        pushed.uploaded += size;
    }
    if let Some(key) = key {
        let claims = Claims {
            repository: sink.repository.clone(),
            manifest: digest,
            elea: about
                .release
                .as_ref()
                .map(|release| identity(release, &about)),
        };
        add_signature(&sink, &claims, key, progress)?;
        pushed.signed_by = Some(key.public().id());
    }
    if served(&sink, &tag, progress)? != Some(digest) {
        sink.put_manifest(&sink.tag, &manifest, progress)?;
    }
    match served(&sink, &tag, progress)? {
        Some(served) if served == digest => {
            if let Err(e) = remember(store, image, &packed, progress) {
                progress.note(&format!("its layers were not written down here: {e}"));
            }
            Ok(pushed)
        }
        served => Err(NetError::Served {
            what: reference.to_string(),
            pushed: digest,
            served,
        }),
    }
}

/// Writes down in the store which layers make the image, as a pull would: a disk that is installed
/// from this store fetches only what changed at its first upgrade.
fn remember(
    store: &Store,
    image: &Digest,
    packed: &[Packed],
    progress: &dyn Progress,
) -> Result<(), NetError> {
    progress.start("noting layers", Some(packed.len() as u64), Unit::Items);
    for layer in packed {
        if progress.cancelled() {
            return Err(NetError::Cancelled);
        }
        if store.layer(&layer.blob)?.is_none() {
            let file = File::open(&layer.path).at("open", &layer.path)?;
            store.import_layer(&layer.blob, layer.media_type, file, &Silent)?;
        }
        progress.advance(1);
    }
    progress.finish();
    let blobs: Vec<Sha256> = packed.iter().map(|layer| layer.blob).collect();
    Ok(store.note_layers(image, &blobs)?)
}

/// Uploads the layers that are not there, each once.
fn upload(
    sink: &Sink,
    packed: &[Packed],
    pushed: &mut Pushed,
    progress: &dyn Progress,
) -> Result<(), NetError> {
    let mut seen = BTreeSet::new();
    let unique: Vec<_> = packed.iter().filter(|l| seen.insert(l.blob)).collect();
    let total = unique.iter().map(|layer| layer.size).sum();
    progress.start("pushing", Some(total), Unit::Bytes);
    for layer in unique {
        if progress.cancelled() {
            return Err(NetError::Cancelled);
        }
        if sink.has_blob(&layer.blob, layer.size, progress)? {
            pushed.present += layer.size;
            progress.advance(layer.size);
        } else {
            sink.put_file(&layer.blob, &layer.path, layer.size, progress)?;
            pushed.uploaded += layer.size;
        }
    }
    progress.finish();
    Ok(())
}

/// What a signature says of an image beside its manifest.
fn identity(release: &Release, about: &ImageManifest) -> Identity {
    Identity {
        name: release.name.clone(),
        version: release.version.clone(),
        epoch: release.epoch,
        image: about.image,
        form: about.form.clone(),
    }
}

/// What a machine needs on its boot partition: the kernel, then the initrds.
fn payloads(
    store: &Store,
    tree: &Tree,
    release: Option<&Release>,
) -> Result<Vec<Payload>, NetError> {
    let paths = release.into_iter().flat_map(|release| {
        let all = std::iter::once(&release.kernel).chain(&release.initrds);
        all.filter(|path| !path.is_empty())
    });
    let mut payloads = Vec::new();
    for path in paths {
        let content = store.read_file(tree, path.trim_start_matches('/'), MAX_PAYLOAD)?;
        payloads.extend(content.map(|content| Payload {
            sha256: Sha256::of(&content),
            size: content.len() as u64,
        }));
    }
    Ok(payloads)
}

/// The config: no times, no host names, nothing that is not of the image.
fn plan_config(about: &ImageManifest, packed: &[Packed], payloads: Vec<Payload>) -> ImageConfig {
    let release = about.release.as_ref();
    let mut labels = BTreeMap::from([
        (LABEL_IMAGE.to_owned(), about.image.to_string()),
        (LABEL_FORM.to_owned(), about.form.clone()),
    ]);
    labels.extend(names(release));
    let boots = release.is_some_and(|release| !release.kernel.is_empty());
    if boots {
        labels.insert(LABEL_BOOTC.into(), "1".into());
    }
    ImageConfig {
        created: None,
        architecture: release
            .map_or(architecture(), |release| go_name(&release.architecture))
            .to_owned(),
        os: "linux".into(),
        config: Container {
            labels: Some(labels),
            cmd: boots.then(|| vec!["/sbin/init".into()]),
        },
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: packed
                .iter()
                .map(|layer| format!("sha256:{}", layer.diff_id))
                .collect(),
        },
        history: packed
            .iter()
            .map(|layer| History {
                created_by: Some(layer.title.clone()),
                empty_layer: false,
            })
            .collect(),
        release: release.cloned(),
        payloads,
    }
}

fn plan_manifest(about: &ImageManifest, config: &[u8], packed: &[Packed]) -> Manifest {
    let descriptor = |media_type: &str, digest, size, annotations| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        annotations,
        platform: None,
    };
    let size = config.len() as u64;
    Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.into()),
        config: descriptor(media::CONFIG, Sha256::of(config), size, BTreeMap::new()),
        layers: packed
            .iter()
            .map(|layer| {
                let annotations = layer.annotations.clone();
                descriptor(layer.media_type, layer.blob, layer.size, annotations)
            })
            .collect(),
        annotations: names(about.release.as_ref()),
    }
}

/// Title and version, as labels and as annotations.
fn names(release: Option<&Release>) -> BTreeMap<String, String> {
    release
        .map(|release| {
            BTreeMap::from([
                (TITLE.to_owned(), release.title.clone()),
                (VERSION.to_owned(), release.version.clone()),
            ])
        })
        .unwrap_or_default()
}

/// An architecture of Debian by Go's name (`GOARCH`); most are the same.
fn go_name(debian: &str) -> &str {
    match debian {
        "i386" => "386",
        "armhf" | "armel" => "arm",
        "ppc64el" => "ppc64le",
        "mips64el" => "mips64le",
        other => other,
    }
}
