//! Builds whose result is known: everything that goes into an image, as one digest, and the image that it gave.
//!
//! A build of the same again ends here, without unpacking, laying or hashing anything. The programs of the build machine
//! (mmdebstrap, dpkg) are no part of the digest: they may make the way another one, not the image. `--check` and
//! [`Options::fresh`] do not ask.

use crate::config::{Config, Content};
use crate::lock::{self, Error, Lock, Options};
use crate::own::Programs;
use crate::render;
use elea_formats::digest::{Digest, Sha256};
use elea_store::Store;
use elea_sys::{At as _, PathError};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Changes when the same inputs give another image.
const VERSION: &str = "elea.known-build/3";
/// How many builds are remembered.
const MOST: usize = 64;

/// Where a build's result is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    path: PathBuf,
}

impl Known {
    /// The place for a config with its lock; all files that the build would read are read. None where a path is no text.
    pub(crate) fn of(
        config: &Config,
        lock: &Lock,
        options: &Options,
        programs: &Programs,
    ) -> Result<Option<Self>, Error> {
        let Ok(shown) = serde_json::to_string(config) else {
            return Ok(None);
        };
        let mut files = BTreeMap::new();
        for path in sources(config) {
            let content = fs::read(&path).at("read", &path)?;
            let Ok(name) = path.into_os_string().into_string() else {
                return Ok(None);
            };
            files.insert(name, Sha256::of(&content).to_string());
        }
        for program in programs.both() {
            files.insert(program.place.to_owned(), program.sha256.to_string());
        }
        // A template's text is of the file and of variables, which are no part of what is shown.
        let filled: Vec<&String> = config.templates.values().map(|t| &t.text).collect();
        let authorities = &config.certificates.pem;
        let inputs = serde_json::json!([
            VERSION,
            shown,
            files,
            filled,
            authorities,
            lock::encode(lock),
            options.specialisations,
        ]);
        let key = Sha256::of(inputs.to_string().as_bytes());
        let folder = options.cache.parent().unwrap_or(Path::new("."));
        Ok(Some(Self {
            path: folder.join("builds").join(key.to_string()),
        }))
    }

    /// The image, if the build was done before and the store still has it.
    pub(crate) fn image(&self, store: &Store) -> Option<Digest> {
        let text = fs::read_to_string(&self.path).ok()?;
        let image = text.trim_end().parse().ok()?;
        store.image(&image).is_ok().then_some(image)
    }

    /// Writes the image down. Nothing depends on it, so a full disk is no failure.
    pub(crate) fn note(&self, image: &Digest) -> Result<(), Error> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).at("make the folder", folder)?;
        match elea_sys::durable::write(&self.path, format!("{image}\n").as_bytes()) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Ok(()),
            result => {
                result?;
                Ok(sweep(folder)?)
            }
        }
    }
}

/// The files of the build machine that a config names.
fn sources(config: &Config) -> impl Iterator<Item = PathBuf> {
    let rendered = render::render(config).files;
    let own = config.files.values().map(|file| file.content.clone());
    let made = rendered.into_values().map(|made| made.file.content);
    let copied = own.chain(made).filter_map(|content| match content {
        Content::Copy(path) => Some(path),
        _ => None,
    });
    let trust = &config.trust;
    copied.chain(trust.keys.iter().chain(&trust.policy).cloned())
}

/// Forgets the oldest files of a folder that are too many.
pub(crate) fn sweep(folder: &Path) -> Result<(), PathError> {
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).at("list", folder)? {
        let entry = entry.at("list", folder)?;
        let path = entry.path();
        let meta = entry.metadata().at("look at", &path)?;
        all.push((meta.modified().at("look at", &path)?, path));
    }
    all.sort();
    let over = all.len().saturating_sub(MOST);
    for (_, path) in &all[..over] {
        match fs::remove_file(path) {
            // Another build has forgotten it.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            result => result.at("remove", path)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Package;
    use elea_formats::form::Form;
    use elea_store::Origin;

    fn lock() -> Lock {
        let package = Package {
            name: "systemd-boot-efi".into(),
            version: "260-1".into(),
            architecture: "amd64".into(),
            sha256: Sha256::of(b"loader"),
            size: 6,
            archive: "sid".into(),
            file: "pool/main/s/systemd-boot-efi_260-1_amd64.deb".into(),
        };
        Lock {
            schema: lock::SCHEMA.into(),
            request: Sha256::of(b"request"),
            architecture: "amd64".into(),
            epoch: 1_760_000_000,
            archives: Vec::new(),
            packages: Vec::new(),
            stages: Vec::new(),
            loader: Some(package),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    const CONFIG: &str = r#"
        [system]
        name = "x"
        version = "1"
        [files."/etc/a"]
        source = "a"
        [units."b.service"]
        source = "b"
        [vars]
        word = "old"
        [templates."/etc/t"]
        source = "t"
        [trust]
        keys = []
    "#;

    struct Place {
        folder: tempfile::TempDir,
        lock: Lock,
        options: Options,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            let options = Options {
                cache: at("cache/packages"),
                work: at("work"),
                locked: true,
                update: lock::Update::Keep,
                fresh: false,
                clock_ahead: std::time::Duration::ZERO,
                tools: None,
                elea: at("elea"),
                initrd: at("initrd"),
                specialisations: BTreeMap::new(),
            };
            for (name, text) in [
                ("a", "a"),
                ("b", "[Unit]\n"),
                ("t", "${vars.word}"),
                ("elea", "e"),
                ("initrd", "i"),
            ] {
                fs::write(at(name), text).unwrap();
            }
            fs::write(at("c.toml"), CONFIG).unwrap();
            let lock = lock();
            Self {
                folder,
                lock,
                options,
            }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn known(&self) -> Known {
            let config = crate::config::load(&self.folder.path().join("c.toml")).unwrap();
            let programs = Programs::of(&self.options).unwrap();
            Known::of(&config, &self.lock, &self.options, &programs)
                .unwrap()
                .unwrap()
        }
    }

    #[test]
    fn everything_that_goes_into_an_image_counts() {
        let mut place = Place::new();
        let mut seen = vec![place.known()];
        assert_eq!(place.known(), seen[0]);
        for (name, text) in [
            ("a", "A"),
            ("b", "[Unit]\nDescription=b\n"),
            ("t", "a ${vars.word}"),
            ("c.toml", &CONFIG.replace("\"old\"", "\"new\"")),
            ("elea", "newer"),
            ("initrd", "newer"),
            (
                "c.toml",
                &CONFIG.replace("version = \"1\"", "version = \"2\""),
            ),
        ] {
            place.write(name, text);
            let known = place.known();
            assert!(!seen.contains(&known), "{name}");
            seen.push(known);
        }
        place.lock.users.insert("ada".into(), 1000);
        assert!(!seen.contains(&place.known()), "the lock");
        seen.push(place.known());
        let image = Digest::from(Sha256::of(b"image"));
        place.options.specialisations.insert("quiet".into(), image);
        assert!(!seen.contains(&place.known()), "a specialisation");
        // A comment is nothing that an image has.
        let last = place.known();
        let text = fs::read_to_string(place.folder.path().join("c.toml")).unwrap();
        place.write("c.toml", &format!("# New.\n{text}"));
        assert_eq!(place.known(), last);
    }

    #[test]
    fn an_image_that_is_gone_is_built_again() {
        let place = Place::new();
        let store = Store::init(&place.folder.path().join("store")).unwrap();
        let known = place.known();
        assert_eq!(known.image(&store), None);
        let tree = store.empty_tree();
        let image = store
            .seal(tree, Form::Os1, &Origin::default())
            .unwrap()
            .image;
        known.note(&image).unwrap();
        assert_eq!(place.known().image(&store), Some(image));
        let other = Store::init(&place.folder.path().join("other")).unwrap();
        assert_eq!(place.known().image(&other), None);
        fs::write(&known.path, "nonsense").unwrap();
        assert_eq!(place.known().image(&store), None);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let place = Place::new();
        let folder = place.folder.path().join("builds");
        fs::create_dir(&folder).unwrap();
        for i in 0..u64::try_from(MOST).unwrap() + 2 {
            let file = fs::File::create(folder.join(i.to_string())).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000 + i);
            file.set_modified(time).unwrap();
        }
        sweep(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MOST);
        assert!(!folder.join("1").exists());
        assert!(folder.join("2").exists());
    }
}
