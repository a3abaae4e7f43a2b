//! `cargo xtask vm`: scenarios of failure, each on a machine under QEMU with real firmware,
//! boot loader and kernel.

mod boot_files;
mod choice;
mod power;
mod releases;
mod report;
mod stage;
mod state;
mod store;

pub(crate) use stage::{Base, Stage, Told, Trial};

use crate::programs::target_folder;
use crate::{Result, talk};
use elea_testkit::Error;
use std::path::PathBuf;
use std::time::Instant;

/// One thing that goes wrong, and what must come of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is done, for the report.
    pub(crate) done: &'static str,
    /// Does it; an error is a failed test.
    pub(crate) run: fn(&mut Stage, &str) -> Result<Told>,
}

/// What `cargo xtask test` runs, as far as its time goes: one of each kind first.
const TESTED: [&str; 7] = [
    "kernel-truncated",
    "image-flipped",
    "break-panic",
    "entry-deleted",
    "emergency",
    "break-hang",
    "replay",
];

/// Every scenario.
fn all() -> Vec<Scenario> {
    [
        releases::SCENARIOS,
        boot_files::SCENARIOS,
        store::SCENARIOS,
        state::SCENARIOS,
        choice::SCENARIOS,
        power::SCENARIOS,
    ]
    .concat()
}

/// A scenario that was run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    pub(crate) result: Result<Told>,
    /// How long it took, in seconds, preparations included.
    pub(crate) took: u64,
}

/// Runs what a command line asks for.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let mut work = target_folder().join("vm");
    let (mut chosen, mut list, mut every) = (Vec::new(), false, false);
    let mut report_only = false;
    let known = all();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => list = true,
            "--all" => every = true,
            "--report" => report_only = true,
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
    let rows: Vec<Row> = chosen.into_iter().map(|s| play(&mut stage, s)).collect();
    println!("\n{}", report::plain(&rows));
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

/// The scenarios that `cargo xtask test` runs.
pub(crate) fn tested() -> Vec<Scenario> {
    let known = all();
    TESTED
        .iter()
        .filter_map(|name| known.iter().find(|s| s.name == *name).copied())
        .collect()
}

/// Runs one.
pub(crate) fn play(stage: &mut Stage, scenario: Scenario) -> Row {
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
        assert_eq!(tested().len(), TESTED.len());
        let mut names: Vec<&str> = all().iter().map(|s| s.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
