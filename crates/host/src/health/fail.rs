//! A boot that did not pass: evidence first, then a restart, and the tries decide.

use super::Judgement;
use crate::apply::NoPayloads;
use crate::error::Error;
use crate::machine::Machine;
use crate::view::View;
use crate::{plan, systemd, verdict};
use elea_formats::generation::Generation;
use elea_formats::oplog::{Cause, Event};
use elea_sys::device;
use elea_sys::progress::Progress;
use std::time::Duration;

/// Restarts of Elea's in a row, without a healthy boot between, after which a machine stays
/// as it is so that somebody can look at it. Three tries and twice two boots of good generations are seven.
const RESTARTS: usize = 10;
/// How long an orderly restart may take before it is forced.
const ORDERLY: Duration = Duration::from_mins(2);

/// Keeps the evidence, writes the verdict down, and restarts the machine.
pub(crate) fn fail(
    machine: &Machine,
    verdict: &verdict::Verdict,
    generation: &Generation,
    counted: bool,
    progress: &dyn Progress,
) -> Result<Judgement, Error> {
    let number = verdict.generation;
    let reason = verdict.reason.clone().unwrap_or_default();
    let cause = verdict.cause.unwrap_or(Cause::Unknown);
    // Each by itself: a full disk must not keep the machine from going back.
    let kept = verdict::keep(machine, verdict);
    let told = verdict.leave_word();
    let condemn = counted && generation.health.condemn;
    let recorded = record(machine, number, cause, &reason, condemn);
    let reboot = match &recorded {
        Ok(may) => *may,
        // Without a counter that moves, nobody knows how often.
        Err(_) => counted,
    };
    if reboot {
        restart(progress);
    }
    kept?;
    told?;
    recorded?;
    Ok(Judgement::Unhealthy { reason, reboot })
}

/// Writes the verdict into the log; says whether the machine may restart by itself.
fn record(
    machine: &Machine,
    number: u64,
    cause: Cause,
    reason: &str,
    condemn: bool,
) -> Result<bool, Error> {
    let _locked = machine.lock()?;
    let view = machine.view()?;
    let plan = plan::unhealthy(&view, number, cause, reason, condemn);
    machine.apply(&plan, &NoPayloads)?;
    if restarts(&view) >= RESTARTS {
        return Ok(false);
    }
    let event = Event::Reboot {
        number,
        reason: reason.to_owned(),
    };
    crate::apply::append(machine.state(), &machine.context(), &event)?;
    Ok(true)
}

/// How often Elea restarted the machine since it was last healthy.
fn restarts(view: &View) -> usize {
    let since = view.log.iter().rev();
    let since = since.take_while(|r| !matches!(r.event, Event::Healthy { .. }));
    since
        .filter(|r| matches!(r.event, Event::Reboot { .. }))
        .count()
}

/// Restarts the machine; comes back only when that cannot be done.
pub(crate) fn restart(progress: &dyn Progress) {
    systemd::flush_journal();
    if systemd::reboot() {
        // The shutdown stops this process, unless it hangs.
        let stopped = device::wait(ORDERLY, || progress.cancelled().then_some(()));
        if stopped.is_some() {
            return;
        }
    }
    rustix::fs::sync();
    let _ = rustix::system::reboot(rustix::system::RebootCommand::Restart);
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::oplog::Record;

    #[test]
    fn restarts_are_counted_since_the_last_healthy_boot() {
        let reboot = || Event::Reboot {
            number: 2,
            reason: String::new(),
        };
        let mut view = View::default();
        let mut add = |event| {
            view.log.push(Record {
                schema: String::new(),
                sequence: 0,
                time: String::new(),
                boot: None,
                by: String::new(),
                event,
            });
            restarts(&view)
        };
        add(reboot());
        add(Event::Healthy { number: 1 });
        assert_eq!(add(Event::Armed { number: 2 }), 0);
        add(reboot());
        assert_eq!(add(reboot()), 2);
    }
}
