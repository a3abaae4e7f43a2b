//! `elea state reset`: the factory reset, asked for here and done by the next boot.

use super::Error;
use super::copy::{Size, size};
use crate::machine::{Machine, now};
use elea_formats::state::{RESET_NAMES, RESET_SCHEMA, Reset};
use elea_sys::{At as _, durable};
use serde::Serialize;
use std::fs;

/// The value of `schema` of what is shown.
pub const SCHEMA: &str = "elea.state-reset-plan/1";
/// The request, below `/elea/state`.
const REQUEST: &str = "reset.json";

/// What goes.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Entries of `/elea/state` with what they take.
    pub goes: Vec<Goes>,
    /// Whether it was only asked what would go.
    pub dry_run: bool,
}

/// Something that goes.
#[derive(Debug, Clone, Serialize)]
pub struct Goes {
    /// Its name below `/elea/state`.
    pub name: String,
    /// What it is, for people.
    pub what: &'static str,
    /// What it takes.
    pub size: Size,
}

/// What stays.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Homes, `/root` too.
    pub keep_homes: bool,
    /// The machine-id and ssh host keys.
    pub keep_identity: bool,
}

/// What a reset would take away.
pub fn plan(machine: &Machine, options: Options) -> Result<Planned, Error> {
    let folder = machine.state().root().join("state");
    let mut goes = Vec::new();
    for name in RESET_NAMES {
        let stays = match name {
            "home" | "root" => options.keep_homes,
            "machine-id" | "ssh" => options.keep_identity,
            _ => false,
        };
        let path = folder.join(name);
        if !stays && path.symlink_metadata().is_ok() {
            goes.push(Goes {
                name: name.to_owned(),
                what: what(name),
                size: size(&path)?,
            });
        }
    }
    Ok(Planned {
        schema: SCHEMA,
        goes,
        dry_run: true,
    })
}

fn what(name: &str) -> &'static str {
    match name {
        "var" => "/var: what services keep, logs, caches",
        "etc" => "files of /etc that an ephemeral release keeps",
        "home" => "/home: all homes",
        "root" => "/root: root's home",
        "srv" => "/srv",
        "opt" => "/opt",
        "usr-local" => "/usr/local",
        "boots" => "what boots left in a fresh /etc and /var",
        "snapshots" => "all snapshots",
        "machine-id" => "the machine's id: the next boot makes another one",
        "ssh" => "the ssh host keys: the next boot makes others",
        _ => "a record of Elea's own",
    }
}

/// Asks the next boot for it.
pub fn request(machine: &Machine, planned: &Planned) -> Result<(), Error> {
    let request = Reset {
        schema: RESET_SCHEMA.to_owned(),
        names: planned.goes.iter().map(|one| one.name.clone()).collect(),
        time: now(),
    };
    let path = machine.state().root().join("state").join(REQUEST);
    let text = serde_json::to_vec(&request).unwrap_or_default();
    Ok(durable::write(&path, &text)?)
}

/// Takes back what was asked for and not done yet.
pub fn cancel(machine: &Machine) -> Result<(), Error> {
    let folder = machine.state().root().join("state");
    let path = folder.join(REQUEST);
    match fs::remove_file(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Reset("no reset was asked for; nothing was changed"));
        }
        removed => removed.at("remove", &path)?,
    }
    Ok(durable::sync_folder(&folder)?)
}

/// Whether one is asked for.
pub(crate) fn is_asked(machine: &Machine) -> bool {
    machine.state().root().join("state").join(REQUEST).exists()
}
