//! The files that an entry names: what the loader reads, whatever a manifest says.

use elea_formats::bls::Entry;
use elea_formats::digest::Sha256;
use elea_formats::generation::MAX_PAYLOAD;
use elea_sys::PathError;
use elea_sys::disk::Disk;

/// The first file that an entry names and `$BOOT` does not have: what it is, and its path. A loader
/// passes over an entry without its kernel, and fails one without its initrd.
pub fn missing<'a>(
    boot: &dyn Disk,
    entry: &'a Entry,
) -> Result<Option<(&'static str, &'a str)>, PathError> {
    for (what, path) in files(entry) {
        if boot.size(path.trim_start_matches('/'))?.is_none() {
            return Ok(Some((what, path)));
        }
    }
    Ok(None)
}

/// What is wrong with the files that an entry names, which are what the loader reads, whatever
/// the manifest says: missing, or not what their names (their SHA-256) promise.
pub fn damage(boot: &dyn Disk, entry: &Entry) -> Result<Option<String>, PathError> {
    if let Some((what, path)) = missing(boot, entry)? {
        return Ok(Some(format!(
            "its {what} {path} is missing on the boot partition"
        )));
    }
    for (what, path) in files(entry) {
        let relative = path.trim_start_matches('/');
        let named: Option<Sha256> = relative.strip_prefix("elea/").and_then(|n| n.parse().ok());
        let content = boot.read_back(relative, MAX_PAYLOAD)?;
        if named != Some(Sha256::of(&content)) {
            return Ok(Some(format!(
                "its {what} {path} on the boot partition is damaged"
            )));
        }
    }
    Ok(None)
}

/// What each file is, and its path from the root of `$BOOT`.
fn files(entry: &Entry) -> impl Iterator<Item = (&'static str, &str)> {
    let kernel = entry.linux.iter().map(|path| ("kernel", path.as_str()));
    let initrds = entry.initrds.iter().map(|path| ("initrd", path.as_str()));
    kernel.chain(initrds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::disk::Folder;
    use std::fs;

    #[test]
    fn files_are_missing_damaged_or_right() {
        let dir = tempfile::tempdir().unwrap();
        let boot = Folder::new(dir.path().to_owned());
        fs::create_dir(dir.path().join("elea")).unwrap();
        let file = |content: &[u8]| format!("/elea/{}", Sha256::of(content));
        let put = |path: &str, content: &[u8]| {
            fs::write(dir.path().join(path.trim_start_matches('/')), content).unwrap();
        };
        let entry = Entry {
            linux: Some(file(b"kernel")),
            initrds: vec![file(b"initrd")],
            ..Entry::default()
        };
        put(&file(b"kernel"), b"kernel");
        let found = missing(&boot, &entry).unwrap();
        assert_eq!(found, Some(("initrd", file(b"initrd").as_str())));
        put(&file(b"initrd"), b"initrc");
        assert_eq!(missing(&boot, &entry).unwrap(), None);
        let found = damage(&boot, &entry).unwrap().unwrap();
        assert!(
            found.contains("initrd /elea/") && found.contains("damaged"),
            "{found}"
        );
        put(&file(b"initrd"), b"initrd");
        assert_eq!(damage(&boot, &entry).unwrap(), None);
    }
}
