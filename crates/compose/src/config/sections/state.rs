//! `[state]`: what of `/etc` and `/var` a machine keeps.

use super::super::reader::{Fields, Located, Reader};
use super::super::value::{Place, place_of};
use super::super::{Config, check};
use super::files;
use elea_formats::state::{is_in, may_keep};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// `[state]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Whether the rest is fresh at each boot: `persistent`, `ephemeral`.
    pub mode: Option<&'static str>,
    /// What is done about a version that goes back: `offer`, `restore`.
    pub rollback: Option<&'static str>,
    /// Directories that are kept, by path.
    pub directories: BTreeMap<String, Kept>,
    /// Files that are kept, by path.
    pub files: BTreeMap<String, Kept>,
}

/// `[state.directories."/path"]`, `[state.files."/path"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The mode that it is made with; none is what the image has there.
    #[serde(serialize_with = "octal")]
    pub mode: Option<u32>,
    /// The owner's name or number; none is what the image has there.
    pub owner: Option<String>,
    /// The group's name or number; none is what the image has there.
    pub group: Option<String>,
    /// How it is shown: `bind`, `symlink`.
    pub how: &'static str,
    /// The unit that writes it.
    pub service: Option<String>,
    /// The version of what is in it.
    pub version: Option<u64>,
}

/// What `mode` knows.
pub(crate) const MODES: &[&str] = &["persistent", "ephemeral"];
/// What `rollback` knows.
pub(crate) const ROLLBACK: &[&str] = &["offer", "restore"];
/// What `how` knows.
pub(crate) const HOW: &[&str] = &["bind", "symlink"];

/// What is never kept by itself, and why.
const NEVER: [(&str, &str); 11] = [
    ("/etc/.updated", "it belongs to the image"),
    ("/etc/group", "accounts come from the config"),
    ("/etc/gshadow", "accounts come from the config"),
    ("/etc/machine-id", "it is kept anyway"),
    ("/etc/passwd", "accounts come from the config"),
    ("/etc/shadow", "accounts come from the config"),
    ("/etc/subgid", "accounts come from the config"),
    ("/etc/subuid", "accounts come from the config"),
    ("/var/lib/apt/extended_states", "it belongs to the image"),
    ("/var/lib/dpkg", "it belongs to the image"),
    ("/var/lib/ucf", "it belongs to the image"),
];

impl State {
    /// Whether `/etc` and `/var` are fresh at each boot.
    pub fn is_ephemeral(&self) -> bool {
        self.mode == Some("ephemeral")
    }

    /// Everything that is kept, with whether it is a directory.
    pub fn kept(&self) -> impl Iterator<Item = (&str, &Kept, bool)> {
        let directories = self
            .directories
            .iter()
            .map(|(path, kept)| (path.as_str(), kept, true));
        let files = self
            .files
            .iter()
            .map(|(path, kept)| (path.as_str(), kept, false));
        directories.chain(files)
    }
}

/// Reads `[state]`.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> State {
    let mut fields = reader.table(top, "state");
    let f = &mut fields;
    let mode = reader.word(f, "mode", MODES);
    let rollback = reader.word(f, "rollback", ROLLBACK);
    let mut places = Vec::new();
    let state = State {
        mode,
        rollback,
        directories: entries(reader, f, "directories", &mut places),
        files: entries(reader, f, "files", &mut places),
    };
    reader.finish(&fields);
    // By their names, so that what is in a folder comes right after it.
    places.sort_by(|(a, _): &(String, Place), (b, _)| a.split('/').cmp(b.split('/')));
    let mut above: Option<&(String, Place)> = None;
    for one in &places {
        match above {
            Some((folder, at)) if is_in(&one.0, folder) => {
                let what = format!("{} is kept twice", one.0);
                let label = if one.0 == *folder {
                    "and here"
                } else {
                    "with all that is in it"
                };
                reader.problem_of_two(one.1, what, "kept here", *at, label);
            }
            _ => above = Some(one),
        }
    }
    state
}

fn entries(
    reader: &mut Reader,
    state: &mut Fields,
    key: &'static str,
    places: &mut Vec<(String, Place)>,
) -> BTreeMap<String, Kept> {
    let mut out = BTreeMap::new();
    for (path, mut fields) in reader.tables(state, key) {
        let kept = kept(reader, &mut fields);
        reader.finish(&fields);
        if fits(reader, &path) {
            places.push((path.value.clone(), path.at));
            if let Some(kept) = kept {
                out.insert(path.value, kept);
            }
        }
    }
    out
}

fn fits(reader: &mut Reader, path: &Located<String>) -> bool {
    let text = path.value.as_str();
    let never = NEVER.iter().find(|(never, _)| is_in(text, never));
    let always = ["/home", "/root", "/srv", "/opt", "/usr/local"];
    let (why, help) = if let Some((_, why)) = never {
        (*why, None)
    } else if may_keep(text) && check::path(text) {
        return true;
    } else if always.iter().any(|folder| is_in(text, folder)) {
        ("it is the machine's and stays in either mode", None)
    } else {
        let help = "declare the directories that a service has in /var/lib, and files of /etc";
        (
            "a path below /etc or /var is expected",
            Some(help.to_owned()),
        )
    };
    let what = format!(
        "`{}` cannot be kept",
        text.chars().take(200).collect::<String>().escape_debug()
    );
    reader.problem(Some(path.at), what, why, help);
    false
}

fn kept(reader: &mut Reader, f: &mut Fields) -> Option<Kept> {
    let given = reader.text(f, "mode");
    let mode = match given {
        None => Some(None),
        Some(text) => files::mode(reader, &text).map(Some),
    };
    let owner = files::owner(reader, f, "owner");
    let group = files::owner(reader, f, "group");
    // What is not said is as in the image.
    let (has_owner, has_group) = (f.was_there("owner"), f.was_there("group"));
    let how = reader.word(f, "how", HOW);
    let rule = "a service, such as web.service";
    let service: fn(&str) -> bool = |unit| check::unit(unit) && unit.ends_with(".service");
    let service = reader.checked(f, "service", service, rule);
    let version = reader.number(f, "version", 0..=u64::from(u32::MAX));
    Some(Kept {
        mode: mode?,
        owner: owner.filter(|_| has_owner),
        group: group.filter(|_| has_group),
        how: how.unwrap_or("bind"),
        service: service.map(|l| l.value),
        version: version.map(|n| n.value),
    })
}

/// What does not go with a fresh `/var`.
pub(super) fn whole(reader: &mut Reader, config: &Config) {
    let Some(file) = config
        .swap
        .file
        .as_deref()
        .filter(|_| config.state.is_ephemeral())
    else {
        return;
    };
    let kept = config.state.directories.keys();
    if !kept.into_iter().any(|folder| is_in(file, folder)) {
        let what = format!("the swap file {file} would be made anew at each boot");
        let help = "keep its folder with [state.directories], or use `swap.zram`".to_owned();
        let at = place_of(&config.places, "swap.file");
        reader.problem(at, what, "in a fresh /var", Some(help));
    }
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives references"
)]
fn octal<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match mode {
        Some(mode) => serializer.collect_str(&format_args!("{mode:04o}")),
        None => serializer.serialize_none(),
    }
}
