//! Where packages come from: the build machine's own sources, asked for another suite.

use crate::debian::control;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Where Debian's keys lie.
pub(crate) const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// An archive: a suite at a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Archive {
    /// The suite: `trixie`, `trixie-security`.
    pub(crate) suite: String,
    /// The URL that the paths of packages are relative to, without a slash at the end.
    pub(crate) url: String,
    /// `main`.
    pub(crate) components: Vec<String>,
}

/// A line or stanza of the build machine's sources, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    urls: Vec<String>,
    suites: Vec<String>,
    /// Whether it is Debian's own, as far as its key tells.
    debian: bool,
}

/// Reads a `.sources` file (deb822 style, sources.list(5)).
pub(crate) fn parse_stanzas(text: &str) -> Vec<Entry> {
    let words = |text: Option<&str>| -> Vec<String> {
        text.unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    control::parse(text)
        .iter()
        .filter(|s| words(s.get("Types")).iter().any(|t| t == "deb"))
        .filter(|s| !matches!(s.get("Enabled"), Some("no" | "false")))
        .map(|s| Entry {
            urls: words(s.get("URIs")),
            suites: words(s.get("Suites")),
            debian: s.get("Signed-By").is_none_or(is_debian_key),
        })
        .collect()
}

/// Reads a `.list` file (one line for each source).
pub(crate) fn parse_lines(text: &str) -> Vec<Entry> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (url, suite) = (words.next()?, words.next()?);
    let key = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Entry {
        urls: vec![url.to_owned()],
        suites: vec![suite.to_owned()],
        debian: key.is_none_or(is_debian_key),
    })
}

fn is_debian_key(key: &str) -> bool {
    key.contains("debian-archive")
}

/// Suites that are no release, so have neither updates nor security.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];

/// The archives of `suite`: those that the build machine uses for its own release `own`.
pub(crate) fn plan_archives(
    entries: &[Entry],
    own: &str,
    suite: &str,
    components: &[String],
) -> Vec<Archive> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for entry in entries.iter().filter(|e| e.debian) {
        for found in &entry.suites {
            let kind = [own, "stable", "testing"]
                .iter()
                .find_map(|name| found.strip_prefix(name));
            let wanted = match kind {
                Some("") => suite.to_owned(),
                Some(kind @ ("-updates" | "-security")) if !ROLLING.contains(&suite) => {
                    format!("{suite}{kind}")
                }
                _ => continue,
            };
            if let Some(url) = entry.urls.first()
                && seen.insert(wanted.clone())
            {
                out.push(Archive {
                    suite: wanted,
                    url: url.trim_end_matches('/').to_owned(),
                    components: components.to_vec(),
                });
            }
        }
    }
    // The release itself first; its updates mean nothing without it.
    out.sort_by_key(|a| a.suite.len());
    if out.first().is_none_or(|a| a.suite != suite) {
        out.clear();
    }
    out
}

/// A sources list for apt.
pub(crate) fn encode(archives: &[Archive]) -> String {
    let mut out = String::new();
    for archive in archives {
        let components = archive.components.join(" ");
        let _ = writeln!(
            out,
            "deb [signed-by={KEYRING}] {} {} {components}",
            archive.url, archive.suite
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANZAS: &str = "\
Types: deb deb-src
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://other.example/apt
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/other.gpg

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
";

    fn plan(entries: &[Entry], suite: &str) -> Vec<(String, String)> {
        plan_archives(entries, "bookworm", suite, &["main".into()])
            .into_iter()
            .map(|a| (a.suite, a.url))
            .collect()
    }

    #[test]
    fn a_machines_own_archives_are_asked_for_another_suite() {
        let entries = parse_stanzas(STANZAS);
        let expected = [
            ("trixie", "http://mirror.example/debian"),
            ("trixie-updates", "http://mirror.example/debian"),
            ("trixie-security", "http://mirror.example/debian-security"),
        ];
        let expected: Vec<_> = expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        assert_eq!(plan(&entries, "trixie"), expected);
        assert_eq!(plan(&entries, "sid").len(), 1);
    }

    #[test]
    fn the_old_style_is_read_too() {
        let text = "\
# deb http://no.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/x.gpg] http://no.example/x bookworm main
deb-src http://no.example/debian bookworm main
deb http://mirror.example/debian stable main # note
";
        let found = plan(&parse_lines(text), "trixie");
        assert_eq!(
            found,
            [(
                "trixie".to_owned(),
                "http://mirror.example/debian".to_owned()
            )]
        );
        assert!(
            plan(
                &parse_lines("deb http://a.example/debian jammy main"),
                "trixie"
            )
            .is_empty()
        );
    }
}
