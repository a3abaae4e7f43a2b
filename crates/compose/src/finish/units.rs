//! Elea's own units and settings, from `crates/compose/units`.

use super::tree::Tree;
use elea_sys::PathError;

/// A file of `crates/compose/units`, which stands at its path in the image.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../units/", $path)))),*]
    };
}

/// Path and text of each.
const FILES: &[(&str, &str)] = files![
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

const UNITS: &str = "usr/lib/systemd/system/";

/// Installs them; settings of a program in `/etc` only where the program is.
pub(super) fn install(tree: &Tree) -> Result<(), PathError> {
    for (path, text) in FILES {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !path.starts_with("etc/") || tree.has(folder) {
            tree.put(path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Those that are to start: all that say where they belong.
pub(super) fn enabled() -> impl Iterator<Item = &'static str> {
    FILES
        .iter()
        .filter(|(_, text)| text.contains("\n[Install]"))
        .filter_map(|(path, _)| path.strip_prefix(UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_installed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
        let (mut folders, mut found) = (vec![folder.clone()], Vec::new());
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().unwrap() != "README.md" {
                    found.push(
                        path.strip_prefix(&folder)
                            .unwrap()
                            .to_str()
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        found.sort();
        let ours: Vec<_> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(found, ours);
        assert!(enabled().any(|unit| unit == "elea-judge.service"));
        assert!(!enabled().any(|unit| unit == "elea-tidy.service"));
    }
}
