//! The boot loader, and which failures of a boot it covers.

use crate::firmware::Firmware;
use serde::Serialize;

/// The first systemd-boot that goes on by itself when a kernel or initrd cannot be loaded.
const COVERS_ALL: u32 = 258;

/// How many kinds of a failed boot bring the machine back by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// All that are known.
    Full,
    /// Not those in [`LoaderStatus::gaps`].
    Partial,
    /// This system does not run.
    Unknown,
}

/// The boot loader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoaderStatus {
    /// What it calls itself: "systemd-boot 262.1-1".
    pub name: Option<String>,
    /// How much it covers.
    pub coverage: Coverage,
    /// What is not covered.
    pub gaps: Vec<String>,
}

/// Decides what is covered, from the loader, its config and the watchdog that runs.
pub(super) fn loader(
    firmware: Option<&Firmware>,
    config: &str,
    watchdog: Option<&str>,
) -> LoaderStatus {
    let Some(firmware) = firmware else {
        return LoaderStatus {
            name: None,
            coverage: Coverage::Unknown,
            gaps: Vec::new(),
        };
    };
    let mut gaps = Vec::new();
    match firmware.loader_version() {
        None => gaps.push(
            "the boot loader is not systemd-boot, or says nothing of itself: tries may not be counted".into(),
        ),
        Some(version) if version < COVERS_ALL => gaps.push(format!(
            "systemd-boot {version} stops for ever at a damaged kernel or a missing initrd; {COVERS_ALL} and later go on"
        )),
        Some(_) if !reboots_on_error(config) => gaps.push(
            "loader.conf lacks `reboot-on-error auto`: the loader stops at a damaged kernel or a missing initrd".into(),
        ),
        Some(_) => {}
    }
    match watchdog {
        None => gaps.push("there is no watchdog: a kernel that hangs is not restarted".into()),
        Some(name) if name.contains("Software") => gaps.push(
            "there is only a software watchdog: a kernel that hangs with interrupts off is not restarted".into(),
        ),
        Some(_) => {}
    }
    LoaderStatus {
        name: firmware.info.clone(),
        coverage: if gaps.is_empty() {
            Coverage::Full
        } else {
            Coverage::Partial
        },
        gaps,
    }
}

fn reboots_on_error(config: &str) -> bool {
    let mut values = config.lines().rev().filter_map(|line| {
        let (key, value) = line.trim().split_once([' ', '\t'])?;
        (key == "reboot-on-error").then(|| value.trim().to_owned())
    });
    // `auto` is the loader's default.
    values
        .next()
        .is_none_or(|v| v == "auto" || v == "yes" || v == "1" || v == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_named() {
        let firmware = |info: &str| Firmware {
            info: Some(info.into()),
            ..Firmware::default()
        };
        let ask = |info: &str, config: &str, dog| loader(Some(&firmware(info)), config, dog);
        let config = "timeout 3\nreboot-on-error auto\n";
        assert_eq!(
            ask("systemd-boot 262.1-1", config, Some("i6300ESB")).coverage,
            Coverage::Full
        );
        let old = ask("systemd-boot 257.13-1", config, None);
        assert_eq!((old.coverage, old.gaps.len()), (Coverage::Partial, 2));
        let off = ask("systemd-boot 262", "reboot-on-error no\n", Some("x"));
        assert!(off.gaps[0].contains("loader.conf"));
        let soft = ask("systemd-boot 262", config, Some("Software Watchdog"));
        assert!(soft.gaps[0].contains("software watchdog"));
        assert!(ask("GRUB", "", Some("x")).gaps[0].contains("not systemd-boot"));
        assert_eq!(loader(None, "", None).coverage, Coverage::Unknown);
    }
}
