//! What an image is made of, as documents that other programs read: SPDX 2.3 and `CycloneDX` 1.6.
//!
//! The same bill gives the same bytes: no clock, no random number.

pub mod cyclonedx;
pub mod spdx;
#[cfg(test)]
mod tests;

use crate::copyright::Text;
use crate::digest::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The image.
    pub image: Digest,
    /// The system's name.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// When the package database was last written, in seconds since 1970.
    pub time: i64,
    /// The version of the program that writes the document.
    pub tool: String,
    /// The parts, sorted.
    pub parts: Vec<Part>,
    /// Licences that SPDX does not know, by id.
    pub texts: BTreeMap<String, Text>,
}

/// A part of an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// `openssh-server`.
    pub name: String,
    /// `amd64`, `all`; empty for what is no package.
    pub architecture: String,
    /// `1:10.0p1-7`, if it is known.
    pub version: Option<String>,
    /// The package URL.
    pub purl: Option<String>,
    /// What it was built from.
    pub source: Option<Source>,
    /// An SPDX expression.
    pub licence: Option<String>,
    /// SHA-256 of the package's file, or of the part itself if it is no package.
    pub sha256: Option<Sha256>,
    /// One line.
    pub summary: Option<String>,
    /// Who keeps the package: `Name <address>`.
    pub maintainer: Option<String>,
    /// A URL.
    pub homepage: Option<String>,
}

/// A source package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// `openssh`.
    pub name: String,
    /// `1:10.0p1-7`.
    pub version: String,
    /// The package URL.
    pub purl: String,
}

impl Bill {
    /// An id of the document, the same for the same bill: a UUID of version 8 (RFC 9562) of the image, the
    /// program's version and the format.
    fn uuid(&self, format: &str) -> String {
        let seed = format!("elea.sbom/1 {format} {} {}", self.tool, self.image);
        let hex = Sha256::of(seed.as_bytes()).to_string();
        format!(
            "{}-{}-8{}-a{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[13..16],
            &hex[17..20],
            &hex[20..32]
        )
    }

    fn created(&self) -> String {
        let (days, seconds) = (self.time.div_euclid(86400), self.time.rem_euclid(86400));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The sources of the parts, each once.
    fn sources(&self) -> BTreeMap<&str, &Source> {
        let sources = self.parts.iter().filter_map(|p| p.source.as_ref());
        sources.map(|s| (s.purl.as_str(), s)).collect()
    }
}

/// A day of the Gregorian calendar, by its number since 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last one; 719,468 days are from March of year 0 to 1970.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (of_month, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    (era * 400 + year + i64::from(month < 3), month, of_month)
}

/// A package URL of the type `deb` (purl-spec): names and versions escaped, qualifiers in order.
pub fn purl(vendor: &str, name: &str, version: &str, qualifiers: &[(&str, &str)]) -> String {
    let mut out = format!(
        "pkg:deb/{}/{}@{}",
        escaped(vendor),
        escaped(name),
        escaped(version)
    );
    for (number, (key, value)) in qualifiers.iter().enumerate() {
        let mark = if number == 0 { '?' } else { '&' };
        let _ = write!(out, "{mark}{key}={}", escaped(value));
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A maintainer's name and address.
fn person(maintainer: &str) -> (&str, Option<&str>) {
    match maintainer.split_once('<') {
        Some((name, rest)) => (name.trim().trim_matches('"'), rest.split('>').next()),
        None => (maintainer.trim(), None),
    }
}

/// Whether a text is a URL that a document may have.
fn is_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.contains('.')
            && text
                .chars()
                .all(|c| c.is_ascii_graphic() && !"<>\"\\^`{|}".contains(c))
    })
}
