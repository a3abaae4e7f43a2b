//! `cargo xtask vm`: scenarios of failure, each on a machine under QEMU with real firmware,
//! boot loader and kernel.

mod boot_files;
mod choice;
mod home;
mod live;
mod memory;
mod power;
mod releases;
mod report;
mod stage;
mod state;
mod store;

pub(crate) use live::small_config;
pub(crate) use report::passed;
pub(crate) use stage::{Base, Stage};
use stage::{Told, Trial};

use crate::programs::target_folder;
use crate::{Result, talk};
use elea_testkit::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One thing that goes wrong, and what must come of it.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    /// Its name on the command line.
    name: &'static str,
    /// What is done, for the report.
    done: &'static str,
    /// Does it; an error is a failed test.
    run: fn(&mut Stage, &str) -> Result<Told>,
}

/// What `cargo xtask test` runs, as far as its time goes: one of each kind first.
pub(crate) const TESTED: [&str; 10] = [
    "kernel-truncated",
    "image-flipped",
    "edits-after-staging",
    "picked-by-hand",
    "break-panic",
    "kernel-missing",
    "replay",
    "emergency",
    "esp-full",
    "break-hang",
];

/// Every scenario.
fn all() -> Vec<Scenario> {
    [
        releases::SCENARIOS,
        boot_files::SCENARIOS,
        store::SCENARIOS,
        state::SCENARIOS,
        choice::SCENARIOS,
        live::SCENARIOS,
        home::SCENARIOS,
        power::SCENARIOS,
        memory::SCENARIOS,
    ]
    .concat()
}

/// A scenario that was run.
#[derive(Debug)]
struct Row {
    scenario: Scenario,
    result: Result<Told>,
    /// How long it took, in seconds, preparations included.
    took: u64,
}

/// Runs what a command line asks for.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut work = target_folder().join("vm");
    let (mut chosen, mut list, mut every) = (Vec::new(), false, false);
    let mut report_only = false;
    let (begun, mut within) = (Instant::now(), Duration::MAX);
    let known = all();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => list = true,
            "--all" => every = true,
            "--report" => report_only = true,
            "--begin-within" => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                within = Duration::from_secs(
                    seconds.ok_or_else(|| Error::other("--begin-within needs seconds"))?,
                );
            }
            "--work" => {
                let value = words.next();
                work = PathBuf::from(value.ok_or_else(|| Error::other("--work needs a folder"))?);
            }
            name => {
                let found = known.iter().find(|s| s.name == name);
                chosen.push(*found.ok_or_else(|| {
                    Error::other(format!(
                        "there is no scenario `{name}`; `cargo xtask vm --list`"
                    ))
                })?);
            }
        }
    }
    if report_only {
        return report::write(&report::kept(&work, &known));
    }
    if list || (chosen.is_empty() && !every) {
        for scenario in &known {
            let mark = if TESTED.contains(&scenario.name) {
                "*"
            } else {
                " "
            };
            println!("{mark} {:24} {}", scenario.name, scenario.done);
        }
        println!("\n* is run by `cargo xtask test` too");
        return Ok(());
    }
    let chosen = if every { known } else { chosen };
    let mut stage = Stage::open(&work)?;
    let mut rows = Vec::new();
    let mut left = Vec::new();
    for scenario in chosen {
        if begun.elapsed() > within {
            left.push(scenario.name);
            continue;
        }
        rows.push(play(&mut stage, scenario));
    }
    println!("\n{}", report::plain(&rows));
    if !left.is_empty() {
        println!("no time left for: {}", left.join(", "));
    }
    if every {
        report::write(&rows)?;
    }
    let failed = rows.iter().filter(|row| row.result.is_err()).count();
    if failed > 0 {
        return Err(Error::other(format!(
            "{failed} of {} scenarios failed",
            rows.len()
        )));
    }
    Ok(())
}

/// Runs one.
fn play(stage: &mut Stage, scenario: Scenario) -> Row {
    talk::headline(&format!("{}: {}", scenario.name, scenario.done));
    let begun = Instant::now();
    let result = (scenario.run)(stage, scenario.name);
    let took = begun.elapsed().as_secs();
    match &result {
        Ok(told) => talk::note(&format!(
            "ok: {} ({} boots, {} s until good, {took} s in all)",
            told.happened, told.boots, told.seconds
        )),
        Err(e) => talk::note(&format!("FAILED after {took} s: {e}")),
    }
    let row = Row {
        scenario,
        result,
        took,
    };
    if let Err(e) = report::keep(&stage.works.folder, &row) {
        talk::note(&e.to_string());
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_used_once() {
        let known = |name: &&str| all().iter().any(|s| s.name == *name);
        assert!(TESTED.iter().all(known));
        let mut names: Vec<&str> = all().iter().map(|s| s.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
