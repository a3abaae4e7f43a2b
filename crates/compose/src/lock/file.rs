//! The lock's file: TOML, one package in a line, so that differences are easy to read.

use super::{Archive, Error, Lock, Package, SCHEMA, Stage, stages};
use crate::config::Config;
use elea_sys::At as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A lock is never larger, in bytes.
const LIMIT: u64 = 16 << 20;

/// A lock and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The lock.
    pub lock: Lock,
    /// Whether it is the config's own; else it is that of a config that this one imports, whose
    /// versions and numbers are the beginning of a new one.
    pub own: bool,
}

/// The lock's file: beside the config, `elea.lock` for `elea.toml`, and `elea.NAME.lock` for its specialisation NAME, unless
/// that asks the same of archives as the lock of the system itself.
pub fn path_of(config: &Config) -> PathBuf {
    let system = config.path.with_extension("lock");
    let Some(name) = &config.special else {
        return system;
    };
    match read(&system) {
        Ok(Some(lock)) if lock.request == super::request(config) => system,
        _ => config.path.with_extension(format!("{name}.lock")),
    }
}

/// The config's lock, or that of what it imports; none if there is none.
pub fn load(config: &Config) -> Result<Option<Loaded>, Error> {
    if let Some(lock) = read(&path_of(config))? {
        return Ok(Some(Loaded { lock, own: true }));
    }
    // A specialisation begins with the lock of the system itself.
    let itself = config.special.is_some().then_some(&config.path);
    for path in itself.into_iter().chain(config.read.iter().skip(1)) {
        if let Some(lock) = read(&path.with_extension("lock"))? {
            return Ok(Some(Loaded { lock, own: false }));
        }
    }
    Ok(None)
}

/// The lock in a file; none if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Lock>, Error> {
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.at("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    let damaged = |why: String| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    if bytes.len() as u64 > LIMIT {
        return Err(damaged(format!("it is larger than {} MiB", LIMIT >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text".into()))?;
    let schema = |text: &str| -> Option<String> {
        let table: toml::Table = text.parse().ok()?;
        Some(table.get("schema")?.as_str()?.chars().take(40).collect())
    };
    match parse(&text) {
        Ok(lock) => Ok(Some(lock)),
        Err(why) => match schema(&text) {
            Some(found) if found != SCHEMA => Err(Error::Newer {
                path: path.to_owned(),
                found,
            }),
            _ => Err(damaged(why)),
        },
    }
}

/// Writes the config's lock, durably; it belongs to whom the config belongs.
pub fn save(config: &Config, lock: &Lock) -> Result<(), Error> {
    save_at(&path_of(config), &config.path, lock)
}

/// Writes a lock as `path`; it belongs to whom `like` belongs.
pub(crate) fn save_at(path: &Path, like: &Path, lock: &Lock) -> Result<(), Error> {
    elea_sys::durable::write(path, encode(lock).as_bytes())?;
    // A config that came by stdin is no file.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let owner = match std::fs::metadata(like) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::metadata(folder.unwrap_or(Path::new(".")))
        }
        found => found,
    };
    let owner = owner.at("look at", like)?;
    let mode = std::fs::Permissions::from_mode(owner.mode() & 0o666 | 0o600);
    std::fs::set_permissions(path, mode).at("set the mode of", path)?;
    match std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid())) {
        // Who is not root owns what they make, and may not be of the group.
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        result => Ok(result.at("own", path)?),
    }
}

/// Reads a lock.
///
/// # Errors
/// Says what makes no sense.
pub fn parse(text: &str) -> Result<Lock, String> {
    let lock: Lock = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
    if lock.schema != SCHEMA {
        return Err(format!("its schema is `{}`", lock.schema));
    }
    for package in lock.all() {
        plain(package)?;
    }
    for pair in lock.packages.windows(2) {
        if pair[0].name >= pair[1].name {
            return Err(format!("{} stands twice or not in order", pair[1].name));
        }
    }
    if lock.epoch < 0 {
        return Err("its epoch is before 1970".into());
    }
    stages::check(&lock)?;
    Ok(lock)
}

/// What becomes a word on a command line or a name of a file holds nothing but plain letters.
fn plain(package: &Package) -> Result<(), String> {
    let good = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.len() <= 512
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let checks = [
        (&package.name, "+.-"),
        (&package.version, "+.-~:"),
        (&package.architecture, "-"),
        (&package.archive, "-./_"),
        (&package.file, "+.-~:_/%"),
    ];
    for (text, more) in checks {
        if !good(text, more) || text.contains("..") && text == &package.file {
            let shown: String = text.chars().take(80).collect();
            return Err(format!(
                "`{}` cannot be part of a package",
                shown.escape_debug()
            ));
        }
    }
    Ok(())
}

/// The lock as a text; the same lock gives the same text.
pub fn encode(lock: &Lock) -> String {
    let mut out = String::from(
        "# Written by `elea build` and `elea lock`. Keep it with the config: it makes builds repeatable.\n",
    );
    let _ = write!(
        out,
        "schema = {:?}\nrequest = \"{}\"\narchitecture = {:?}\nepoch = {}\n\narchives = [\n",
        lock.schema, lock.request, lock.architecture, lock.epoch
    );
    for Archive {
        suite,
        date,
        release,
    } in &lock.archives
    {
        let _ = writeln!(
            out,
            "  {{ suite = {suite:?}, date = {date:?}, release = \"{release}\" }},"
        );
    }
    out.push_str("]\n\npackages = [\n");
    for package in &lock.packages {
        let _ = writeln!(out, "  {},", line(package));
    }
    if !lock.stages.is_empty() {
        out.push_str("]\n\nstages = [\n");
        for Stage { epoch, packages } in &lock.stages {
            let names = if packages.is_empty() {
                String::new()
            } else {
                format!(", packages = {packages:?}")
            };
            let _ = writeln!(out, "  {{ epoch = {epoch}{names} }},");
        }
    }
    out.push_str("]\n");
    if let Some(loader) = &lock.loader {
        let _ = write!(out, "\nloader = {}\n", line(loader));
    }
    for (title, numbers) in [("users", &lock.users), ("groups", &lock.groups)] {
        numbers_of(&mut out, title, numbers);
    }
    out
}

fn line(package: &Package) -> String {
    let Package {
        name,
        version,
        architecture,
        sha256,
        size,
        archive,
        file,
    } = package;
    format!(
        "{{ name = {name:?}, version = {version:?}, architecture = {architecture:?}, sha256 = \"{sha256}\", size = {size}, archive = {archive:?}, file = {file:?} }}"
    )
}

fn numbers_of(out: &mut String, title: &str, numbers: &BTreeMap<String, u32>) {
    let _ = write!(out, "\n[{title}]\n");
    for (name, number) in numbers {
        let _ = writeln!(out, "{name:?} = {number}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::digest::Sha256;

    fn lock() -> Lock {
        let package = |name: &str| Package {
            name: name.into(),
            version: "1:2.0-1~deb13u1+b2".into(),
            architecture: "amd64".into(),
            sha256: Sha256::of(name.as_bytes()),
            size: 12,
            archive: "trixie".into(),
            file: format!("pool/main/x/{name}_2.0-1%7edeb13u1_amd64.deb"),
        };
        Lock {
            schema: SCHEMA.into(),
            request: Sha256::of(b"request"),
            architecture: "amd64".into(),
            epoch: 1_760_000_000,
            archives: vec![Archive {
                suite: "trixie".into(),
                date: "Sat, 21 Nov 2026 09:15:44 UTC".into(),
                release: Sha256::of(b"release"),
            }],
            packages: vec![package("apt"), package("libstdc++6")],
            stages: Vec::new(),
            loader: Some(package("systemd-boot-efi")),
            users: BTreeMap::from([("sshd".into(), 991), ("_apt".into(), 42)]),
            groups: BTreeMap::new(),
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written() {
        let lock = lock();
        let text = encode(&lock);
        assert_eq!(parse(&text).unwrap(), lock);
        assert_eq!(encode(&parse(&text).unwrap()), text);
        // Of a home it is one without a loader.
        let of_home = Lock {
            loader: None,
            ..lock.clone()
        };
        assert_eq!(parse(&encode(&of_home)).unwrap(), of_home);
        assert!(of_home.loader().is_err());
        assert_eq!(
            text.lines().filter(|l| l.starts_with("  { name")).count(),
            2
        );
    }

    #[test]
    fn a_specialisation_has_a_lock_of_its_own_and_begins_with_the_systems() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let text = "[system]\nname = \"a\"\nversion = \"1\"\n[specialisation.debug.packages]\ninstall = [\"gdb\"]\n";
        std::fs::write(&path, text).unwrap();
        let config = crate::config::load(&path).unwrap();
        let special = config.clone().specialised("debug").unwrap();
        assert!(load(&special).unwrap().is_none());
        save(&config, &lock()).unwrap();
        assert!(!load(&special).unwrap().unwrap().own);
        let own = Lock { epoch: 7, ..lock() };
        save(&special, &own).unwrap();
        assert!(folder.path().join("a.debug.lock").exists());
        let loaded = load(&special).unwrap().unwrap();
        assert!(loaded.own && loaded.lock == own);
        assert_eq!(load(&config).unwrap().unwrap().lock, lock());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = encode(&lock());
        let cases = [
            (text.replace("\"libstdc++6\"", "\"apt\""), "order"),
            (
                text.replace("\"libstdc++6\"", "\"--rm\""),
                "part of a package",
            ),
            (
                text.replace("pool/main", "pool/../etc"),
                "part of a package",
            ),
            (text.replace("elea.lock/1", "elea.lock/2"), "schema"),
            (text.replace("size = 12", "size = -12"), "size"),
            (text.replace("epoch = 17", "epoch = -17"), "epoch"),
            (text.replace("[users]", "[usrs]"), "usrs"),
        ];
        for (text, word) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
