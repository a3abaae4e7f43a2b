//! What the machine is to keep: the list for the initrd, with owners as numbers.

use super::Job;
use super::accounts::Numbers;
use super::tree::{Kind as Stands, Tree};
use crate::config::{self, Kept, quoted};
use crate::lock::Error;
use elea_formats::state::{self, How, Keep, Kind, Mode, Rollback, State, is_in};

/// What an ephemeral machine keeps without being asked: the random seed, the marks of timers and the key of
/// credentials; and the journal, in which a failed boot left its reasons.
const USUAL: [&str; 2] = ["/var/lib/systemd", "/var/log/journal"];

/// Writes the list, and makes the kept directories of `/var` so that they become part of its factory copy. Before
/// that copy is made.
pub(super) fn settle(
    job: &Job<'_>,
    tree: &mut Tree<'_>,
    numbers: &Numbers<'_>,
) -> Result<(), Error> {
    let declared = &job.config.state;
    if !declared.is_ephemeral() && declared.kept().next().is_none() {
        return Ok(());
    }
    let list = list(declared, tree, numbers);
    let list = list.map_err(|wrong| Error::Config(job.config.errors(wrong)))?;
    let is_bound = |one: &&Keep| one.kind == Kind::Directory && one.how == How::Bind;
    for one in list.keep.iter().filter(is_bound) {
        if one.path.starts_with("/var/") {
            tree.folder(&one.path, one.mode, (one.uid, one.gid))?;
        }
    }
    let mut text = serde_json::to_string_pretty(&list)
        .map_err(|e| Error::Tree(format!("the list of what is kept cannot be written: {e}")))?;
    text.push('\n');
    // What the initrd would refuse is refused here.
    State::parse(text.as_bytes()).map_err(|e| Error::Tree(e.to_string()))?;
    tree.put(state::PATH, text.as_bytes())
}

/// What is wrong with the config: name, what, help.
type Wrong = Vec<(String, String, Option<String>)>;

/// The list, or what is wrong with what the config asks for.
pub(super) fn list(
    declared: &config::State,
    tree: &Tree<'_>,
    numbers: &Numbers<'_>,
) -> Result<State, Wrong> {
    let mut wrong = Vec::new();
    let mut keep = Vec::new();
    for (path, kept, is_directory) in declared.kept() {
        match one(tree, numbers, path, kept, is_directory) {
            Ok(one) => keep.push(one),
            Err((key, what)) => {
                let table = if is_directory { "directories" } else { "files" };
                let name = format!("state.{table}.{}{key}", quoted(path));
                wrong.push((name, what, None));
            }
        }
    }
    for path in USUAL.iter().filter(|_| declared.is_ephemeral()) {
        let near = |one: &Keep| is_in(path, &one.path) || is_in(&one.path, path);
        if !keep.iter().any(near) {
            let (mode, uid, gid) = found(tree, path).unwrap_or((0o755, 0, 0));
            keep.push(Keep {
                path: (*path).to_owned(),
                kind: Kind::Directory,
                mode,
                uid,
                gid,
                how: How::Bind,
                service: None,
                version: None,
                usual: true,
            });
        }
    }
    keep.sort_by(|a, b| a.path.cmp(&b.path));
    let list = State {
        schema: state::SCHEMA.into(),
        mode: if declared.is_ephemeral() {
            Mode::Ephemeral
        } else {
            Mode::Persistent
        },
        rollback: match declared.rollback {
            Some("restore") => Rollback::Restore,
            _ => Rollback::Offer,
        },
        keep,
    };
    if wrong.is_empty() {
        Ok(list)
    } else {
        Err(wrong)
    }
}

/// Mode and owner of what the tree has at a path, if it is a directory or file.
fn found(tree: &Tree<'_>, path: &str) -> Option<(u32, u32, u32)> {
    match tree.kind(path) {
        Some(Stands::Folder | Stands::File) => tree.status(path),
        _ => None,
    }
}

fn one(
    tree: &Tree<'_>,
    numbers: &Numbers<'_>,
    path: &str,
    kept: &Kept,
    is_directory: bool,
) -> Result<Keep, (&'static str, String)> {
    let there = tree.kind(path);
    let (kind, wanted, word) = if is_directory {
        (Kind::Directory, Stands::Folder, "directory")
    } else {
        (Kind::File, Stands::File, "file")
    };
    if there.is_some_and(|there| there != wanted) {
        return Err((
            "",
            format!("the image has something else than a {word} at {path}"),
        ));
    }
    let symlink = kept.how == "symlink";
    if symlink && there.is_some() && path.starts_with("/var/") {
        return Err((
            ".how",
            format!(
                "packages make {path} at each boot, where a link would be in their way: bind it"
            ),
        ));
    }
    let usual = if is_directory { 0o755 } else { 0o644 };
    let found = found(tree, path);
    let (mode, uid, gid) = found.unwrap_or((usual, 0, 0));
    let user = kept
        .owner
        .as_deref()
        .map_or(Some(uid), |name| numbers.user(name));
    let group = kept
        .group
        .as_deref()
        .map_or(Some(gid), |name| numbers.group(name));
    let no = |kind: &str, name: &Option<String>| {
        format!(
            "the image has no {kind} `{}`",
            name.as_deref().unwrap_or_default()
        )
    };
    Ok(Keep {
        path: path.to_owned(),
        kind,
        mode: kept.mode.unwrap_or(mode),
        uid: user.ok_or_else(|| (".owner", no("user", &kept.owner)))?,
        gid: group.ok_or_else(|| (".group", no("group", &kept.group)))?,
        how: if symlink { How::Symlink } else { How::Bind },
        service: kept.service.clone(),
        version: kept.version,
        usual: false,
    })
}
