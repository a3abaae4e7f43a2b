//! The beginning of a registry's references, by whole parts: what rules are written for.

use super::{Location, ReferenceError, Target, check_host, check_name};
use std::fmt;
use std::str::FromStr;

/// A registry, or its repositories at and below a name.
///
/// Hosts are kept in one spelling: lower case, no dot at the end, port 443 left out, IPv6
/// addresses in their shortest form. So no spelling of a host passes by what is said of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    host: String,
    /// Empty for the whole registry.
    name: String,
}

impl Prefix {
    /// The repository of a location.
    pub fn of(location: &Location) -> Self {
        Self {
            host: canonical(&location.host),
            name: location.name.clone(),
        }
    }

    /// Whether `other` is this or lies below it.
    pub fn covers(&self, other: &Self) -> bool {
        self.rest(other).is_some()
    }

    /// How specific it is: of two that cover the same, the longer one.
    pub fn length(&self) -> usize {
        self.name.len()
    }

    /// The host, with its port if that is another than 443.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The whole registry that this is in.
    #[must_use]
    pub fn host_prefix(&self) -> Self {
        Self {
            host: self.host.clone(),
            name: String::new(),
        }
    }

    /// Something in this repository.
    pub fn location(&self, target: Target) -> Location {
        Location {
            host: self.host.clone(),
            name: self.name.clone(),
            target,
        }
    }

    /// `other`, which this covers, with `to` in place of this. None where this does not cover
    /// it, or where no repository's name would be left.
    pub fn replace(&self, to: &Self, other: &Self) -> Option<Self> {
        let rest = self.rest(other)?;
        let name = match (to.name.as_str(), rest) {
            ("", "") => return None,
            (name, "") => name.to_owned(),
            ("", rest) => rest.to_owned(),
            (name, rest) => format!("{name}/{rest}"),
        };
        Some(Self {
            host: to.host.clone(),
            name,
        })
    }

    /// What follows this in `other`, without the slash between.
    fn rest<'a>(&self, other: &'a Self) -> Option<&'a str> {
        if self.host != other.host {
            return None;
        }
        if self.name.is_empty() {
            return Some(&other.name);
        }
        let rest = other.name.strip_prefix(&self.name)?;
        if rest.is_empty() {
            return Some(rest);
        }
        rest.strip_prefix('/')
    }
}

impl FromStr for Prefix {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |reason| ReferenceError {
            text: text.chars().take(200).collect(),
            reason,
        };
        let (host, name) = match text.split_once('/') {
            None => (text, None),
            Some((host, name)) => (host, Some(name)),
        };
        check_host(host).map_err(fail)?;
        if let Some(name) = name {
            check_name(name).map_err(fail)?;
        }
        Ok(Self {
            host: canonical(host),
            name: name.unwrap_or_default().into(),
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        if !self.name.is_empty() {
            write!(f, "/{}", self.name)?;
        }
        Ok(())
    }
}

/// The one spelling of a host with its port.
fn canonical(host: &str) -> String {
    let end = host.rfind(']').map_or(0, |at| at + 1);
    let (name, port) = match host[end..].split_once(':') {
        Some((rest, port)) => (&host[..end + rest.len()], Some(port)),
        None => (host, None),
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok());
    let name = match address {
        Some(address) => format!("[{address}]"),
        None => name.trim_end_matches('.').to_ascii_lowercase(),
    };
    let number = |port: &str| {
        port.parse::<u16>()
            .map_or(port.to_owned(), |n| n.to_string())
    };
    match port.map(number).as_deref() {
        None | Some("443") => name,
        Some(port) => format!("{name}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reference;
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn repository(text: &str) -> Prefix {
        let Ok(Reference::Registry(location)) = format!("registry:{text}").parse() else {
            panic!("{text} is not in a registry")
        };
        Prefix::of(&location)
    }

    #[test]
    fn a_prefix_covers_whole_parts_only() {
        for (beginning, whole, covers) in [
            ("registry.example", "registry.example/foo:1", true),
            ("registry.example/foo", "registry.example/foo", true),
            ("registry.example/foo", "registry.example/foo/bar:2", true),
            ("registry.example/foo", "registry.example/foobar", false),
            ("registry.example/foo", "registry.example/foo-bar", false),
            ("registry.example/foo", "registry.example/fo", false),
            ("registry.example/foo/bar", "registry.example/foo", false),
            ("registry.example", "registry.example.org/foo", false),
            ("registry.example", "my.registry.example/foo", false),
            ("registry.example", "registry.example:5000/foo", false),
            ("registry.example:5000", "registry.example/foo", false),
            ("registry.example:500", "registry.example:5000/foo", false),
            // Spellings of one host.
            ("registry.example", "Registry.EXAMPLE/foo", true),
            ("Registry.example", "registry.example/foo", true),
            ("registry.example", "registry.example./foo", true),
            ("registry.example", "registry.example:443/foo", true),
            ("registry.example:443", "registry.example/foo", true),
            ("registry.example:5000", "registry.example.:05000/foo", true),
            ("[::1]:5000", "[0:0::0:1]:5000/foo", true),
            ("[::1]", "[::2]/foo", false),
        ] {
            let (beginning, whole) = (prefix(beginning), repository(whole));
            assert_eq!(beginning.covers(&whole), covers, "{beginning} {whole}");
        }
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_stays() {
        for (from, to, whole, wanted) in [
            (
                "a.example/x",
                "b.example/y",
                "a.example/x/z",
                Some("b.example/y/z"),
            ),
            (
                "a.example/x",
                "b.example/y",
                "a.example/x",
                Some("b.example/y"),
            ),
            (
                "a.example",
                "b.example/y",
                "a.example/x",
                Some("b.example/y/x"),
            ),
            (
                "a.example/x",
                "b.example",
                "a.example/x/z",
                Some("b.example/z"),
            ),
            ("a.example/x", "b.example", "a.example/x", None),
            ("a.example/x", "b.example", "a.example/xz", None),
        ] {
            let made = prefix(from).replace(&prefix(to), &repository(whole));
            assert_eq!(made.map(|m| m.to_string()).as_deref(), wanted, "{whole}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "",
            "/",
            "a/",
            "a//b",
            "a/B",
            "a/b:1",
            "a/b@sha256:0",
            "h:0",
            "a b",
            "a/../b",
        ] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
