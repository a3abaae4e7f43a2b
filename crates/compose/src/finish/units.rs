//! Elea's own units and settings, from `crates/compose/units`, each at its path in the image.

use super::tree::Tree;
use crate::lock::Error;

/// A file's path in the image and its text.
macro_rules! unit {
    ($path:literal) => {
        ($path, include_str!(concat!("../../units/", $path)))
    };
}

const FILES: &[(&str, &str)] = &[
    unit!("etc/ssh/sshd_config.d/50-elea.conf"),
    unit!("usr/lib/systemd/journald.conf.d/50-elea.conf"),
    unit!("usr/lib/systemd/system.conf.d/50-elea.conf"),
    unit!("usr/lib/systemd/system/elea-boot.service"),
    unit!("usr/lib/systemd/system/elea-tidy.service"),
    unit!("usr/lib/systemd/system/emergency.service.d/50-elea.conf"),
    unit!("usr/lib/systemd/system/rescue.service.d/50-elea.conf"),
    unit!("usr/lib/systemd/system/sysroot.mount.d/50-elea.conf"),
];

/// Units lie here.
const UNITS: &str = "usr/lib/systemd/system/";

/// Installs them; settings of a program that is not in the image are left out.
pub(super) fn install(tree: &mut Tree<'_>) -> Result<(), Error> {
    for (path, text) in FILES {
        let program = path.strip_prefix("etc/").and_then(|p| p.split('/').next());
        if program.is_none_or(|name| tree.has(&format!("etc/{name}"))) {
            tree.put(path, text.as_bytes())?;
        }
    }
    Ok(())
}

/// Those that are to start: all that say what wants them.
pub(super) fn enabled() -> impl Iterator<Item = &'static str> {
    FILES
        .iter()
        .filter(|(_, text)| text.contains("\n[Install]\n"))
        .filter_map(|(path, _)| path.strip_prefix(UNITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    fn walk(folder: &Path, out: &mut BTreeSet<String>, top: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, out, top);
            } else if folder != top {
                let path = path.strip_prefix(top).unwrap();
                out.insert(path.display().to_string());
            }
        }
    }

    #[test]
    fn no_file_of_the_folder_is_forgotten() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
        let mut found = BTreeSet::new();
        walk(&top, &mut found, &top);
        let known: BTreeSet<String> = FILES.iter().map(|(p, _)| (*p).to_owned()).collect();
        assert_eq!(known, found);
        let enabled: Vec<&str> = enabled().collect();
        assert!(enabled.contains(&"elea-boot.service"), "{enabled:?}");
        assert!(!enabled.contains(&"elea-tidy.service"), "{enabled:?}");
    }
}
