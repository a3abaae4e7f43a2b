//! Why generations failed: found out by a later boot from what is left, and written down.
//!
//! A boot that the health gate judged left its verdict. What ended before that left a panic's record
//! in the firmware, the initrd's last words, a journal that stops, or nothing at all.

mod decide;
mod panic;

pub use decide::{Facts, decide};
pub use panic::{Panic, group};

use crate::apply::NoPayloads;
use crate::error::Error;
use crate::log::initrd_boot;
use crate::machine::Machine;
use crate::view::{Folder, State, View};
use crate::{plan, systemd, verdict};
use elea_formats::bls::Entry;
use elea_formats::booted::Try;
use elea_formats::generation::Generation;
use elea_formats::oplog::{Cause, Event};
use elea_sys::disk::Disk as _;
use serde::Serialize;
use std::fs;
use std::path::Path;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.postmortem/1";
/// Lines of a failed boot's journal that are kept.
const LINES: u32 = 5000;
/// The largest words of the initrd.
const MAX_WORDS: u64 = 1 << 20;

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Postmortem {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The generations that have failed since.
    pub failed: Vec<Finding>,
}

/// Why one generation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The generation.
    pub number: u64,
    /// As a kind.
    pub cause: Cause,
    /// For people.
    pub reason: String,
}

/// Finds out why generations other than the running one failed, keeps what their boots left, and
/// writes it into the log. What is in the log already is left alone.
pub fn postmortem(machine: &Machine) -> Result<Postmortem, Error> {
    let mut failed = Vec::new();
    let numbers = {
        let view = machine.view()?;
        unexplained(&view, machine.number())
    };
    if !numbers.is_empty() {
        let panics = panic::load();
        for number in numbers {
            // Slow reading (the journal) is done without the lock.
            let view = machine.view()?;
            let facts = facts(machine, &view, number, &panics)?;
            let (cause, reason) = decide(&facts);
            let _locked = machine.lock()?;
            let view = machine.view()?;
            if unexplained(&view, machine.number()).contains(&number) {
                machine.apply(&plan::failed(&view, number, cause, &reason), &NoPayloads)?;
                failed.push(Finding {
                    number,
                    cause,
                    reason,
                });
            }
        }
    }
    Ok(Postmortem {
        schema: SCHEMA,
        failed,
    })
}

/// Generations that failed, or whose entry is gone, without the log saying why.
fn unexplained(view: &View, booted: Option<u64>) -> Vec<u64> {
    let known = |number: u64| {
        view.log
            .iter()
            .any(|r| matches!(&r.event, Event::Failed { number: n, .. } if *n == number))
    };
    let numbers = view.generations.keys().copied();
    numbers
        .filter(|&n| Some(n) != booted && !known(n) && view.manifest(n).is_some())
        .filter(|&n| match view.state(n, booted) {
            State::Failed => true,
            // One that was good is made again from its manifest by `setup`.
            State::Vanished => !view.was_committed(n),
            _ => false,
        })
        .collect()
}

/// Gathers what is left of the boots of a generation, and keeps what would be lost.
fn facts(machine: &Machine, view: &View, number: u64, panics: &[Panic]) -> Result<Facts, Error> {
    let none = Folder::default();
    let folder = view.generations.get(&number).unwrap_or(&none);
    let evidence = machine.generation(number).join("evidence");
    let mut facts = Facts {
        vanished: view.state(number, machine.number()) == State::Vanished,
        tries: folder.tries.clone(),
        ..Facts::default()
    };
    for boot in &folder.evidence {
        let path = evidence.join(boot).join("verdict.json");
        facts.verdicts.extend(verdict::load(&path));
    }
    facts.verdicts.sort_by(|a, b| a.time.cmp(&b.time));
    facts.words = words(machine, number)?;
    facts.damage = match (view.entries.generation(number), view.manifest(number)) {
        (Some(own), Some(generation)) => damage(machine, &own.text, generation)?,
        _ => None,
    };
    let all = view.generations.values();
    let all: Vec<Try> = all.flat_map(|f| f.tries.iter().cloned()).collect();
    for (panic, boot) in panic::of_generation(panics, number, &all) {
        let boot = boot.map_or_else(|| format!("panic-{}", panic.seconds), |t| t.boot_id.clone());
        verdict::write(&evidence, &boot, &[("panic.txt", panic.text.clone())])?;
        facts.panics.push(panic.reason.clone());
    }
    for one in &folder.tries {
        let journal = systemd::journal(Some(&one.boot_id), LINES);
        facts.journals.push(decide::end_of(&journal));
        let has_own = evidence.join(&one.boot_id).join("journal.txt").exists();
        if !has_own && !journal.is_empty() {
            verdict::write(&evidence, &one.boot_id, &[("journal.txt", journal)])?;
        }
    }
    Ok(facts)
}

/// The last reason that the initrd gave.
fn words(machine: &Machine, number: u64) -> Result<Option<String>, Error> {
    let base = format!("generations/{number}/evidence");
    let mut last: Option<(String, String)> = None;
    for name in machine.state().list(&base)? {
        if name.is_folder || initrd_boot(&name.name).is_none() {
            continue;
        }
        let text = machine
            .state()
            .read(&format!("{base}/{}", name.name), MAX_WORDS)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = |key: &str| {
            let found = text.lines().find_map(|l| l.strip_prefix(key));
            found.map(|value| value.trim().to_owned())
        };
        if let (Some(time), Some(reason)) = (line("time:"), line("reason:"))
            && last.as_ref().is_none_or(|(t, _)| *t <= time)
        {
            last = Some((time, reason));
        }
    }
    Ok(last.map(|(_, reason)| reason))
}

/// What is wrong with what the entry names: the loader reads the entry, not the manifest.
fn damage(machine: &Machine, text: &str, generation: &Generation) -> Result<Option<String>, Error> {
    let Ok(entry) = Entry::parse(text) else {
        return Ok(Some("its boot entry is damaged".into()));
    };
    let damage = crate::entries::damage(machine.boot()?, &entry)?;
    if damage.is_some() {
        return Ok(damage);
    }
    if entry != crate::entries::entry(generation) {
        return Ok(Some("somebody changed its boot entry".into()));
    }
    Ok(None)
}

/// Reads a folder of files that are no larger than `limit`, by name.
fn read_all(folder: &Path, limit: u64) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(String, String)> = entries
        .take(4096)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let metadata = entry.metadata().ok()?;
            if !metadata.is_file() || metadata.len() > limit {
                return None;
            }
            let text = fs::read(entry.path()).ok()?;
            Some((name, String::from_utf8_lossy(&text).into_owned()))
        })
        .collect();
    files.sort();
    files
}
