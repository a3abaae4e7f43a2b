//! References: a transport and a place.
//!
//! The grammar of registry names is that of the distribution specification
//! ("Pulling manifests": name and tag), hosts as in a URL.

mod prefix;

pub use prefix::Prefix;

use super::sha256_text;
use crate::digest::Sha256;
use crate::release::is_specialisation;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where an image is, or is to be put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `dir:PATH`: a directory as the tree.
    Directory(PathBuf),
    /// `tar:PATH`: a tar file; none is `tar:-`, standard input or output.
    Tar(Option<PathBuf>),
    /// `dump:PATH`: the text form of a tree (composefs-dump(5)); none is `dump:-`.
    Dump(Option<PathBuf>),
    /// `erofs:PATH`: a composefs image; none is `erofs:-`.
    Erofs(Option<PathBuf>),
    /// `squashfs:PATH`: a squashfs image with contents, to write; none is `squashfs:-`.
    Squashfs(Option<PathBuf>),
    /// `oci:DIR:TAG`: an image in an OCI layout.
    Layout {
        /// The layout's folder.
        path: PathBuf,
        /// The tag (`org.opencontainers.image.ref.name`).
        tag: String,
    },
    /// `oci-archive:FILE`: a tar file of an OCI layout with one image.
    Archive(PathBuf),
    /// `disk:FILE`: a disk to write.
    Disk(PathBuf),
    /// `registry:HOST[:PORT]/NAME[:TAG|@sha256:…]`.
    Registry(Location),
    /// A name or digest in the store: `hello`, `hello:1.0`, `team/hello:1.0`.
    Store(String),
}

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The host, with its port if one was given: `localhost:5000`, `[::1]:5000`.
    pub host: String,
    /// The repository's name: `library/hello`.
    pub name: String,
    /// What in the repository.
    pub target: Target,
}

/// What is asked of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A tag, `latest` if none was given.
    Tag(String),
    /// A manifest by its digest.
    Digest(Sha256),
}

/// A text that is not a reference, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a reference: {reason}")]
pub struct ReferenceError {
    /// What was given (cut short if long).
    pub text: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// Transports of the design that this version does not read.
const LATER: [&str; 5] = ["ostree", "nix", "snap", "flatpak", "appimage"];

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason: String| ReferenceError {
            text: text.chars().take(200).collect(),
            reason,
        };
        if text.is_empty() {
            return Err(fail("it is empty".into()));
        }
        if text.contains('\0') || text.contains('\n') {
            return Err(fail("it has a control character".into()));
        }
        let Some((transport, place)) = text.split_once(':') else {
            return store_name(text).map(Self::Store).map_err(fail);
        };
        let path = || {
            if place.is_empty() {
                Err(fail(format!("a path must follow `{transport}:`")))
            } else {
                Ok(PathBuf::from(place))
            }
        };
        match transport {
            "dir" => path().map(Self::Directory),
            "tar" => path().map(|p| Self::Tar(stream(p))),
            "dump" => path().map(|p| Self::Dump(stream(p))),
            "erofs" => path().map(|p| Self::Erofs(stream(p))),
            "squashfs" => path().map(|p| Self::Squashfs(stream(p))),
            "oci" => layout(place).map_err(fail),
            "oci-archive" => path().map(Self::Archive),
            "disk" => path().map(Self::Disk),
            "registry" => location(place).map(Self::Registry).map_err(fail),
            "sha256" => store_name(place).map(Self::Store).map_err(fail),
            "docker" => Err(fail(format!(
                "write `registry:{}`",
                place.trim_start_matches('/')
            ))),
            later if LATER.contains(&later) => Err(fail(format!(
                "the transport `{later}` is not supported by this version"
            ))),
            // A place with a `/` is a registry's or a file's, never a tag.
            name if is_version(place) => store_name(name)
                .map(|name| Self::Store(format!("{name}:{place}")))
                .map_err(fail),
            other => Err(fail(format!(
                "`{other}` is not a transport (dir, tar, dump, erofs, squashfs, oci, oci-archive, registry, disk), \
                 and `{}` is not the tag of a name in the store; for an image in a registry write `registry:{text}`",
                place.chars().take(80).collect::<String>()
            ))),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "dir:{}", path.display()),
            Self::Tar(path) => write!(f, "tar:{}", place(path.as_ref())),
            Self::Dump(path) => write!(f, "dump:{}", place(path.as_ref())),
            Self::Erofs(path) => write!(f, "erofs:{}", place(path.as_ref())),
            Self::Squashfs(path) => write!(f, "squashfs:{}", place(path.as_ref())),
            Self::Layout { path, tag } => write!(f, "oci:{}:{tag}", path.display()),
            Self::Archive(path) => write!(f, "oci-archive:{}", path.display()),
            Self::Disk(path) => write!(f, "disk:{}", path.display()),
            Self::Registry(location) => write!(f, "registry:{location}"),
            Self::Store(name) => write!(f, "{name}"),
        }
    }
}

/// A file, or none for standard input and output: `-`.
fn stream(path: PathBuf) -> Option<PathBuf> {
    (path.as_os_str() != "-").then_some(path)
}

fn place(path: Option<&PathBuf>) -> std::path::Display<'_> {
    path.map_or(std::path::Path::new("-"), PathBuf::as_path)
        .display()
}

impl Location {
    /// Host and name without tag or digest: what a signature calls `docker-reference`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.name)
    }

    /// The host without its port and without brackets.
    pub fn host_name(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => self.host.split(':').next().unwrap_or(&self.host),
        }
    }

    /// Whether the host is this machine by its address or by the name `localhost`.
    pub fn is_loopback(&self) -> bool {
        let name = self.host_name();
        name == "localhost"
            || name
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// The same repository with another target.
    #[must_use]
    pub fn with(&self, target: Target) -> Self {
        Self {
            target,
            ..self.clone()
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Target::Tag(tag) => write!(f, "{}/{}:{tag}", self.host, self.name),
            Target::Digest(digest) => write!(f, "{}/{}@sha256:{digest}", self.host, self.name),
        }
    }
}

fn layout(place: &str) -> Result<Reference, String> {
    let needed = "an OCI layout is written `oci:DIR:TAG`";
    let (path, tag) = place.rsplit_once(':').ok_or(needed)?;
    if path.is_empty() || tag.is_empty() || tag.contains('/') {
        return Err(needed.into());
    }
    Ok(Reference::Layout {
        path: path.into(),
        tag: tag.into(),
    })
}

fn location(place: &str) -> Result<Location, String> {
    let place = place.strip_prefix("//").unwrap_or(place);
    let (host, rest) = place
        .split_once('/')
        .ok_or("a registry image is written `registry:HOST[:PORT]/NAME[:TAG|@sha256:…]`")?;
    check_host(host)?;
    let (name, target) = if let Some((name, digest)) = rest.split_once('@') {
        let digest = sha256_text::parse(digest)
            .ok_or_else(|| format!("`{digest}` is not `sha256:` and 64 digits"))?;
        // A tag before a digest says nothing more.
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        (name, Target::Digest(digest))
    } else if let Some((name, tag)) = rest.split_once(':') {
        check_tag(tag)?;
        (name, Target::Tag(tag.into()))
    } else {
        (rest, Target::Tag("latest".into()))
    };
    check_name(name)?;
    Ok(Location {
        host: host.into(),
        name: name.into(),
        target,
    })
}

fn check_host(host: &str) -> Result<(), String> {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let (name, rest) = rest
            .split_once(']')
            .ok_or_else(|| format!("the host `{host}` has no `]`"))?;
        if name.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("`{name}` is not an IPv6 address"));
        }
        let port = rest.strip_prefix(':');
        if port.is_none() && !rest.is_empty() {
            return Err(format!("`{rest}` after the host is not a port"));
        }
        (name, port)
    } else {
        let (name, port) = match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        };
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if !name.bytes().all(good) || name.starts_with(['-', '.']) || name.len() > 253 {
            return Err(format!("`{name}` is not a host name or address"));
        }
        (name, port)
    };
    if name.is_empty() {
        return Err("the host is missing".into());
    }
    match port.map(str::parse::<u16>) {
        None => Ok(()),
        Some(Ok(number)) if number > 0 => Ok(()),
        Some(_) => Err(format!("`{}` is not a port", port.unwrap_or_default())),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/…)*`, at most 255 characters.
fn check_name(name: &str) -> Result<(), String> {
    let part = |part: &str| {
        let edge =
            |b: Option<u8>| b.is_some_and(|b: u8| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(part.bytes().next())
            && edge(part.bytes().last())
            && part.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
            })
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"]
                .iter()
                .any(|bad| part.contains(bad))
    };
    if name.is_empty() {
        return Err("the repository's name is missing".into());
    }
    if name.len() > 255 || !name.split('/').all(part) {
        return Err(format!(
            "`{name}` is not a repository name (lower-case letters, digits, single `.`, `_`, `-` between them, parts divided by `/`)"
        ));
    }
    Ok(())
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(tag: &str) -> Result<(), String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.bytes().all(good) {
        return Err(format!(
            "`{tag}` is not a tag (at most 128 letters, digits, `_`, `.`, `-`)"
        ));
    }
    Ok(())
}

/// What stands behind the colon of a name in the store: a tag, with `+NAME` for a specialisation.
fn is_version(text: &str) -> bool {
    match text.split_once('+') {
        Some((tag, name)) => check_tag(tag).is_ok() && is_specialisation(name),
        None => check_tag(text).is_ok(),
    }
}

/// Names in the store: parts of letters, digits and `._+-@~`, divided by `/`, none of them hidden.
fn store_name(name: &str) -> Result<String, String> {
    let good =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'@' | b'~');
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(good);
    if name.len() > 255 || !name.split('/').all(part) {
        return Err(
            "a name in the store has letters, digits and `._+-@~`, in parts divided by `/`; \
             for a directory write `dir:PATH`, for a tar file `tar:PATH`"
                .into(),
        );
    }
    Ok(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn every_transport_round_trips() {
        for text in [
            "dir:/srv/tree",
            "tar:-",
            "tar:a.tar",
            "dump:-",
            "dump:a.dump",
            "erofs:-",
            "erofs:/a/b",
            "squashfs:-",
            "squashfs:/a/b",
            "oci:/tmp/a:b/layout:1.0",
            "oci-archive:image.tar",
            "disk:/dev/vda",
            "registry:localhost:5000/hello:1.0",
            "registry:[::1]:5000/a/b__c-d.e:x",
            "hello/2.0",
            "hello:2.0",
            "team/hello:2.0-rc1",
            "hello:2.0+quiet",
            HEX,
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        assert_eq!(parse(&format!("sha256:{HEX}")).unwrap().to_string(), HEX);
    }

    #[test]
    fn a_registry_image_has_host_name_and_target() {
        let Reference::Registry(location) = parse("registry:127.0.0.1:5000/lib/hello").unwrap()
        else {
            panic!("not a registry")
        };
        assert_eq!(location.repository(), "127.0.0.1:5000/lib/hello");
        assert_eq!(location.target, Target::Tag("latest".into()));
        assert!(location.is_loopback());
        let digest = parse(&format!("registry:quay.io/a/b:tag@sha256:{HEX}")).unwrap();
        assert_eq!(
            digest.to_string(),
            format!("registry:quay.io/a/b@sha256:{HEX}")
        );
        for (host, loopback) in [
            ("[::1]:1", true),
            ("localhost", true),
            ("10.0.2.2:5000", false),
            ("127.0.0.1.example.org", false),
        ] {
            let Reference::Registry(l) = parse(&format!("registry:{host}/a")).unwrap() else {
                panic!("not a registry")
            };
            assert_eq!(l.is_loopback(), loopback, "{host}");
        }
    }

    #[test]
    fn wrong_texts_are_explained() {
        for (text, reason) in [
            ("", "empty"),
            ("dir:", "a path must follow"),
            ("oci:layout", "oci:DIR:TAG"),
            ("oci:a:b/c", "oci:DIR:TAG"),
            ("registry:hello", "HOST[:PORT]/NAME"),
            ("registry:ho st/hello", "not a host"),
            ("registry:h:99999/hello", "not a port"),
            ("registry:[::1/hello", "no `]`"),
            ("registry:h/Hello", "not a repository name"),
            ("registry:h/a/../b", "not a repository name"),
            ("registry:h/a:b/c", "not a tag"),
            ("registry:h/a@sha256:12", "64 digits"),
            ("registry:h/", "name is missing"),
            ("docker://quay.io/a/b", "registry:quay.io/a/b"),
            ("ostree:repo:ref", "not supported"),
            ("localhost:5000/hello", "registry:localhost:5000/hello"),
            ("../x", "dir:PATH"),
            ("a\nb", "control"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
