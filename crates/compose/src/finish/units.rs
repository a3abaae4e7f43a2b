//! Elea's own units and settings, from `crates/compose/units`.

use super::tree::Tree;
use elea_sys::PathError;

macro_rules! units {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../units/", $path)))),*]
    };
}

/// Where units lie.
const FOLDER: &str = "usr/lib/systemd/system/";

/// Path in the image and text of each.
const UNITS: &[(&str, &str)] = units![
    "etc/ssh/sshd_config.d/50-elea.conf",
    "usr/lib/systemd/journald.conf.d/50-elea.conf",
    "usr/lib/systemd/system.conf.d/50-elea.conf",
    "usr/lib/systemd/system/elea-ended.service",
    "usr/lib/systemd/system/elea-judge.service",
    "usr/lib/systemd/system/elea-setup.service",
    "usr/lib/systemd/system/elea-tidy.service",
    "usr/lib/systemd/system/emergency.service.d/50-elea.conf",
    "usr/lib/systemd/system/rescue.service.d/50-elea.conf",
    "usr/lib/systemd/system/sysroot.mount.d/50-elea.conf",
];

/// Installs them; sshd's settings only where there is an sshd.
pub(super) fn install(tree: &Tree) -> Result<(), PathError> {
    for (path, text) in UNITS {
        if !path.starts_with("etc/ssh/") || tree.has("etc/ssh/sshd_config") {
            tree.put(path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Those that are to start: all that say where they belong.
pub(super) fn enabled() -> impl Iterator<Item = &'static str> {
    UNITS.iter().filter_map(|(path, text)| {
        let name = path.strip_prefix(FOLDER)?;
        (text.contains("\n[Install]") && !name.contains('/')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_installed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
        let mut folders = vec![folder.clone()];
        let mut found = Vec::new();
        while let Some(here) = folders.pop() {
            for entry in std::fs::read_dir(here).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("README.md") {
                    let path = path.strip_prefix(&folder).unwrap();
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        let known: Vec<&str> = UNITS.iter().map(|(path, _)| *path).collect();
        assert_eq!(known, found);
        let enabled: Vec<&str> = enabled().collect();
        assert_eq!(
            enabled,
            [
                "elea-ended.service",
                "elea-judge.service",
                "elea-setup.service"
            ]
        );
    }
}
