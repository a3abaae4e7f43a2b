//! What an image brings to a disk: its release, what boots it, and its objects.

use super::error::Error;
use crate::apply::{self, Payloads};
use crate::machine::ALGORITHM;
use elea_formats::cmdline::{Argument, CommandLine};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::{
    DIGEST_ARGUMENT, GENERATION_ARGUMENT, Generation, MAX_PAYLOAD, MEMORY_ARGUMENT, Payload, SCHEMA,
};
use elea_formats::release::{self, ImageManifest, Release};
use elea_formats::tree::Tree;
use elea_store::Store;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest `release.json` that is read, in bytes.
const MAX_RELEASE: u64 = 16 << 20;
/// The largest boot loader, in bytes.
const MAX_LOADER: u64 = 16 << 20;
/// The architecture that partition types and the loader's name are for.
const ARCHITECTURE: &str = "amd64";
/// Arguments that are Elea's own; the last of a key counts, so no other may come after.
const OWN: [&str; 7] = [
    DIGEST_ARGUMENT,
    GENERATION_ARGUMENT,
    MEMORY_ARGUMENT,
    "root",
    "elea.rescue",
    "init",
    "rdinit",
];

/// What is installed.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The image.
    pub image: ImageManifest,
    /// What it says of itself.
    pub release: Release,
    /// The boot loader.
    pub loader: Vec<u8>,
    /// The OCI layers that it was assembled from and that the store has whole: the next
    /// upgrade need not fetch them again.
    pub layers: Vec<Sha256>,
    /// Every object of the image, its own file included, and of the layers, with its size in bytes.
    pub objects: BTreeMap<Digest, u64>,
    /// The kernel, then the initrds.
    payloads: Vec<(Payload, Arc<Vec<u8>>)>,
    /// Its specialisations with their names, if they are installed along.
    pub beside: Vec<(String, Self)>,
}

impl Contents {
    /// Reads what the store has of an image. Everything comes from the checked image itself;
    /// whether it is to be trusted is the caller's question, asked before. A store that names objects as no machine
    /// does is refused.
    pub fn load(store: &Store, image: &Digest) -> Result<Self, Error> {
        store.require(ALGORITHM)?;
        let tree = store.tree(image)?;
        let manifest = store.image(image)?;
        let text = store.read_file(&tree, release::PATH, MAX_RELEASE)?;
        let text = text.ok_or(Error::NoRelease(*image))?;
        let release: Release = serde_json::from_slice(&text).map_err(|e| Error::Release {
            image: *image,
            reason: e.to_string(),
        })?;
        if release.architecture != ARCHITECTURE {
            return Err(Error::Architecture(release.architecture));
        }
        let mut payloads = Vec::new();
        for path in std::iter::once(&release.kernel).chain(&release.initrds) {
            let content = file(store, &tree, path, MAX_PAYLOAD)?;
            let payload = Payload {
                sha256: Sha256::of(&content),
                size: content.len() as u64,
            };
            payloads.push((payload, Arc::new(content)));
        }
        let mut objects = store.objects_of(image)?;
        let mut layers = Vec::new();
        for blob in store.layers_of(image)? {
            if let Some(layer) = store.layer(&blob)? {
                objects.extend(layer.objects());
                layers.push(blob);
            }
        }
        Ok(Self {
            loader: file(store, &tree, &release.loader, MAX_LOADER)?,
            objects,
            layers,
            image: manifest,
            release,
            payloads,
            beside: Vec::new(),
        })
    }

    /// The same with the specialisations that the image names. Those that the store has not are left out, and said to be.
    pub fn load_all(store: &Store, image: &Digest, progress: &dyn Progress) -> Result<Self, Error> {
        let mut contents = Self::load(store, image)?;
        for (name, image) in contents.release.specialisations.clone() {
            if store.image(&image).is_err() {
                progress.note(&format!(
                    "the specialisation {name} is left out: its image {image} is not in the store"
                ));
                continue;
            }
            let mut one = Self::load(store, &image)?;
            // Most have the same kernel.
            for (payload, content) in &mut one.payloads {
                let mut known = contents.all().flat_map(|known| &known.payloads);
                if let Some((_, same)) = known.find(|(known, _)| known == payload) {
                    *content = Arc::clone(same);
                }
            }
            contents.beside.push((name, one));
        }
        Ok(contents)
    }

    /// These, and those beside it.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        let beside = self.beside.iter().map(|(_, contents)| contents);
        std::iter::once(self).chain(beside)
    }

    /// Every object of all of it, each once.
    pub(super) fn all_objects(&self) -> BTreeMap<Digest, u64> {
        let all = self.all().flat_map(|contents| &contents.objects);
        all.map(|(digest, size)| (*digest, *size)).collect()
    }

    /// Bytes of the kernels and initrds of all of it, each once.
    pub(super) fn all_payloads(&self) -> u64 {
        let all = self.all().flat_map(|contents| &contents.payloads);
        let sizes: BTreeMap<Sha256, u64> = all.map(|(p, _)| (p.sha256, p.size)).collect();
        sizes.values().sum()
    }

    /// The kernel and the initrds, in the order of loading, with their bytes.
    pub fn payloads(&self) -> impl Iterator<Item = (&Payload, &[u8])> {
        self.payloads
            .iter()
            .map(|(payload, content)| (payload, content.as_slice()))
    }

    /// The first generation of a machine whose physical root has the UUID `root`; `arguments` are the
    /// machine's own, `created` is RFC 3339 in UTC.
    pub fn generation(
        &self,
        root: &str,
        arguments: &[String],
        created: String,
    ) -> Result<Generation, Error> {
        let number = 1;
        let all = self.release.arguments.iter().chain(arguments);
        let options = options(&self.image.image, number, root, all.map(String::as_str))?;
        let mut payloads = self.payloads.iter().map(|(payload, _)| payload.clone());
        let kernel = payloads
            .next()
            .ok_or_else(|| Error::Missing(self.release.kernel.clone()))?;
        Ok(Generation {
            schema: SCHEMA.into(),
            number,
            image: self.image.image,
            form: self.image.form.clone(),
            name: self.release.name.clone(),
            version: self.release.version.clone(),
            epoch: self.release.epoch,
            title: self.release.title.clone(),
            kernel,
            initrds: payloads.collect(),
            options,
            health: self.release.health.clone(),
            source: self.release.update.clone(),
            oci_manifest: self.image.oci_manifest,
            from: None,
            specialisation: None,
            created,
        })
    }
}

impl Payloads for Contents {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, apply::Error> {
        let mut all = self.all().flat_map(|contents| &contents.payloads);
        let found = all.find(|(known, _)| known == payload);
        found.map(|(_, content)| content.to_vec()).ok_or_else(|| {
            apply::Error::Source(format!("the image has no file {}", payload.sha256))
        })
    }
}

/// A file that the release names.
fn file(store: &Store, tree: &Tree, path: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let content = store.read_file(tree, path.trim_start_matches('/'), limit)?;
    content.ok_or_else(|| Error::Missing(path.to_owned()))
}

/// The whole kernel command line of a generation: what names it and its root, then `arguments` (the
/// release's, then the machine's). An argument that would name another root or image is refused.
pub fn options<'a>(
    image: &Digest,
    number: u64,
    root: &str,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Result<String, Error> {
    let mut line = CommandLine::parse(&format!(
        "{DIGEST_ARGUMENT}=v1-sha256-12:{image} {GENERATION_ARGUMENT}={number} root=UUID={root} ro panic=5"
    ));
    for text in arguments {
        let refused = |reason: String| Error::Argument {
            argument: text.to_owned(),
            reason,
        };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        if OWN.contains(&key) || key == "--" || key == "rw" {
            return Err(refused("Elea sets what is booted".into()));
        }
        line.push(Argument::new(key, value).map_err(|e| refused(e.to_string()))?);
    }
    Ok(line.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_image_root_and_arguments() {
        let image = Sha256::of(b"x").into();
        let line = options(&image, 7, "u", ["quiet", "a=b c", "panic=20"]).unwrap();
        let begin = format!("composefs.digest=v1-sha256-12:{image} elea.generation=7 root=UUID=u");
        assert_eq!(line, format!("{begin} ro panic=5 quiet a=\"b c\" panic=20"));
        for bad in [
            "root=/dev/sda",
            "rw",
            "--",
            "elea.generation=1",
            "a=\"",
            "",
            "init=/bin/sh",
        ] {
            assert!(options(&image, 7, "u", [bad]).is_err(), "{bad}");
        }
    }
}
