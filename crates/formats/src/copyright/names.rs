//! Debian's short names of licences and those of SPDX (licence list 3.20 and later).

/// Names that are no family with versions: Debian's in small letters, SPDX's.
const NAMES: &[(&str, &str)] = &[
    ("0bsd", "0BSD"),
    ("afl-2.1", "AFL-2.1"),
    ("afl-3.0", "AFL-3.0"),
    ("apache", "Apache-1.0"),
    ("apache-1", "Apache-1.0"),
    ("apache-1.1", "Apache-1.1"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-1", "Artistic-1.0-Perl"),
    ("artistic-1.0-perl", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("boost-1.0", "BSL-1.0"),
    ("bsd-1-clause", "BSD-1-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1", "BSL-1.0"),
    ("bsl-1.0", "BSL-1.0"),
    ("bzip2-1.0.6", "bzip2-1.0.6"),
    ("cc-by-3", "CC-BY-3.0"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4", "CC-BY-4.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3", "CC-BY-SA-3.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4", "CC-BY-SA-4.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cddl-1", "CDDL-1.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("cpl-1", "CPL-1.0"),
    ("cpl-1.0", "CPL-1.0"),
    ("curl", "curl"),
    ("efl-2", "EFL-2.0"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("ftl", "FTL"),
    ("hpnd", "HPND"),
    ("hpnd-sell-variant", "HPND-sell-variant"),
    ("icu", "ICU"),
    ("ijg", "IJG"),
    ("isc", "ISC"),
    ("latex2e", "Latex2e"),
    ("lppl-1.3", "LPPL-1.3a"),
    ("lppl-1.3c", "LPPL-1.3c"),
    ("mit-0", "MIT-0"),
    ("mit-cmu", "MIT-CMU"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2", "MPL-2.0"),
    ("mpl-2.0", "MPL-2.0"),
    ("ncsa", "NCSA"),
    ("ofl-1.1", "OFL-1.1"),
    ("openldap-2.8", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("perl", "GPL-1.0-or-later OR Artistic-1.0-Perl"),
    ("postgresql", "PostgreSQL"),
    ("psf-2", "PSF-2.0"),
    ("psf-2.0", "PSF-2.0"),
    ("python-2", "Python-2.0"),
    ("python-2.0", "Python-2.0"),
    ("qpl-1", "QPL-1.0"),
    ("qpl-1.0", "QPL-1.0"),
    ("sleepycat", "Sleepycat"),
    ("tcl", "TCL"),
    ("tcp_wrappers", "TCP-wrappers"),
    ("unlicense", "Unlicense"),
    ("vim", "Vim"),
    ("w3c", "W3C"),
    ("wtfpl", "WTFPL"),
    ("wtfpl-2", "WTFPL"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
    ("zpl-2.1", "ZPL-2.1"),
];

/// Families, and the versions that SPDX knows, each as Debian writes it and as SPDX does.
type Family = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);
const FAMILIES: &[Family] = &[
    ("gpl", "GPL", &[("1", "1.0"), ("2", "2.0"), ("3", "3.0")]),
    (
        "lgpl",
        "LGPL",
        &[("2", "2.0"), ("2.1", "2.1"), ("3", "3.0")],
    ),
    ("agpl", "AGPL", &[("1", "1.0"), ("3", "3.0")]),
    (
        "gfdl",
        "GFDL",
        &[("1.1", "1.1"), ("1.2", "1.2"), ("1.3", "1.3")],
    ),
];

/// The SPDX expression of a licence's short name, if SPDX knows it.
pub(super) fn spdx(name: &str) -> Option<String> {
    let name = name.trim().to_lowercase();
    if let Ok(at) = NAMES.binary_search_by(|(known, _)| (*known).cmp(name.as_str())) {
        return Some(NAMES[at].1.to_owned());
    }
    let (rest, later) = match name.strip_suffix('+').or(name.strip_suffix("-or-later")) {
        Some(rest) => (rest, true),
        None => (name.strip_suffix("-only").unwrap_or(&name), false),
    };
    FAMILIES.iter().find_map(|(family, spdx, versions)| {
        let rest = rest.strip_prefix(family)?;
        let (rest, more) = match rest.strip_prefix("-niv") {
            Some(rest) if *family == "gfdl" => (rest, "-no-invariants"),
            _ => (rest, ""),
        };
        // Without a version the recipient may take any.
        if rest.is_empty() && more.is_empty() {
            return Some(format!("{spdx}-{}-or-later", versions[0].1));
        }
        let version = rest.trim_start_matches(['-', 'v']);
        let (_, version) = versions
            .iter()
            .find(|(debian, spdx)| [*debian, *spdx].contains(&version))?;
        let end = if later { "or-later" } else { "only" };
        Some(format!("{spdx}-{version}{more}-{end}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_spelling() {
        assert!(NAMES.is_sorted_by_key(|(name, _)| *name));
        for (name, expected) in [
            ("GPL-2", Some("GPL-2.0-only")),
            ("GPLv3+", Some("GPL-3.0-or-later")),
            ("gpl-2.0-or-later", Some("GPL-2.0-or-later")),
            ("LGPL", Some("LGPL-2.0-or-later")),
            ("GFDL-1.3", Some("GFDL-1.3-only")),
            ("Zlib", Some("Zlib")),
            ("GPL-4", None),
            ("GPL-NIV-2", None),
            ("GPL-2+ with OpenSSL exception", None),
            ("public-domain", None),
            ("", None),
        ] {
            assert_eq!(spdx(name).as_deref(), expected, "{name}");
        }
    }
}
