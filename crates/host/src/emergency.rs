//! A prompt on a boot that nobody watches is a hang: `elea agent emergency`, run before the
//! shell of emergency and rescue mode.

use crate::error::Error;
use crate::firmware::Firmware;
use crate::health::{self, Judged, Judgement, SCHEMA};
use crate::machine::{Machine, load_booted};
use crate::systemd;
use crate::verdict::{self, Verdict};
use elea_formats::oplog::Cause;
use elea_sys::progress::Progress;
use std::path::Path;

/// On a counted boot: keeps the logs and restarts the machine. On any other the prompt may
/// come: the health gate restarts a good generation at its time limit.
pub fn emergency(progress: &dyn Progress) -> Result<Judged, Error> {
    let booted = load_booted()?;
    let number = booted.generation;
    let judged = |outcome| Judged {
        schema: SCHEMA,
        number,
        outcome,
    };
    let counted = Firmware::load().counted.is_some();
    if verdict::now().is_some() {
        let why = "this boot has its verdict".into();
        return Ok(judged(Judgement::Left { why }));
    }
    if !counted || booted.rescue {
        let why = "the generation is not on trial".into();
        return Ok(judged(Judgement::Left { why }));
    }
    let outcome = keep_and_restart(Verdict::new(&booted.boot_id, number), progress);
    if outcome.is_err() {
        // No evidence, but no prompt either.
        health::restart(progress);
    }
    outcome.map(judged)
}

fn keep_and_restart(mut verdict: Verdict, progress: &dyn Progress) -> Result<Judgement, Error> {
    let machine = Machine::open(Path::new("/"), "elea agent emergency")?;
    verdict.failed_units = health::failed_units();
    let failed = verdict.failed_units.join(", ");
    let reason = match failed.as_str() {
        "" => "the system fell to an emergency prompt".to_owned(),
        units => format!("the system fell to an emergency prompt; failed: {units}"),
    };
    let generation =
        health::manifest(verdict.generation).ok_or(Error::Unknown(verdict.generation))?;
    systemd::flush_journal();
    let verdict = verdict.failed(Cause::Emergency, reason);
    health::fail(&machine, &verdict, &generation, true, progress)
}
