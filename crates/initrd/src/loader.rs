//! What the boot loader says of this boot: its EFI variables.
//!
//! Source: the Boot Loader Interface of systemd: `LoaderEntrySelected`,
//! `LoaderBootCountPath`, `LoaderDevicePartUUID`.

use elea_sys::mount::{Attributes, Filesystem, detach};
use std::fs;
use std::path::Path;

const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// The boot loader's words; all absent without EFI or with a loader that says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Loader {
    /// The id of the entry: `elea-7.conf`.
    pub(crate) entry: Option<String>,
    /// Whether the entry has a counter, so that a failed boot counts by itself.
    pub(crate) counted: bool,
    /// The partition GUID of the EFI system partition, lower case.
    pub(crate) partition: Option<String>,
}

impl Loader {
    /// Asks the firmware's variables.
    pub(crate) fn load() -> Self {
        let folder = Path::new(VARIABLES);
        if !folder.is_dir() {
            return Self::default();
        }
        let mounted = Filesystem::new("efivarfs")
            .source("efivarfs")
            .attributes(
                Attributes::READ_ONLY
                    .and(Attributes::NO_SUID)
                    .and(Attributes::NO_DEVICES)
                    .and(Attributes::NO_EXEC),
            )
            .mount(folder)
            .is_ok();
        let variable = |name: &str| {
            let path = folder.join(format!("{name}-{VENDOR}"));
            fs::read(path).ok().and_then(|bytes| text(&bytes))
        };
        let loader = Self {
            entry: variable("LoaderEntrySelected"),
            counted: variable("LoaderBootCountPath").is_some(),
            partition: variable("LoaderDevicePartUUID").map(|s| s.to_ascii_lowercase()),
        };
        if mounted {
            // systemd mounts it itself, with its own flags.
            let _ = detach(folder);
        }
        loader
    }
}

/// Four bytes of attributes, then UTF-16 with a zero at the end.
fn text(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes
        .get(4..)?
        .chunks_exact(2)
        .map(|c| u16::from_le_bytes([c[0], c[1]]))
        .take_while(|u| *u != 0)
        .take(1024)
        .collect();
    String::from_utf16(&units).ok().filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn variables_are_utf16_behind_their_attributes() {
        assert_eq!(text(b"\x06\0\0\0e\0l\0\0\0x\0").as_deref(), Some("el"));
        assert_eq!(text(b"\x06\0\0\0\0\0"), None);
        assert_eq!(text(b"\x06\0"), None);
    }
}
