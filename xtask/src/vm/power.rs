//! The power is cut at moments that nobody chose.

use super::{Base, Scenario, Stage, Told, Trial};
use crate::guest::BOOT;
use crate::works::Release;
use crate::{Result, talk};
use elea_testkit::Error;
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "power-cut",
        done: "the power is cut at 20 random moments of an upgrade",
        run: |stage, name| cuts(stage, name, 20),
    },
    Scenario {
        name: "power-cut-3",
        done: "the power is cut at 3 random moments of an upgrade",
        run: |stage, name| cuts(stage, name, 3),
    },
];

/// A small generator (xorshift) with a seed of the clock, printed so that a run can be
/// understood afterwards.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(now.map_or(1, |d| u64::from(d.subsec_nanos())) | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}

fn cuts(stage: &mut Stage, name: &str, times: usize) -> Result<Told> {
    let mut random = Random::new();
    stage.publish(Release::First)?;
    // How long an upgrade takes here: moments are drawn from it and a little more.
    let mut trial = stage.trial(name, Base::First)?;
    stage.publish(Release::Second)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    let begun = Instant::now();
    trial.guest.must("elea upgrade")?;
    let whole = begun.elapsed();
    talk::note(&format!("an upgrade takes {} s", whole.as_secs()));
    let (mut old, mut new, mut boots) = (0, 0, 0);
    // Where an upgrade did not arrive, the next one goes on with what the cut left.
    let mut upgraded = true;
    for round in 1..=times {
        if upgraded {
            trial.guest.machine.kill();
            trial = stage.trial(name, Base::First)?;
            trial.start()?;
            trial.good("1.0", BOOT)?;
        }
        let moment = Duration::from_millis(random.below(whole.as_secs() * 1000 + 1500));
        trial
            .guest
            .ask("systemd-run --quiet --collect elea upgrade")?;
        std::thread::sleep(moment);
        trial.guest.machine.kill();
        let version = after_a_cut(&mut trial)?;
        boots += trial.boots();
        upgraded = version != "1.0";
        *(if upgraded { &mut new } else { &mut old }) += 1;
        talk::note(&format!(
            "{round} of {times}: cut after {} ms, then {version}",
            moment.as_millis()
        ));
    }
    let happened = format!("{old} times 1.0 and {new} times 2.0, each good and with a clean fsck");
    let mut told = trial.told(&happened, "the operation log".into())?;
    told.boots = boots;
    Ok(told)
}

/// The machine after a cut: it boots one of both, is good, and nothing is damaged.
fn after_a_cut(trial: &mut Trial) -> Result<String> {
    let root = trial.disk.root_check()?;
    trial.check(root.ok(), &format!("e2fsck: {}", root.all()))?;
    trial.start()?;
    let running = trial.guest.wait("a good system", BOOT, |running| {
        matches!(running.version.as_str(), "1.0" | "2.0")
    })?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    let fsck = trial.guest.run("elea store fsck")?;
    if !fsck.ok() {
        return Err(Error::other(format!(
            "`elea store fsck` after a cut: {}",
            fsck.all()
        )));
    }
    // And an upgrade goes on from there.
    if running.version == "1.0" {
        trial.guest.must("elea upgrade --check")?;
    }
    Ok(running.version)
}
