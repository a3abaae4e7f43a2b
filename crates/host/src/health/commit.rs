//! A healthy boot: the generation becomes good.

use super::Judgement;
use crate::apply::NoPayloads;
use crate::error::Error;
use crate::firmware::Firmware;
use crate::machine::Machine;
use crate::verdict::Verdict;
use crate::{loader, plan, systemd};

/// Writes down that the boot is healthy, and commits where the boot counts: a kexec or a soft
/// reboot proves nothing about the kernel on `$BOOT` (invariant 8).
pub(super) fn commit(
    machine: &Machine,
    mut verdict: Verdict,
    firmware: &Firmware,
) -> Result<Judgement, Error> {
    let number = verdict.generation;
    {
        let _locked = machine.lock()?;
        machine.apply(&plan::healthy(number), &NoPayloads)?;
        if firmware.booted_by_loader(number) {
            let view = machine.view()?;
            let plan = plan::commit(&view, number)?;
            machine.apply(&plan, &NoPayloads)?;
            verdict.committed = true;
        }
    }
    verdict.leave_word()?;
    if !verdict.committed {
        return Ok(Judgement::Healthy);
    }
    // The loader is changed only once the release that brings it is proved.
    let updated = machine.lock().and_then(|_locked| loader::update(machine));
    if let Err(e) = updated {
        verdict
            .warnings
            .push(format!("the boot loader was not updated: {e}"));
        verdict.leave_word()?;
    }
    systemd::start("elea-tidy.service");
    Ok(Judgement::Committed)
}
