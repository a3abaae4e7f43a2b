//! What boots of an image: its release, its kernel and its initrds.

use super::error::Error;
use crate::apply::{self, Payloads};
use crate::machine::ALGORITHM;
use elea_formats::cmdline::{Argument, CommandLine};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::{
    DIGEST_ARGUMENT, GENERATION_ARGUMENT, Generation, MAX_PAYLOAD, MEMORY_ARGUMENT, Payload, SCHEMA,
};
use elea_formats::release::{self, ImageManifest, Release};
use elea_formats::tree::Content;
use elea_store::{ImageFile, Store};

/// The largest `release.json` that is read, in bytes.
const MAX_RELEASE: u64 = 16 << 20;
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

/// What boots of an image of a store.
#[derive(Debug, Clone)]
pub struct Bootable {
    /// The image.
    pub image: ImageManifest,
    /// What it says of itself.
    pub release: Release,
    /// The kernel, then the initrds in the order of loading.
    parts: Vec<Part>,
    store: Store,
}

/// A kernel or an initrd. Its bytes are read when they are needed.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its file in the image.
    path: String,
    content: Content,
    payload: Payload,
}

/// What need not be read to know a kernel's or initrd's SHA-256.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known<'a> {
    /// A generation of the same image.
    pub(crate) generation: Option<&'a Generation>,
    /// Parts of other images of the store.
    pub(crate) parts: &'a [Part],
}

impl<'a> Known<'a> {
    /// What the generation says, if it is of this image and this many parts.
    fn said(&self, image: &Digest, count: usize) -> impl Iterator<Item = &'a Payload> + use<'a> {
        let same = |of: &&Generation| of.image == *image && of.payloads().count() == count;
        self.generation
            .filter(same)
            .into_iter()
            .flat_map(Generation::payloads)
    }
}

impl Bootable {
    /// Looks at what the store has of an image. Everything comes from the checked image itself;
    /// whether it is to be trusted is the caller's question, asked before. A store that names objects as no machine
    /// does is refused.
    pub fn load(store: &Store, image: &Digest) -> Result<Self, Error> {
        store.require(ALGORITHM)?;
        Self::of(store, &store.open_image(image)?, Known::default())
    }

    /// The same by the image's file. What is known is not read.
    pub(crate) fn of(store: &Store, file: &ImageFile, known: Known<'_>) -> Result<Self, Error> {
        store.require(ALGORITHM)?;
        let image = file.digest();
        let manifest = store.image(image)?;
        let text = file.read(release::PATH, MAX_RELEASE)?;
        let text = text.ok_or(Error::NoRelease(*image))?;
        let release: Release = serde_json::from_slice(&text).map_err(|e| Error::Release {
            image: *image,
            reason: e.to_string(),
        })?;
        if release.architecture != ARCHITECTURE {
            return Err(Error::Architecture(release.architecture));
        }
        let mut said = known.said(image, files(&release).count());
        let part = |path: &String| {
            let path = path.clone();
            let content = file.content(&path)?;
            let content = content.ok_or_else(|| Error::Missing(path.clone()))?;
            let said = said.next().filter(|said| size(&content) == Some(said.size));
            let same = known.parts.iter().find(|known| known.content == content);
            let payload = if let Some(known) = said.or(same.map(|same| &same.payload)) {
                known.clone()
            } else {
                let bytes = read(store, &path, &content)?;
                Payload {
                    sha256: Sha256::of(&bytes),
                    size: bytes.len() as u64,
                }
            };
            Ok(Part {
                path,
                content,
                payload,
            })
        };
        Ok(Self {
            parts: files(&release).map(part).collect::<Result<_, Error>>()?,
            image: manifest,
            release,
            store: store.clone(),
        })
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The kernel and the initrds, in the order of loading.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        self.parts.iter().map(|part| &part.payload)
    }

    /// Their bytes.
    pub fn bytes(&self) -> impl Iterator<Item = Result<Vec<u8>, Error>> {
        let read = |part: &Part| read(&self.store, &part.path, &part.content);
        self.parts.iter().map(read)
    }

    /// The bytes of a kernel or initrd of it, if it has that one.
    pub(crate) fn find(&self, payload: &Payload) -> Option<Result<Vec<u8>, apply::Error>> {
        let part = self.parts.iter().find(|part| part.payload == *payload)?;
        let bytes = read(&self.store, &part.path, &part.content);
        Some(bytes.map_err(|e| apply::Error::Source(e.to_string())))
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
        let mut payloads = self.payloads().cloned();
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

impl Payloads for Bootable {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, apply::Error> {
        self.find(payload).unwrap_or_else(|| Err(lacks(payload)))
    }
}

/// That no image at hand has a kernel or initrd.
pub(super) fn lacks(payload: &Payload) -> apply::Error {
    apply::Error::Source(format!("the image has no file {}", payload.sha256))
}

/// The paths of the kernel and the initrds.
fn files(release: &Release) -> impl Iterator<Item = &String> {
    std::iter::once(&release.kernel).chain(&release.initrds)
}

fn size(content: &Content) -> Option<u64> {
    match content {
        Content::Inline(bytes) => Some(bytes.len() as u64),
        Content::Object { size, .. } => Some(*size),
        _ => None,
    }
}

fn read(store: &Store, path: &str, content: &Content) -> Result<Vec<u8>, Error> {
    match content {
        Content::Inline(bytes) => Ok(bytes.clone()),
        Content::Object { digest, .. } => Ok(store.read_object(digest, MAX_PAYLOAD)?),
        _ => Err(Error::Missing(path.to_owned())),
    }
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
