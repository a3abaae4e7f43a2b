//! `elea state adopt`: the lines of the config that would keep something.

use super::list::kind_of;
use super::release::Release;
use super::{Error, MAX_ACCOUNTS};
use crate::machine::Machine;
use elea_formats::state::{Kind, Mode, is_in, may_keep};
use elea_sys::At as _;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.state-adopt/1";

/// The lines.
#[derive(Debug, Clone, Serialize)]
pub struct Lines {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The path.
    pub path: String,
    /// What the config is to say, as TOML.
    pub lines: Vec<String>,
    /// Whether what is there now is gone at the next boot all the same.
    pub is_fresh: bool,
}

/// The lines that keep what is at a path, as it is there.
pub fn lines(machine: &Machine, path: &str) -> Result<Lines, Error> {
    let mut lines = Release::with(machine, |release| of(release, path))?;
    // What lies on a disk is kept already; only a boot's own goes with it.
    lines.is_fresh &= machine.booted().is_some();
    Ok(lines)
}

fn of(release: &Release<'_>, path: &str) -> Result<Lines, Error> {
    let list = release.list;
    let path = path.trim_end_matches('/');
    let cannot = |why: &str| Error::CannotDeclare {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    if !may_keep(path) {
        let own = ["/home", "/root", "/srv", "/opt", "/usr/local"];
        return Err(cannot(if own.iter().any(|own| is_in(path, own)) {
            "it is the machine's and stays in either mode"
        } else {
            "a path below /etc or /var is expected, without `.` and `..`"
        }));
    }
    if let Some(one) = list.keep.iter().find(|one| is_in(path, &one.path)) {
        let why = format!("{} is kept already, with all that is in it", one.path);
        return Err(cannot(&why));
    }
    if let Some(one) = list
        .keep
        .iter()
        .find(|one| is_in(&one.path, path) && !one.usual)
    {
        let why = format!(
            "{} in it is declared already; take that out of the config first",
            one.path
        );
        return Err(cannot(&why));
    }
    let place = release.find(path)?;
    let place = place.ok_or_else(|| cannot("there is nothing; declare it by hand"))?;
    let meta = fs::symlink_metadata(&place.path).at("look at", path)?;
    let kind = kind_of(&meta).ok_or_else(|| cannot("it is no directory and no file"))?;
    let name = |file: &str, id: u32| -> Result<String, Error> {
        let text = release.text(file, MAX_ACCOUNTS)?;
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let id = id.to_string();
        let found = lines.find(|fields| fields.get(2) == Some(&id.as_str()));
        Ok(found.map_or(id.clone(), |fields| fields[0].to_owned()))
    };
    let (table, usual) = match kind {
        Kind::Directory => ("directories", 0o755),
        Kind::File => ("files", 0o644),
    };
    let mut lines = vec![format!("[state.{table}.{path:?}]")];
    let (owner, group) = (name("passwd", meta.uid())?, name("group", meta.gid())?);
    let mode = meta.permissions().mode() & 0o7777;
    for (key, value, usual) in [
        ("owner", owner, "root".to_owned()),
        ("group", group, "root".to_owned()),
        ("mode", format!("{mode:04o}"), format!("{usual:04o}")),
    ] {
        if value != usual {
            lines.push(format!("{key} = {value:?}"));
        }
    }
    Ok(Lines {
        schema: SCHEMA,
        path: path.to_owned(),
        lines,
        is_fresh: list.mode == Mode::Ephemeral,
    })
}
