//! One bootable state of a machine: `/elea/generations/<n>/manifest.json`.
//!
//! The manifest is written once, before the boot entry, and never changed. Whether a
//! generation is good, tried or failed stands in the boot loader's entries and the log.

use crate::cmdline::CommandLine;
use crate::digest::{Digest, Sha256};
use crate::release::{Health, Source};
use serde::{Deserialize, Serialize};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.generation/1";

/// The largest kernel or initrd, in bytes.
pub const MAX_PAYLOAD: u64 = 1 << 30;

/// A file on `$BOOT`, named by its own SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// SHA-256 of the file (not fs-verity); its place is `$BOOT/elea/<digest>`.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size: u64,
}

/// What a generation is beside another one: a specialisation of the same config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Specialisation {
    /// Its name in the config.
    pub name: String,
    /// The number of the generation that it stands beside, and with which it goes.
    pub of: u64,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its number; a higher one is a later decision, and numbers are never used again.
    pub number: u64,
    /// The image it boots.
    pub image: Digest,
    /// The form of the image.
    pub form: String,
    /// Name, version, epoch and title of the release.
    pub name: String,
    /// Version of the release.
    pub version: String,
    /// Security epoch of the release.
    pub epoch: u64,
    /// The text of the boot menu.
    pub title: String,
    /// The kernel.
    pub kernel: Payload,
    /// The initrds, in the order of loading.
    pub initrds: Vec<Payload>,
    /// The whole kernel command line of its boot entry.
    pub options: String,
    /// How its boots are judged.
    pub health: Health,
    /// What it follows for upgrades.
    pub source: Option<Source>,
    /// SHA-256 of the OCI manifest it was fetched as.
    pub oci_manifest: Option<Sha256>,
    /// The number whose image and decision it repeats (a rollback), if any.
    pub from: Option<u64>,
    /// Set for one that is in the boot menu to be picked, and never boots by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialisation: Option<Specialisation>,
    /// When it was staged, RFC 3339 in UTC.
    pub created: String,
}

/// The kernel argument that names the image: `composefs.digest=v1-sha256-12:<hex>`.
pub const DIGEST_ARGUMENT: &str = "composefs.digest";
/// The kernel argument that names the generation: `elea.generation=<n>`.
pub const GENERATION_ARGUMENT: &str = "elea.generation";
/// The kernel argument that says that there is no disk: what would be on the physical root is in the initramfs, below
/// [`MEMORY`].
pub const MEMORY_ARGUMENT: &str = "elea.memory";
/// The folder of the initramfs that becomes the physical root, without its leading slash.
pub const MEMORY: &str = "memory";

impl Generation {
    /// What is compared before an image is offered again: a digest over the image, the kernel,
    /// the initrds and the arguments, without the number.
    pub fn identity(&self) -> Sha256 {
        let mut text = format!("{}\n{}\n", self.image, self.kernel.sha256);
        for initrd in &self.initrds {
            text.push_str(&initrd.sha256.to_string());
            text.push('\n');
        }
        text.push_str(&numbered(&self.options, None));
        Sha256::of(text.as_bytes())
    }

    /// The same image, kernel and arguments as another generation, `from` this one. Of a
    /// specialisation it is one that boots by itself.
    #[must_use]
    pub fn repeated(&self, number: u64, created: String) -> Self {
        Self {
            number,
            from: Some(self.number),
            specialisation: None,
            options: numbered(&self.options, Some(number)),
            created,
            ..self.clone()
        }
    }

    /// The same as a specialisation of generation `of`, with a number of its own.
    #[must_use]
    pub fn beside(self, name: &str, of: u64, number: u64) -> Self {
        let created = self.created.clone();
        let specialisation = Specialisation {
            name: name.to_owned(),
            of,
        };
        Self {
            from: None,
            specialisation: Some(specialisation),
            ..self.repeated(number, created)
        }
    }

    /// Everything that its entry names on `$BOOT`: the kernel, then the initrds.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        std::iter::once(&self.kernel).chain(&self.initrds)
    }
}

/// The arguments with another `elea.generation=`, in its old place, or without any.
fn numbered(options: &str, number: Option<u64>) -> String {
    let (mut words, mut done) = (Vec::new(), false);
    // What stands behind a lone `--` is for init.
    let (arguments, init) = match options.split_once(" -- ") {
        Some((arguments, init)) => (arguments, Some(init)),
        None => (options, None),
    };
    for word in CommandLine::parse(arguments).arguments() {
        if word.key != GENERATION_ARGUMENT {
            words.push(word.to_string());
        } else if let Some(number) = number.filter(|_| !done) {
            words.push(format!("{GENERATION_ARGUMENT}={number}"));
            done = true;
        }
    }
    if let Some(number) = number.filter(|_| !done) {
        words.push(format!("{GENERATION_ARGUMENT}={number}"));
    }
    if let Some(init) = init {
        words.extend(["--".to_owned(), init.to_owned()]);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../tests/golden/generation-1.json");

    #[test]
    fn the_golden_manifest_still_parses_and_repeats() {
        let second: Generation = serde_json::from_str(GOLDEN).unwrap();
        let fifth = second.repeated(5, "2026-11-25T00:00:00Z".into());
        assert_eq!(fifth.from, Some(2));
        assert_eq!(fifth.identity(), second.identity());
        let digest = second.image;
        assert_eq!(
            fifth.options,
            format!(
                "composefs.digest=v1-sha256-12:{digest} elea.generation=5 root=UUID=x ro panic=5 a=\"b c\""
            )
        );
        let mut other = second.clone();
        other.options.push_str(" quiet");
        assert_ne!(other.identity(), second.identity());
        assert_eq!(second.payloads().count(), 2);
    }
}
