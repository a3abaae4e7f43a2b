//! apt with a root of its own: it asks archives and solves, and touches nothing of the machine.

use super::sources::{self, Archive};
use crate::debian::control;
use crate::lock::Error;
use crate::program::{self, ProgramError, Tools};
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use elea_sys::progress::Progress;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// An index of packages or a release file is never larger, in bytes.
const LIMIT: u64 = 512 << 20;

/// A private apt.
#[derive(Debug)]
pub(crate) struct Apt {
    folder: PathBuf,
    tools: Tools,
    log: PathBuf,
}

/// A package that apt chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// Where it is.
    pub(crate) url: String,
}

/// An archive's release file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// Its suite and code name.
    pub(crate) names: Vec<String>,
    pub(crate) date: String,
    pub(crate) digest: Sha256,
}

/// What a private apt is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup<'a> {
    pub(crate) archives: &'a [Archive],
    /// Whose apt it is.
    pub(crate) tools: &'a Tools,
    /// A folder of packages that is trusted as it is.
    pub(crate) local: Option<&'a Path>,
    pub(crate) architecture: &'a str,
    pub(crate) recommends: bool,
}

/// What apt would change about installed packages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Packages that it would install, new or in place of another version: (name, version).
    pub(crate) installed: Vec<(String, String)>,
    /// Packages that it would remove.
    pub(crate) removed: Vec<String>,
}

impl Apt {
    /// Makes its root in `folder`, which must be empty.
    pub(crate) fn new(folder: &Path, setup: Setup<'_>, log: &Path) -> Result<Self, Error> {
        if !setup.tools.file(sources::KEYRING).exists() {
            return Err(Error::NoKeys(sources::KEYRING));
        }
        for name in [
            "state/lists/partial",
            "cache/archives/partial",
            "etc/preferences.d",
            "etc/apt.conf.d",
        ] {
            let path = folder.join(name);
            fs::create_dir_all(&path).at("make the folder", &path)?;
        }
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).at("write", &path)
        };
        write("status", "")?;
        let mut list = sources::encode(setup.archives);
        if let Some(local) = setup.local {
            let _ = writeln!(list, "deb [trusted=yes] copy:{} ./", escaped(local));
        }
        write("sources.list", &list)?;
        write(
            "apt.conf",
            &configuration(folder, &setup, &inherited(setup.tools, log)?),
        )?;
        Ok(Self {
            folder: folder.to_owned(),
            tools: setup.tools.clone(),
            log: log.to_owned(),
        })
    }

    fn run(&self, arguments: &[&str], progress: &dyn Progress) -> Result<Vec<u8>, ProgramError> {
        let (program, rest) = arguments.split_first().unwrap_or((&"apt-get", &[]));
        let mut command = self.tools.program(program);
        command
            .env("APT_CONFIG", self.folder.join("apt.conf"))
            .args(rest);
        program::run(command, "apt", &self.log, progress)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.folder.join(name);
        Ok(fs::write(&path, text).at("write", &path)?)
    }

    /// Versions to take if they can be had: (name, version).
    pub(crate) fn pin(&self, versions: &[(String, String)]) -> Result<(), Error> {
        let mut pins = String::new();
        for (name, version) in versions {
            let _ = write!(
                pins,
                "Package: {name}\nPin: version {version}\nPin-Priority: 1001\n\n"
            );
        }
        self.write("etc/preferences", &pins)
    }

    /// What `apt-get install` of some packages would change on a machine that has others: those whose control files
    /// are `installed`, each with an empty line behind it.
    pub(crate) fn moves(
        &self,
        installed: &str,
        names: &[&str],
        progress: &dyn Progress,
    ) -> Result<Moves, Error> {
        self.write("status", installed)?;
        let mut arguments = vec!["apt-get", "-y", "-qq", "--simulate", "install", "--"];
        arguments.extend(names);
        let printed = self.run(&arguments, progress);
        self.write("status", "")?;
        let printed = printed?;
        let text = String::from_utf8_lossy(&printed);
        let mut moves = Moves::default();
        for line in text.lines() {
            if let Some(removed) = line.strip_prefix("Remv ") {
                let name = removed.split(' ').next().unwrap_or_default();
                moves.removed.push(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("Inst ") {
                let found = parse_inst(rest).ok_or_else(|| Error::Answer {
                    about: "packages to move".into(),
                    why: line.to_owned(),
                })?;
                moves.installed.push(found);
            }
        }
        Ok(moves)
    }

    /// The control files of all versions of packages that are known; of others nothing.
    pub(crate) fn show(&self, names: &[&str], progress: &dyn Progress) -> Result<String, Error> {
        let mut arguments = vec!["apt-cache", "show", "--all-versions", "--"];
        arguments.extend(names);
        match self.run(&arguments, progress) {
            // None of them is known.
            Err(ProgramError::Failed { words, .. }) if words.contains("No packages found") => {
                Ok(String::new())
            }
            printed => Ok(String::from_utf8_lossy(&printed?).into_owned()),
        }
    }

    /// Fetches the indexes.
    pub(crate) fn update(&self, progress: &dyn Progress) -> Result<(), Error> {
        self.run(&["apt-get", "-q", "--error-on=any", "update"], progress)?;
        Ok(())
    }

    /// What must be installed for `wanted` (names or patterns), dependencies included.
    pub(crate) fn solve(
        &self,
        wanted: &[&str],
        progress: &dyn Progress,
    ) -> Result<Vec<Found>, Error> {
        let mut arguments = vec!["apt-get", "-y", "-qq", "--print-uris", "install", "--"];
        arguments.extend(wanted);
        let printed = self.run(&arguments, progress)?;
        let text = String::from_utf8_lossy(&printed);
        let mut found = Vec::new();
        for line in text.lines().filter(|line| line.starts_with('\'')) {
            found.push(parse_uri(line).ok_or_else(|| Error::Answer {
                about: "packages to fetch".into(),
                why: line.to_owned(),
            })?);
        }
        Ok(found)
    }

    /// Where one package (`name` or `name=version`) is, whatever it depends on.
    pub(crate) fn download_url(
        &self,
        exact: &str,
        progress: &dyn Progress,
    ) -> Result<Found, Error> {
        let arguments = ["apt-get", "-qq", "--print-uris", "download", "--", exact];
        let printed = self.run(&arguments, progress)?;
        let text = String::from_utf8_lossy(&printed);
        let line = text.lines().find(|line| line.starts_with('\''));
        line.and_then(parse_uri).ok_or_else(|| Error::Answer {
            about: exact.to_owned(),
            why: text.trim().to_owned(),
        })
    }

    /// The size and SHA-256 of exact versions, each given as `name:architecture=version`, by
    /// (name, version).
    pub(crate) fn digests(
        &self,
        exact: &[String],
        progress: &dyn Progress,
    ) -> Result<Vec<(String, String, u64, Sha256)>, Error> {
        let mut arguments = vec!["apt-cache", "show", "--"];
        arguments.extend(exact.iter().map(String::as_str));
        let printed = self.run(&arguments, progress)?;
        let text = String::from_utf8_lossy(&printed);
        let mut out = Vec::new();
        for stanza in control::parse(&text) {
            let fields = (
                stanza.get("Package"),
                stanza.get("Version"),
                stanza.get("Size").and_then(|n| n.parse().ok()),
                stanza.get("SHA256").and_then(|d| d.parse().ok()),
            );
            if let (Some(name), Some(version), Some(size), Some(digest)) = fields {
                out.push((name.to_owned(), version.to_owned(), size, digest));
            }
        }
        Ok(out)
    }

    /// The names of all packages.
    pub(crate) fn names(&self, progress: &dyn Progress) -> Result<Vec<String>, Error> {
        let printed = self.run(&["apt-cache", "pkgnames"], progress)?;
        let text = String::from_utf8_lossy(&printed);
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// The release files that it fetched.
    pub(crate) fn releases(&self) -> Result<Vec<Release>, Error> {
        let folder = self.folder.join("state/lists");
        let root = elea_sys::root::Root::open(&folder)?;
        let mut out = Vec::new();
        for name in root.list(Path::new("."), 4096)? {
            if !name.to_string_lossy().ends_with("Release") {
                continue;
            }
            let bytes = root.read(Path::new(&name), LIMIT)?;
            out.extend(parse_release(&bytes));
        }
        Ok(out)
    }
}

/// A line of `apt-get --print-uris`: `'URL' name_version_architecture.deb SIZE HASH`.
fn parse_uri(line: &str) -> Option<Found> {
    let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let file = rest.split(' ').next()?.strip_suffix(".deb")?;
    let mut words = file.split('_');
    let (name, version, architecture) = (words.next()?, words.next()?, words.next()?);
    Some(Found {
        name: name.to_owned(),
        version: version.replace("%3a", ":"),
        architecture: architecture.to_owned(),
        url: url.to_owned(),
    })
}

/// What follows `Inst` in a simulation: `name [old] (new archive [architecture]) …`.
fn parse_inst(rest: &str) -> Option<(String, String)> {
    let (name, rest) = rest.split_once(' ')?;
    let (_, new) = rest.split_once('(')?;
    let version = new.split([' ', ')']).next()?;
    Some((name.to_owned(), version.to_owned()))
}

fn parse_release(bytes: &[u8]) -> Option<Release> {
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
            .map(|value| value.trim().to_owned())
    };
    Some(Release {
        names: [field("Codename"), field("Suite")]
            .into_iter()
            .flatten()
            .collect(),
        date: field("Date")?,
        digest: Sha256::of(bytes),
    })
}

/// A path as part of a URL.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

fn configuration(folder: &Path, setup: &Setup<'_>, inherited: &str) -> String {
    let root = folder.display();
    let architecture = setup.architecture;
    format!(
        "Dir \"{root}\";\n\
         Dir::State \"state\";\n\
         Dir::State::status \"{root}/status\";\n\
         Dir::Cache \"cache\";\n\
         Dir::Etc \"etc\";\n\
         Dir::Etc::sourcelist \"{root}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Install-Recommends \"{}\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         {inherited}",
        setup.recommends
    )
}

/// How the machine, or the tree of tools, reaches archives: its proxies, and what it says of their dates.
pub(crate) fn inherited(tools: &Tools, log: &Path) -> Result<String, Error> {
    const KEPT: [&str; 7] = [
        "Acquire::http:",
        "Acquire::https:",
        "Acquire::Check-",
        "Acquire::Max-",
        "Acquire::Retries",
        "Acquire::ForceIPv",
        "Acquire::Proxy",
    ];
    let mut command = tools.program("apt-config");
    command.arg("dump");
    let printed = program::run(command, "apt", log, &elea_sys::progress::Silent)?;
    let text = String::from_utf8_lossy(&printed);
    let kept = |line: &&str| KEPT.iter().any(|start| line.starts_with(start));
    Ok(text
        .lines()
        .filter(kept)
        .fold(String::new(), |mut out, line| {
            out.push_str(line);
            out.push('\n');
            out
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints_is_read() {
        let line = "'http://h.example/debian/pool/main/p/passwd_4.17%2b1_amd64.deb' passwd_1%3a4.17+1_amd64.deb 1228860 MD5Sum:cf";
        let found = parse_uri(line).unwrap();
        assert_eq!(found.name, "passwd");
        assert_eq!(found.version, "1:4.17+1");
        assert_eq!(found.architecture, "amd64");
        assert!(found.url.ends_with("passwd_4.17%2b1_amd64.deb"));
        assert!(parse_uri("'http://h.example' x").is_none());
        let moved = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        let line =
            "libc6 [2.36-9] (2.36-9+deb12u10 Debian:12.11/stable [amd64]) [perl-base:amd64 ]";
        assert_eq!(parse_inst(line), moved("libc6", "2.36-9+deb12u10"));
        assert_eq!(parse_inst("x (1 local [all])"), moved("x", "1"));
        assert_eq!(parse_inst("x"), None);
        let release = b"Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n";
        let release = parse_release(release).unwrap();
        assert_eq!(release.names, ["trixie", "stable"]);
        assert!(parse_release(b"Suite: x\n").is_none());
    }
}
