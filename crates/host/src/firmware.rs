//! What the firmware and the boot loader say of this boot (Boot Loader Interface).

use elea_formats::bls;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// The vendor of systemd-boot's variables.
const VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// The largest variable that is read.
const MAX_VARIABLE: u64 = 64 * 1024;

/// The loader's variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// `LoaderInfo`: "systemd-boot 262.1-1".
    pub info: Option<String>,
    /// `LoaderEntrySelected`: the id of the entry that was booted.
    pub selected: Option<String>,
    /// `LoaderBootCountPath`: the entry that was counted, if it was.
    pub counted: Option<String>,
    /// `LoaderEntryOneShot`: somebody asked for one boot of another entry.
    pub one_shot: Option<String>,
    /// `LoaderEntryDefault`: somebody set a default; the loader boots it even when it is bad.
    pub default: Option<String>,
    /// `LoaderEntryPreferred`: somebody set a preference.
    pub preferred: Option<String>,
    /// Whether this kernel was started by kexec, so that no firmware and no loader took part.
    pub kexec: bool,
    /// Whether user space was restarted without the kernel.
    pub soft_reboot: bool,
}

impl Firmware {
    /// Reads the variables of the running machine; what is not there is `None`.
    pub fn load() -> Self {
        let folder = Path::new("/sys/firmware/efi/efivars");
        let read = |name: &str| variable(&folder.join(format!("{name}-{VENDOR}")));
        let loader_type = fs::read_to_string("/proc/sys/kernel/bootloader_type");
        Self {
            info: read("LoaderInfo"),
            selected: read("LoaderEntrySelected"),
            counted: read("LoaderBootCountPath"),
            one_shot: read("LoaderEntryOneShot"),
            default: read("LoaderEntryDefault"),
            preferred: read("LoaderEntryPreferred"),
            kexec: loader_type.is_ok_and(|t| is_kexec(&t)),
            soft_reboot: soft_reboots() > 0,
        }
    }

    /// Whether this boot went through the firmware and the loader to generation `number`
    /// (invariant 8). Without any loader variable (a direct boot in a test, another loader) only a kexec
    /// or soft reboot is known to be none.
    pub fn booted_by_loader(&self, number: u64) -> bool {
        if self.kexec || self.soft_reboot {
            return false;
        }
        match &self.selected {
            Some(id) => bls::generation_of_id(id) == Some(number),
            None => true,
        }
    }

    /// The loader's major version: 262.
    pub fn loader_version(&self) -> Option<u32> {
        loader_major(self.info.as_deref()?)
    }

    /// Variables that others set and that change what boots, for people.
    pub fn foreign_choices(&self) -> Vec<String> {
        let choices = [
            ("LoaderEntryOneShot", &self.one_shot),
            ("LoaderEntryDefault", &self.default),
            ("LoaderEntryPreferred", &self.preferred),
        ];
        choices
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name} = {}", value.as_ref()?)))
            .collect()
    }
}

/// `systemd-boot 262.1-1` → 262.
pub fn loader_major(info: &str) -> Option<u32> {
    let version = info.strip_prefix("systemd-boot ")?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// A variable's file: four bytes of attributes, then UTF-16 with a zero at the end.
fn variable(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > MAX_VARIABLE {
        return None;
    }
    decode(&fs::read(path).ok()?)
}

fn decode(bytes: &[u8]) -> Option<String> {
    let units: Vec<u16> = bytes
        .get(4..)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|&unit| unit != 0)
        .collect();
    Some(String::from_utf16_lossy(&units))
}

/// The x86 boot protocol's `type_of_loader`: kexec writes 0xD in its upper half.
fn is_kexec(loader_type: &str) -> bool {
    loader_type
        .trim()
        .parse::<u32>()
        .is_ok_and(|t| t >> 4 == 0xd)
}

fn soft_reboots() -> u32 {
    crate::systemd::property(None, "SoftRebootsCount")
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_utf_16_behind_four_bytes() {
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend("elea-2.conf\0".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(decode(&bytes).as_deref(), Some("elea-2.conf"));
        assert_eq!(decode(&[6, 0]), None);
    }

    #[test]
    fn a_kexec_and_another_entry_are_no_boot_by_the_loader() {
        assert!(is_kexec("208\n") && !is_kexec("33\n"));
        assert_eq!(loader_major("systemd-boot 262.1-1"), Some(262));
        assert_eq!(loader_major("GRUB 2"), None);
        let mut firmware = Firmware {
            selected: Some("elea-2.conf".into()),
            ..Firmware::default()
        };
        assert!(firmware.booted_by_loader(2) && !firmware.booted_by_loader(3));
        firmware.kexec = true;
        assert!(!firmware.booted_by_loader(2));
    }
}
