//! Links that start and mask units: what `systemctl enable`, `disable` and `mask` did.

use super::super::check;
use super::{Found, Local, NewValue, Take};
use elea_sys::root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FOLDER: &str = "/etc/systemd/system/";
/// Where a unit's own file lies in an image.
const UNITS: [&str; 3] = [
    "etc/systemd/system",
    "usr/lib/systemd/system",
    "usr/local/lib/systemd/system",
];
/// A unit's file is never larger, in bytes.
const LARGEST: u64 = 1 << 20;

/// What happened to the links of units.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Units whose links are all there now, and were not.
    on: BTreeSet<String>,
    /// Units whose links are all gone.
    off: BTreeSet<String>,
    /// The links of each of them (systemd.unit(5), `[Install]`).
    of: BTreeMap<String, Vec<String>>,
}

impl Links {
    /// Looks at all edits together.
    pub(super) fn of(edits: &[Local], image: &Root) -> Self {
        let mut links = Self::default();
        let units: BTreeSet<&str> = edits.iter().filter_map(unit_of).collect();
        for unit in units {
            let wanted = installed(unit, edits, image);
            let state = |path: &String| {
                let edit = edits.iter().find(|edit| edit.path == *path);
                match edit.map(|edit| &edit.found) {
                    Some(Found::Link(_)) => Some(true),
                    Some(_) => Some(false),
                    // No edit: as in the image.
                    None => image.kind(Path::new(path)).ok().map(|_| true),
                }
            };
            let there = wanted
                .iter()
                .filter(|path| state(path) == Some(true))
                .count();
            if wanted.is_empty() {
                continue;
            }
            if there == wanted.len() {
                links.on.insert(unit.to_owned());
            } else if there == 0 {
                links.off.insert(unit.to_owned());
            }
            links.of.insert(unit.to_owned(), wanted);
        }
        links
    }
}

/// The unit that an edited link below a `.wants` or `.requires` is of.
fn unit_of(edit: &Local) -> Option<&str> {
    let (folder, unit) = edit.path.strip_prefix(FOLDER)?.rsplit_once('/')?;
    let is_folder = folder.ends_with(".wants") || folder.ends_with(".requires");
    let link = match &edit.found {
        Found::Link(target) => target.rsplit('/').next() == Some(unit),
        found => *found == Found::Gone,
    };
    (is_folder && link && check::unit(unit)).then_some(unit)
}

/// The links that enabling a unit makes, by its `[Install]`.
fn installed(unit: &str, edits: &[Local], image: &Root) -> Vec<String> {
    let own = edits.iter().find_map(|edit| match &edit.found {
        Found::File(bytes, _) if edit.path == format!("{FOLDER}{unit}") => Some(bytes.clone()),
        _ => None,
    });
    let file = |folder: &&str| image.read(&Path::new(folder).join(unit), LARGEST).ok();
    let Some(bytes) = own.or_else(|| UNITS.iter().find_map(file)) else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut section = "";
    let mut out = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| section == "[Install]") else {
            continue;
        };
        let words = value.split_whitespace();
        match name.trim() {
            "WantedBy" => out.extend(words.map(|by| format!("{FOLDER}{by}.wants/{unit}"))),
            "RequiredBy" => out.extend(words.map(|by| format!("{FOLDER}{by}.requires/{unit}"))),
            "Alias" => out.extend(words.map(|alias| format!("{FOLDER}{alias}"))),
            _ => {}
        }
    }
    out
}

/// What the config says of such a link; none if it is no such link, or it is not certain.
pub(super) fn take(links: &Links, local: &Local) -> Option<Take> {
    let rest = local.path.strip_prefix(FOLDER)?;
    let list = |key: &str, unit: &str, not_in| {
        let key = ["services", key].map(str::to_owned).to_vec();
        Take::Values(vec![(key, NewValue::Item(unit.to_owned(), not_in))])
    };
    if let Found::Link(target) = &local.found
        && target == "/dev/null"
        && check::unit(rest)
    {
        return Some(list("mask", rest, &["enable", "disable"]));
    }
    let (unit, _) = links
        .of
        .iter()
        .find(|(_, paths)| paths.contains(&local.path))?;
    if links.on.contains(unit) && local.found != Found::Gone {
        Some(list("enable", unit, &["disable", "mask"]))
    } else if links.off.contains(unit) {
        Some(list("disable", unit, &["enable", "mask"]))
    } else {
        None
    }
}
