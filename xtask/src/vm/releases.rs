//! Bad releases.

use super::{Base, Scenario, Stage, Told};
use crate::Result;
use crate::works::{Break, Release};
use std::time::Duration;

/// Three tries that end by time limits, and the way back.
const LIMIT: Duration = Duration::from_mins(30);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "break-health",
        done: "a release whose service fails its health check",
        run: |stage, name| broken(stage, name, Break::Health),
    },
    Scenario {
        name: "break-panic",
        done: "a release that panics the kernel while it starts",
        run: |stage, name| broken(stage, name, Break::Panic),
    },
    Scenario {
        name: "break-hang",
        done: "a release that hangs while it starts",
        run: |stage, name| broken(stage, name, Break::Hang),
    },
];

fn broken(stage: &mut Stage, name: &str, kind: Break) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Third(kind))?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    trial.guest.must("elea upgrade")?;
    trial.mark();
    trial.guest.reboot_to("1.0", LIMIT)?;
    trial.arrived();
    trial.guest.wait_committed(LIMIT)?;
    trial.check(
        trial.boots() == 4,
        &format!("{} boots instead of 4", trial.boots()),
    )?;
    let evidence = trial.evidence("3.0")?;
    let again = trial.guest.run("elea upgrade")?;
    let other = trial.guest.next_is_another()?;
    trial.check(
        !other,
        &format!("the failed release was offered again: {}", again.all()),
    )?;
    trial.told(
        "three tries, then 1.0 again; 3.0 is not offered again",
        evidence,
    )
}
