//! What the kernel command line asks for.

use crate::error::Error;
use elea_formats::cmdline::CommandLine;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::{DIGEST_ARGUMENT, GENERATION_ARGUMENT, MEMORY_ARGUMENT};

/// The form of the digest that this initrd can check: fs-verity, SHA-256, blocks of 2^12.
const FORM: &str = "v1-sha256-12:";

/// What to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// The whole line.
    pub(crate) line: CommandLine,
    /// Where the physical root is.
    pub(crate) root: Root,
    /// Whether the rescue menu was asked for.
    pub(crate) rescue: bool,
    /// The generation and its image.
    pub(crate) target: Target,
}

/// Where the physical root is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    /// On the file system with this UUID.
    Disk(String),
    /// In memory, beside this program.
    Memory,
}

/// A generation and the image that the entry binds it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The number.
    pub(crate) number: u64,
    /// The image.
    pub(crate) image: Digest,
}

impl Request {
    /// Reads a command line.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let line = CommandLine::parse(text);
        let wrong = |argument| {
            let found = line.value(argument).unwrap_or("nothing").to_owned();
            Error::Argument { argument, found }
        };
        let uuid = line.value("root").and_then(|v| v.strip_prefix("UUID="));
        let root = if line.has(MEMORY_ARGUMENT) {
            Root::Memory
        } else {
            let uuid = uuid.filter(|v| v.len() == 36);
            Root::Disk(uuid.ok_or_else(|| wrong("root"))?.to_ascii_lowercase())
        };
        let image = line
            .value(DIGEST_ARGUMENT)
            .and_then(|v| v.strip_prefix(FORM)?.parse::<Sha256>().ok())
            .map(Digest::from)
            .ok_or_else(|| wrong(DIGEST_ARGUMENT))?;
        let number = line
            .value(GENERATION_ARGUMENT)
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| wrong(GENERATION_ARGUMENT))?;
        Ok(Self {
            rescue: line.has("elea.rescue"),
            target: Target { number, image },
            root,
            line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_and_each_lack_is_named() {
        let digest = "ab".repeat(32);
        let uuid = "0F1E2D3C-4b5a-6978-8796-a5b4c3d2e1f0";
        let good = format!(
            "composefs.digest=v1-sha256-12:{digest} elea.generation=7 root=UUID={uuid} ro panic=5"
        );
        let request = Request::parse(&good).unwrap();
        assert_eq!(request.target.number, 7);
        assert_eq!(request.target.image.to_string(), digest);
        assert_eq!(request.root, Root::Disk(uuid.to_lowercase()));
        assert!(!request.rescue);
        assert!(
            Request::parse(&format!("{good} elea.rescue"))
                .unwrap()
                .rescue
        );
        let memory = good.replace(&format!("root=UUID={uuid}"), "elea.memory");
        assert_eq!(Request::parse(&memory).unwrap().root, Root::Memory);
        for (from, to, named) in [
            ("root=UUID", "root=LABEL", "root"),
            ("sha256-12", "sha512-12", "composefs.digest"),
            ("generation=7", "generation=-7", "elea.generation"),
            ("abab", "ABab", "composefs.digest"),
        ] {
            let error = Request::parse(&good.replace(from, to)).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
