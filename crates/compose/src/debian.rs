//! Debian's side of a build: apt solves and fetches, dpkg unpacks and configures.
//!
//! [`apt`] turns names of packages into exact files; [`cache`] keeps those files by their
//! SHA-256; [`bootstrap`] makes a tree of them, without network, and [`stage`] adds to one.

pub(crate) mod apt;
pub(crate) mod bootstrap;
pub(crate) mod cache;
pub(crate) mod deb;
pub(crate) mod sources;
pub(crate) mod stage;
pub(crate) mod version;

pub(crate) use elea_formats::control;

use crate::config::Base;
use crate::lock::Error;
use elea_sys::root::Root;
use sources::Archive;
use std::path::Path;

/// A file of sources is never larger, in bytes.
const LIMIT: u64 = 1 << 20;

/// The archives of a suite: at the config's mirror, else where those of the system in `root` are: the build machine's
/// own at `/`.
pub(crate) fn archives(base: &Base, suite: &str, root: &Path) -> Result<Vec<Archive>, Error> {
    let components = &base.components;
    if let Some(mirror) = &base.mirror {
        return Ok(vec![Archive {
            suite: suite.to_owned(),
            url: mirror.trim_end_matches('/').to_owned(),
            components: components.clone(),
        }]);
    }
    let root = Root::open(root)?;
    let text = |path: &Path| -> Option<String> {
        let bytes = root.read(path, LIMIT).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut entries = Vec::new();
    if let Some(list) = text(Path::new("etc/apt/sources.list")) {
        entries.extend(sources::parse_lines(&list));
    }
    let parts = Path::new("etc/apt/sources.list.d");
    for name in root.list(parts, 1024).unwrap_or_default() {
        let path = parts.join(&name);
        match (path.extension().and_then(|e| e.to_str()), text(&path)) {
            (Some("sources"), Some(text)) => entries.extend(sources::parse_stanzas(&text)),
            (Some("list"), Some(text)) => entries.extend(sources::parse_lines(&text)),
            _ => {}
        }
    }
    let own = text(Path::new("etc/os-release"))
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|l| l.strip_prefix("VERSION_CODENAME="))?;
            Some(line.trim_matches('"').to_owned())
        })
        .unwrap_or_else(|| "stable".to_owned());
    let archives = sources::plan_archives(&entries, &own, suite, components);
    if archives.is_empty() {
        return Err(Error::NoArchive {
            why: format!(
                "the apt sources of this machine name no Debian archive of {own} that could be asked for {suite}"
            ),
        });
    }
    Ok(archives)
}
