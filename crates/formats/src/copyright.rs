//! Debian's copyright files: the licences of a package as SPDX expressions.
//!
//! Source: "Machine-readable debian/copyright file", version 1.0. Names that SPDX has not, and whole files that no
//! machine can read, become licences of their own (`LicenseRef-…`) with their text.

mod names;

use crate::control::{self, Stanza};
use crate::digest::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// A text is kept up to this many bytes.
const MAX_TEXT: usize = 64 << 10;
/// How many licences of one package are named; more are of one that wants to fill the memory.
const MAX_NAMES: usize = 1000;

/// The licences of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Licences {
    /// An SPDX expression (SPDX 2.3, annex D), if anything is known.
    pub expression: Option<String>,
    /// What the expression names beside SPDX's own, by its id.
    pub texts: BTreeMap<String, Text>,
}

/// A licence that SPDX does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its name in the copyright file; the package's where the file is no list of names.
    pub name: String,
    /// Its text, or where to read it.
    pub text: String,
}

/// Reads the copyright file of a package.
pub fn parse(package: &str, text: &str) -> Licences {
    let stanzas = control::parse(text);
    let mut out = Licences::default();
    if !stanzas.first().is_some_and(is_machine_readable) {
        if !text.trim().is_empty() {
            let id = out.add(package, text.trim_end());
            out.expression = Some(id);
        }
        return out;
    }
    let texts: BTreeMap<String, String> = stanzas
        .iter()
        .filter_map(|stanza| stanza.get("License"))
        .filter_map(|licence| {
            let (name, text) = licence.split_once('\n')?;
            Some((name.trim().to_lowercase(), unfold(text)))
        })
        .collect();
    // A stanza of a licence alone explains a name; whether it holds for a file is said by others.
    let mut names: Vec<&str> = (stanzas.iter().enumerate())
        .filter(|(number, stanza)| *number == 0 || stanza.get("Files").is_some())
        .filter_map(|(_, stanza)| stanza.get("License")?.lines().next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MAX_NAMES);
    let mut all = BTreeSet::new();
    for name in names {
        let found = out.expression_of(name, package, &texts);
        if found.contains(" OR ") || found.contains('(') {
            all.insert(found);
        } else {
            all.extend(found.split(" AND ").map(str::to_owned));
        }
    }
    all.remove("");
    let alone = all.len() < 2;
    let parts = all.into_iter().map(|part| {
        if part.contains(" OR ") && !alone {
            format!("({part})")
        } else {
            part
        }
    });
    let parts: Vec<String> = parts.collect();
    out.expression = (!parts.is_empty()).then(|| parts.join(" AND "));
    out
}

fn is_machine_readable(stanza: &Stanza<'_>) -> bool {
    stanza.get("Format").is_some_and(|format| {
        let format = format.to_lowercase();
        ["copyright-format", "dep5", "dep-5"]
            .iter()
            .any(|name| format.contains(name))
    })
}

/// The text of a field with continuation lines: one blank less, and a dot for an empty line.
fn unfold(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        if line == "." { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

impl Licences {
    /// The SPDX expression of the first line of a `License` field: `GPL-2+ or Artistic-2.0, and BSD-3-clause`.
    ///
    /// A comma binds less than `and` and `or`; `and` binds more than `or`, as in SPDX.
    fn expression_of(
        &mut self,
        line: &str,
        package: &str,
        texts: &BTreeMap<String, String>,
    ) -> String {
        // What has a text under its whole name is one licence, whatever words the name has.
        if names::spdx(line).is_none() && texts.contains_key(&line.to_lowercase()) {
            return self.name(line, package, texts);
        }
        let mut out = String::new();
        let groups: Vec<&str> = line.split(',').collect();
        for group in &groups {
            let (mut joiner, mut group) = (" AND ", group.trim());
            for (word, meaning) in [("and ", " AND "), ("or ", " OR ")] {
                if let Some(rest) = group.strip_prefix(word) {
                    (joiner, group) = (meaning, rest);
                }
            }
            let part = self.group(group, package, texts);
            if part.is_empty() {
                continue;
            }
            if !out.is_empty() {
                out.push_str(joiner);
            }
            if groups.len() > 1 && part.contains(' ') {
                // Writing to a string does not fail.
                let _ = write!(out, "({part})");
            } else {
                out.push_str(&part);
            }
        }
        out
    }

    fn group(&mut self, group: &str, package: &str, texts: &BTreeMap<String, String>) -> String {
        let mut out = String::new();
        let mut name: Vec<&str> = Vec::new();
        let mut joiner = "";
        for word in group.split_whitespace().chain(["and"]) {
            let next = match word {
                "and" | "AND" => " AND ",
                "or" | "OR" | "and/or" => " OR ",
                _ => {
                    name.push(word);
                    continue;
                }
            };
            if !name.is_empty() {
                out.push_str(joiner);
                out.push_str(&self.name(&name.join(" "), package, texts));
                name.clear();
                joiner = next;
            }
        }
        out
    }

    fn name(&mut self, name: &str, package: &str, texts: &BTreeMap<String, String>) -> String {
        if let Some(known) = names::spdx(name) {
            return known;
        }
        let there = format!("See /usr/share/doc/{package}/copyright.");
        let text = texts
            .get(&name.to_lowercase())
            .filter(|t| !t.trim().is_empty());
        self.add(name, text.unwrap_or(&there))
    }

    fn add(&mut self, name: &str, text: &str) -> String {
        let digest = Sha256::of(text.as_bytes()).to_string();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let word: String = name
            .chars()
            .take(60)
            .map(|c| if plain(c) { c } else { '-' })
            .collect();
        let id = format!("LicenseRef-{}-{}", word.trim_matches('-'), &digest[..12]);
        let mut kept = text.to_owned();
        if kept.len() > MAX_TEXT {
            kept.truncate(kept.floor_char_boundary(MAX_TEXT));
            let _ = write!(
                kept,
                "\n[…] The rest is in /usr/share/doc/{name}/copyright."
            );
        }
        let text = Text {
            name: name.to_owned(),
            text: kept,
        };
        self.texts.insert(id.clone(), text);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> String {
        let mut text =
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
                .to_owned();
        for name in names {
            let _ = write!(text, "Files: x\nCopyright: y\nLicense: {name}\n\n");
        }
        parse("pkg", &text).expression.unwrap_or_default()
    }

    #[test]
    fn names_become_those_of_spdx() {
        for (names, expected) in [
            (&["GPL-2+"][..], "GPL-2.0-or-later"),
            (&["Expat", "GPL-2", "Expat"], "GPL-2.0-only AND MIT"),
            (
                &["GPL-1+ or Artistic"],
                "GPL-1.0-or-later OR Artistic-1.0-Perl",
            ),
            (&["Perl"], "GPL-1.0-or-later OR Artistic-1.0-Perl"),
            (&["Expat and ISC", "ISC"], "ISC AND MIT"),
            (
                &["GPL-2+ or Expat", "ISC"],
                "(GPL-2.0-or-later OR MIT) AND ISC",
            ),
            (
                &["GPL-2+ or Artistic-2.0, and BSD-3-clause"],
                "(GPL-2.0-or-later OR Artistic-2.0) AND BSD-3-Clause",
            ),
            (&["LGPL-2.1+"], "LGPL-2.1-or-later"),
            (&["GFDL-NIV-1.3+"], "GFDL-1.3-no-invariants-or-later"),
        ] {
            assert_eq!(of(names), expected, "{names:?}");
        }
    }

    #[test]
    fn what_spdx_has_not_keeps_its_text() {
        let text = "Format: http://dep.debian.net/deps/dep5\nLicense: odd or Expat\n\n\
            Files: *\nLicense: odd thing\n more\n\nLicense: odd\n first\n .\n  second\n\nLicense: never-used\n x\n";
        let found = parse("pkg", text);
        let expression = found.expression.unwrap();
        let texts: Vec<(&str, &str)> = found
            .texts
            .values()
            .map(|t| (t.name.as_str(), t.text.as_str()))
            .collect();
        assert_eq!(texts.len(), 2, "{expression}: {texts:?}");
        assert!(texts.contains(&("odd", "first\n\n second")), "{texts:?}");
        assert!(texts.contains(&("odd thing", "more")), "{texts:?}");
        for id in found.texts.keys() {
            assert!(expression.contains(id), "{expression}");
        }
        // The same name with another text is another licence.
        let other = parse("pkg", &text.replace("first", "1st"));
        assert_ne!(other.expression.unwrap(), expression);
    }

    #[test]
    fn a_file_that_no_machine_reads_is_one_licence() {
        let found = parse("zlib1g", "This is zlib.\n\nFree for all.\n");
        let id = found.expression.unwrap();
        assert!(id.starts_with("LicenseRef-zlib1g-"), "{id}");
        assert_eq!(found.texts[&id].text, "This is zlib.\n\nFree for all.");
        assert_eq!(parse("a", "\n"), Licences::default());
        let long = "é".repeat(MAX_TEXT);
        let found = parse("a", &long);
        assert!(found.texts.values().next().unwrap().text.len() < MAX_TEXT + 100);
    }
}
