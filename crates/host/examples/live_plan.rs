//! What `cargo xtask bench live` measures: the plan of one live switch, alone, by the clock.
//!
//! `live_plan OLD NEW` reads the units of two system trees, takes all of the old ones for running, plans the switch once as
//! `elea apply` does, and prints the milliseconds of the reading, of the plan of units, and of the whole plan (that of
//! units in it). Which paths of `/etc` differ is found beforehand and not counted: `elea apply` knows it from the store.

#![expect(clippy::print_stdout, reason = "its figures")]

use elea_host::live::{
    Active, Differences, Entry, FOLDERS, Files, Found, Live, Side, Units, plan, plan_units,
};
use elea_store::{Change, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [old, new] = &words[..] else {
        return Err("two folders are needed: OLD NEW".into());
    };
    let begun = Instant::now();
    let (old, new) = (Files::load(Path::new(old))?, Files::load(Path::new(new))?);
    let reading = begun.elapsed();
    let differences = differences(&old, &new);
    let side = |units: Units| Side {
        units,
        ..Side::default()
    };
    let sides = |old: Files, new: Files| {
        let units = Units::new(old);
        let new = units.beside(new);
        (side(units), side(new))
    };
    let live = live(&old)?;
    let (old_again, new_again) = sides(old.clone(), new.clone());
    // Once, as in a process that plans one switch: nothing of the plan is in a cache.
    let begun = Instant::now();
    let (old, new) = sides(old, new);
    let all = plan(&old, &new, differences, &live)?;
    let whole = begun.elapsed();
    let begun = Instant::now();
    let units = plan_units(
        &old_again.units,
        &new_again.units,
        &live,
        &BTreeMap::new(),
        &[],
    )?;
    let of_units = begun.elapsed();
    if all.units.is_empty() || units != all.units {
        return Err("nothing is planned".into());
    }
    let [reading, of_units, whole] = [reading, of_units, whole].map(|t| t.as_secs_f64() * 1000.0);
    println!(
        "{} {} {reading} {of_units} {whole}",
        all.units.len(),
        all.steps.len()
    );
    Ok(())
}

/// The files that differ, as a comparison of trees tells them.
fn differences(old: &Files, new: &Files) -> Differences {
    let paths: BTreeSet<String> = [old, new].into_iter().flat_map(paths).collect();
    let changes = paths.into_iter().filter_map(|path| {
        let (kind, fields) = match (old.get(&path), new.get(&path)) {
            (None, _) => (Kind::Added, Vec::new()),
            (_, None) => (Kind::Removed, Vec::new()),
            (a, b) if a == b => return None,
            _ => (Kind::Changed, vec!["content"]),
        };
        Some(Change { path, kind, fields })
    });
    Differences {
        files: changes.collect(),
        ..Differences::default()
    }
}

fn paths(files: &Files) -> Vec<String> {
    let of = |folder| {
        files
            .list(folder)
            .map(move |(name, _)| format!("{folder}/{name}"))
    };
    FOLDERS.into_iter().flat_map(of).collect()
}

/// All units run.
fn live(files: &Files) -> Result<Live, Box<dyn Error>> {
    let units = Units::new(files.clone());
    let mut live = Live::default();
    for folder in FOLDERS {
        for (name, entry) in files.list(folder) {
            let Entry::File(_) = entry else { continue };
            let Found::Defined(_) = units.get(name)? else {
                continue;
            };
            let active = Active {
                active: "active".into(),
                sub: "running".into(),
                ..Active::default()
            };
            live.units.insert(name.to_owned(), active);
        }
    }
    Ok(live)
}
