//! What ephemeral boots had in their fresh `/etc` and `/var`: `/elea/state/boots` (`docs/formats/state.md`).

use crate::machine::Machine;
use crate::state::list::Found;
use crate::state::size;
use elea_formats::state::Fresh;
use elea_sys::disk::Folder;
use elea_sys::{At as _, PathError, durable};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Where they are, below `/elea`.
const BOOTS: &str = "state/boots";
/// What a name begins with while its folder is being removed.
const GONE: &str = ".gone-";
/// So many boots that were not healthy are kept, for whoever looks.
const EVIDENCE: usize = 2;
/// More are not looked at, at once.
const LISTED: usize = 10_000;
/// The largest record of a boot.
const MAX_RECORD: u64 = 64 << 10;

/// The folder of a boot.
pub(crate) fn folder(elea: &Folder, boot: &str) -> PathBuf {
    elea.root().join(BOOTS).join(boot)
}

/// An earlier boot that has a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// The kernel's id of it, or the name of what is being removed.
    pub(crate) name: String,
    /// When, as the record has it.
    pub(crate) time: String,
    /// Whether it was no healthy boot, or one from the rescue menu.
    pub(crate) is_evidence: bool,
}

/// What earlier boots left, with what it takes.
pub(crate) fn earlier_sizes(machine: &Machine) -> Result<Vec<Found>, PathError> {
    let boots = machine.state().root().join(BOOTS);
    let current = machine.booted().map(|booted| booted.boot_id.as_str());
    let found = load(machine, &boots).into_iter();
    let found = found.filter(|boot| Some(boot.name.as_str()) != current);
    let row = |boot: Earlier| {
        Ok(Found {
            size: size(&boots.join(&boot.name))?,
            path: boots.join(&boot.name).display().to_string(),
            why: if boot.is_evidence {
                "a boot that was not healthy"
            } else {
                "an earlier boot; goes by itself"
            },
        })
    };
    found.map(row).collect()
}

/// What went of earlier boots, by their ids.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Went {
    /// The boots.
    pub boots: Vec<String>,
    /// What could not be removed, and why; it is tried again the next time.
    pub failures: Vec<String>,
}

/// Removes what nothing needs.
pub(crate) fn tidy(machine: &Machine) -> Went {
    let mut went = Went::default();
    // A boot from the rescue menu keeps everything.
    let Some(booted) = machine.booted().filter(|booted| !booted.rescue) else {
        return went;
    };
    let state = machine.state().root().join("state");
    // What a factory reset put out of the way.
    let names = fs::read_dir(&state).into_iter().flatten().take(LISTED);
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names.filter(|name| name.starts_with(GONE)) {
        if let Err(e) = remove(&state, &name) {
            went.failures.push(e.to_string());
        }
    }
    let boots = machine.state().root().join(BOOTS);
    for name in plan(load(machine, &boots), &booted.boot_id) {
        match remove(&boots, &name) {
            Ok(()) => went.boots.push(name.trim_start_matches(GONE).to_owned()),
            Err(e) => went.failures.push(e.to_string()),
        }
    }
    went
}

/// Removes a folder. Its name says so first: a removal that is cut short is no boot's folder.
fn remove(boots: &Path, name: &str) -> Result<(), PathError> {
    let mut path = boots.join(name);
    if !name.starts_with(GONE) {
        let doomed = boots.join(format!("{GONE}{name}"));
        fs::rename(&path, &doomed).at("rename", &path)?;
        durable::sync_folder(boots)?;
        path = doomed;
    }
    match fs::remove_dir_all(&path) {
        // A reset moves files away, too.
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => fs::remove_file(&path),
        removed => removed,
    }
    .at("remove", &path)
}

fn load(machine: &Machine, boots: &Path) -> Vec<Earlier> {
    let entries = fs::read_dir(boots).into_iter().flatten().take(LISTED);
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.map(|name| earlier(machine, boots, name)).collect()
}

fn earlier(machine: &Machine, boots: &Path, name: String) -> Earlier {
    let record = Folder::new(boots.join(&name));
    let text = elea_sys::disk::Disk::read(&record, "boot.json", MAX_RECORD).ok();
    let record: Option<Fresh> = text.and_then(|text| serde_json::from_slice(&text).ok());
    let failed = |record: &Fresh| {
        let generation = machine.generation(record.generation);
        let left = [
            format!("tries/{name}.json"),
            format!("evidence/{name}"),
            format!("evidence/initrd-{name}.txt"),
        ];
        record.rescue || left.iter().any(|path| generation.join(path).exists())
    };
    Earlier {
        is_evidence: record.as_ref().is_some_and(failed),
        time: record.map(|record| record.time).unwrap_or_default(),
        name,
    }
}

/// Which folders go: all but this boot's and the newest of those that tell of a failure.
fn plan(mut found: Vec<Earlier>, current: &str) -> Vec<String> {
    found.retain(|boot| boot.name != current);
    found.sort_by(|a, b| (&b.time, &b.name).cmp(&(&a.time, &a.name)));
    let mut left = EVIDENCE;
    found.retain(|boot| {
        let stays = boot.is_evidence && !boot.name.starts_with(GONE) && left > 0;
        left -= usize::from(stays);
        !stays
    });
    found.into_iter().map(|boot| boot.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_and_the_newest_failures_stay() {
        let boot = |name: &str, time: &str, is_evidence| Earlier {
            name: name.into(),
            time: time.into(),
            is_evidence,
        };
        let found = vec![
            boot("this", "1", false),
            boot("bad-1", "2", true),
            boot("good-2", "4", false),
            boot("bad-3", "5", true),
            boot(".gone-x", "", true),
            boot("bad-2", "3", true),
            boot("good-1", "2", false),
        ];
        assert_eq!(
            plan(found, "this"),
            ["good-2", "good-1", "bad-1", ".gone-x"]
        );
        assert_eq!(plan(Vec::new(), "this"), Vec::<String>::new());
    }
}
