//! Whether the system has started: what systemd says, and what follows from it.

use crate::bus::Bus;
use crate::systemd::{self, Unit};
use elea_formats::oplog::Cause;
use std::time::Duration;

/// How long a finished system may leave a unit inactive: a socket or timer may still start it.
const SETTLE: f64 = 15.0;

/// What was seen of the system.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The manager's state.
    pub(super) system: String,
    /// The units that must be active.
    pub(super) units: Vec<Unit>,
    /// What is still being done, asked only of a system that has not started in time.
    pub(super) jobs: Vec<String>,
    /// How many seconds ago the system was first seen to have started.
    pub(super) settled: f64,
    first: Option<f64>,
}

impl Seen {
    /// Asks systemd, over the bus if there is one; `now` is in seconds, and `late` says whether the time is over.
    pub(super) fn look(&mut self, bus: Option<&Bus>, units: &[String], now: f64, late: bool) {
        (self.system, self.units) = systemd::look(bus, units);
        self.jobs = if late && is_starting(&self.system) {
            systemd::jobs()
        } else {
            Vec::new()
        };
        if is_starting(&self.system) {
            self.first = None;
        } else {
            self.first = self.first.or(Some(now));
        }
        self.settled = self.first.map_or(0.0, |first| now - first);
    }

    /// Whether the system still starts.
    pub(super) fn is_starting(&self) -> bool {
        is_starting(&self.system)
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// Look again.
    Wait,
    /// The system has started and the units are active: run the checks.
    Go,
    /// The system is being stopped: there will be no verdict.
    Ended,
    /// The boot failed.
    Fail(Cause, String),
}

/// Decides from what was seen. `left` are the seconds until the time limit.
pub(super) fn decide(seen: &Seen, left: f64, limit: Duration) -> Decision {
    let health = |reason: String| Decision::Fail(Cause::Health, reason);
    if seen.system == "stopping" {
        return Decision::Ended;
    }
    if seen.system == "maintenance" {
        let reason = "the system fell to a rescue or emergency prompt".to_owned();
        return Decision::Fail(Cause::Emergency, reason);
    }
    if let Some(unit) = seen.units.iter().find(|u| u.active == "failed") {
        return health(format!("{} failed ({})", unit.name, unit.result));
    }
    if let Some(unit) = seen.units.iter().find(|u| u.load == "not-found") {
        return health(format!("{} is not there", unit.name));
    }
    let waits = seen.units.iter().find(|u| u.active != "active");
    if !is_starting(&seen.system) {
        match waits {
            None => return Decision::Go,
            Some(unit) if unit.active == "inactive" && seen.settled > SETTLE => {
                return health(format!(
                    "{} is inactive though the system has started",
                    unit.name
                ));
            }
            Some(_) => {}
        }
    }
    if left > 0.0 {
        return Decision::Wait;
    }
    let limit = limit.as_secs();
    health(match waits {
        Some(unit) => {
            let restarts = match unit.restarts {
                0 => String::new(),
                n => format!(" and was restarted {n} times"),
            };
            format!(
                "{} is {} ({}){restarts}, {limit} s are over",
                unit.name, unit.active, unit.sub
            )
        }
        None => match seen.jobs.first() {
            Some(job) => format!("the system has not started within {limit} s; it waits for {job}"),
            None => format!("the system has not started within {limit} s"),
        },
    })
}

/// A unit that did not stay active between two looks.
pub(super) fn unsteady(before: &[Unit], after: &[Unit]) -> Option<String> {
    after.iter().zip(before).find_map(|(now, then)| {
        if now.active != "active" {
            return Some(format!(
                "{} was active and is {} ({}) now",
                now.name, now.active, now.result
            ));
        }
        (now.restarts > then.restarts)
            .then(|| format!("{} does not stay active: it was restarted", now.name))
    })
}

fn is_starting(system: &str) -> bool {
    matches!(system, "starting" | "initializing" | "unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(system: &str, units: &[(&str, &str)]) -> Seen {
        let unit = |(name, active): &(&str, &str)| Unit {
            name: (*name).to_owned(),
            active: (*active).to_owned(),
            result: "exit-code".into(),
            load: "loaded".into(),
            ..Unit::default()
        };
        Seen {
            system: system.into(),
            units: units.iter().map(unit).collect(),
            jobs: vec!["hang.service start running".into()],
            ..Seen::default()
        }
    }

    fn reason(decision: Decision) -> String {
        match decision {
            Decision::Fail(_, reason) => reason,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_boot_is_waited_for_until_the_limit() {
        let limit = Duration::from_mins(5);
        let ask = |seen: &Seen, left: f64| decide(seen, left, limit);
        let starting = seen("starting", &[("a.service", "active")]);
        assert_eq!(ask(&starting, 1.0), Decision::Wait);
        assert_eq!(
            reason(ask(&starting, 0.0)),
            "the system has not started within 300 s; it waits for hang.service start running"
        );
        assert_eq!(
            ask(&seen("running", &[("a.service", "active")]), 1.0),
            Decision::Go
        );
        assert_eq!(ask(&seen("degraded", &[]), 0.0), Decision::Go);
        assert_eq!(
            ask(&seen("stopping", &[("a.service", "failed")]), 0.0),
            Decision::Ended
        );
    }

    #[test]
    fn a_unit_that_is_not_active_fails_the_boot() {
        let limit = Duration::from_mins(1);
        let ask = |seen: &Seen, left: f64| decide(seen, left, limit);
        let failed = seen(
            "starting",
            &[("a.service", "active"), ("b.service", "failed")],
        );
        assert_eq!(reason(ask(&failed, 50.0)), "b.service failed (exit-code)");
        let mut inactive = seen("running", &[("b.service", "inactive")]);
        assert_eq!(ask(&inactive, 50.0), Decision::Wait);
        inactive.settled = SETTLE + 1.0;
        assert!(reason(ask(&inactive, 50.0)).contains("is inactive though"));
        let mut restarting = seen("running", &[("b.service", "activating")]);
        restarting.settled = SETTLE + 1.0;
        restarting.units[0].restarts = 7;
        assert_eq!(ask(&restarting, 50.0), Decision::Wait);
        assert!(reason(ask(&restarting, 0.0)).contains("restarted 7 times"));
        let mut gone = seen("running", &[("b.service", "inactive")]);
        gone.units[0].load = "not-found".into();
        assert_eq!(reason(ask(&gone, 50.0)), "b.service is not there");
        let prompt = decide(&seen("maintenance", &[]), 50.0, limit);
        assert!(matches!(prompt, Decision::Fail(Cause::Emergency, _)));
    }

    #[test]
    fn a_unit_must_stay_active() {
        let before = seen("running", &[("a.service", "active")]).units;
        let mut after = before.clone();
        assert_eq!(unsteady(&before, &after), None);
        after[0].restarts = 1;
        assert!(unsteady(&before, &after).is_some());
        after[0].restarts = 0;
        after[0].active = "activating".into();
        assert!(unsteady(&before, &after).is_some());
    }
}
