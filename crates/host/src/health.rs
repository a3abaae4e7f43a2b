//! The health gate, a part of `elea agent boot`.
//!
//! It starts early in each boot and waits, so that its time limit holds even when the system
//! never finishes starting. What it says decides: a healthy boot makes the generation good, any other
//! leaves evidence and restarts the machine, and the tries decide what boots then.

mod checks;
mod commit;
mod fail;
mod vouch;
mod watch;

use crate::bus::Bus;
use crate::error::Error;
use crate::firmware::Firmware;
use crate::machine::{Machine, load_booted};
use crate::systemd;
use crate::verdict::Verdict;
use elea_formats::bls::Owner;
use elea_formats::booted::Booted;
use elea_formats::cmdline::CommandLine;
use elea_formats::generation::Generation;
use elea_formats::oplog::Cause;
use elea_sys::disk::{Disk as _, Folder};
use elea_sys::progress::Progress;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use watch::{Decision, Seen};

pub use crate::verdict::CheckResult;
pub(crate) use fail::{fail, restart};

/// The value of `schema`.
pub const SCHEMA: &str = "elea.judged/1";
/// Who acts, for the log.
const BY: &str = "elea agent boot";
/// The largest manifest.
const MAX_MANIFEST: u64 = 4 << 20;
/// How often systemd is asked once the system has started.
const PAUSE: Duration = Duration::from_millis(500);
/// How often it is asked while the system starts: each question starts processes, and takes from the
/// processor what the start needs. Systemd tells when the start is over; asking finds what failed before.
const WHILE_STARTING: Duration = Duration::from_secs(5);
/// How long to wait for the reasons of earlier failures.
const FIND_OUT: Duration = Duration::from_mins(1);
/// Time that is kept for the checks, out of the limit.
const FOR_CHECKS: f64 = 10.0;

/// What the health gate did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The generation that runs.
    pub number: u64,
    /// What was decided.
    pub outcome: Judgement,
}

/// What the health gate decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Judgement {
    /// The generation is good.
    Committed,
    /// Healthy, but the boot did not come from the firmware by the generation's entry.
    Healthy,
    /// Not healthy; whether the machine restarts.
    Unhealthy {
        /// The first thing that was wrong.
        reason: String,
        /// Whether the machine was told to restart.
        reboot: bool,
    },
    /// The boot was ended before there was a verdict.
    Ended {
        /// Whether the try was marked so that it counts as no failure.
        marked: bool,
    },
    /// A person asked for this boot (rescue, single-user): nothing is judged.
    Left {
        /// Why.
        why: String,
    },
}

/// Judges this boot: waits for it, checks it, and acts on what it found. When `progress` is
/// cancelled (a person stops the machine) it ends without a verdict, and says so beside the try.
pub fn judge(progress: &dyn Progress) -> Result<Judged, Error> {
    let booted = load_booted()?;
    let number = booted.generation;
    let finding_out = std::thread::spawn(find_out);
    let outcome = match manifest(number) {
        Some(generation) => judge_boot(&booted, &generation, &finding_out, progress)?,
        None => Judgement::Left {
            why: format!("the manifest of generation {number} cannot be read"),
        },
    };
    Ok(Judged {
        schema: SCHEMA,
        number,
        outcome,
    })
}

/// Writes down why other generations failed, beside the waiting and with mounts of its own.
fn find_out() {
    // What it does not find out now, the next boot does.
    let machine = Machine::open(Path::new("/"), BY);
    let _ = machine.and_then(|machine| crate::postmortem::postmortem(&machine));
}

/// Waits a while for the reasons of other failures, so that they are known when this boot is
/// judged. A journal that cannot be read must not hold the verdict.
fn wait_for(finding_out: &std::thread::JoinHandle<()>, progress: &dyn Progress) {
    let over = || finding_out.is_finished() || progress.cancelled();
    elea_sys::device::wait(FIND_OUT, || over().then_some(()));
}

/// A boot that ended before its verdict.
fn ended() -> Result<Judgement, Error> {
    let machine = Machine::open(Path::new("/"), BY)?;
    let marked = crate::ended::mark(&machine)?;
    Ok(Judgement::Ended { marked })
}

fn judge_boot(
    booted: &Booted,
    generation: &Generation,
    finding_out: &std::thread::JoinHandle<()>,
    progress: &dyn Progress,
) -> Result<Judgement, Error> {
    let number = booted.generation;
    let firmware = Firmware::load();
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if booted.rescue {
        let why = "it was chosen in the rescue menu".into();
        return Ok(Judgement::Left { why });
    }
    if firmware.counted.is_none()
        && let Some(why) = chosen(&line)
    {
        return Ok(Judgement::Left { why });
    }
    // The checks run before this thread gets mounts of its own: they see what everybody sees.
    let verdict = Verdict::new(&booted.boot_id, number);
    let limit = Duration::from_secs(generation.health.timeout);
    let Some(verdict) = observe(verdict, generation, limit, progress) else {
        return ended();
    };
    if booted.is_in_memory() {
        return unjudged(&verdict);
    }
    wait_for(finding_out, progress);
    let machine = Machine::open(Path::new("/"), BY)?;
    let counted = firmware.counted.is_some() || has_counter(&machine, number);
    let found = vouch::look(&machine, booted, generation, counted, progress);
    if progress.cancelled() {
        let marked = crate::ended::mark(&machine)?;
        return Ok(Judgement::Ended { marked });
    }
    let verdict = match found {
        _ if !verdict.healthy => verdict,
        Ok(found) => vouched(verdict, found, counted),
        Err(e) => verdict.failed(
            Cause::Health,
            format!("the boot cannot be vouched for: {e}"),
        ),
    };
    if verdict.healthy {
        commit::commit(&machine, verdict, &firmware)
    } else {
        fail(&machine, &verdict, generation, counted, progress)
    }
}

/// Says how the boot of a machine without a disk went. There is nothing to go back to.
fn unjudged(verdict: &Verdict) -> Result<Judgement, Error> {
    verdict.leave_word()?;
    Ok(match &verdict.reason {
        Some(reason) if !verdict.healthy => Judgement::Unhealthy {
            reason: reason.clone(),
            reboot: false,
        },
        _ => Judgement::Healthy,
    })
}

fn has_counter(machine: &Machine, number: u64) -> bool {
    let entries = machine
        .disks()
        .map(|d| crate::entries::Entries::load(d.boot));
    let own = |e: &crate::entries::Entries| {
        let own = e.own.get(&Owner::Generation(number));
        own.is_some_and(|own| own.counter.is_some())
    };
    matches!(entries, Ok(Ok(entries)) if own(&entries))
}

/// Waits for the system, then runs the checks. None if the boot was ended meanwhile.
fn observe(
    mut verdict: Verdict,
    generation: &Generation,
    limit: Duration,
    progress: &dyn Progress,
) -> Option<Verdict> {
    let begin = systemd::userspace_start().unwrap_or(0.0);
    let left = || limit.as_secs_f64() - (uptime() - begin);
    let mut seen = Seen::default();
    let mut starting = systemd::Starting::default();
    loop {
        if progress.cancelled() {
            return None;
        }
        let left = left() - FOR_CHECKS;
        seen.look(None, &generation.health.units, uptime(), left <= 0.0);
        match watch::decide(&seen, left, limit) {
            Decision::Wait => rest(&seen, &mut starting, left, progress),
            Decision::Ended => return None,
            Decision::Go => break,
            Decision::Fail(cause, reason) => {
                verdict.units = seen.units;
                verdict.failed_units = failed_units();
                return Some(verdict.failed(cause, reason));
            }
        }
    }
    let time = Duration::from_secs_f64(left().max(1.0));
    verdict.checks = checks::run_all(&checks::find(Path::new("/")), time, progress);
    if progress.cancelled() {
        return None;
    }
    // What ran for a moment only does not run.
    let before = seen.units.clone();
    seen.look(None, &generation.health.units, uptime(), false);
    verdict.units.clone_from(&seen.units);
    verdict.failed_units = failed_units();
    verdict.healthy = true;
    if let Some(reason) = watch::unsteady(&before, &seen.units) {
        return Some(verdict.failed(Cause::Health, reason));
    }
    match checks::first_failure(&verdict.checks) {
        Some(reason) => Some(verdict.failed(Cause::Health, reason)),
        None => Some(warn(verdict)),
    }
}

/// Whether what runs now passes the checks of a generation: its units, then the programs. What is wrong, if not.
/// The caller sees what everybody sees.
pub(crate) fn passes(
    health: &elea_formats::release::Health,
    progress: &dyn Progress,
) -> Result<(), String> {
    let limit = Duration::from_secs(health.timeout);
    let begun = Instant::now();
    // A system that runs has its bus. While one starts, which is another's business, that may be what hangs.
    let bus = Bus::connect(false).ok();
    let mut pause = PAUSE / 25;
    let mut seen = Seen::default();
    loop {
        if progress.cancelled() {
            return Err("stopped".into());
        }
        let left = limit.saturating_sub(begun.elapsed()).as_secs_f64();
        seen.look(bus.as_ref(), &health.units, uptime(), left <= 0.0);
        match watch::decide(&seen, left, limit) {
            Decision::Wait => {
                std::thread::sleep(pause);
                pause = PAUSE.min(2 * pause);
            }
            Decision::Ended => return Err("the system is being stopped".into()),
            Decision::Go => break,
            Decision::Fail(_, reason) => return Err(reason),
        }
    }
    let left = limit
        .saturating_sub(begun.elapsed())
        .max(Duration::from_secs(1));
    let results = checks::run_all(&checks::find(Path::new("/")), left, progress);
    let before = seen.units.clone();
    seen.look(bus.as_ref(), &health.units, uptime(), false);
    let failure = watch::unsteady(&before, &seen.units);
    failure
        .or_else(|| checks::first_failure(&results))
        .map_or(Ok(()), Err)
}

/// Waits for the next look; `left` are the seconds until the time limit.
fn rest(seen: &Seen, starting: &mut systemd::Starting, left: f64, progress: &dyn Progress) {
    if !seen.is_starting() {
        return std::thread::sleep(PAUSE);
    }
    let limit = WHILE_STARTING.min(Duration::from_secs_f64(left.max(0.0)));
    let begun = Instant::now();
    starting.watch();
    while begun.elapsed() < limit && !progress.cancelled() && !starting.is_over() {
        std::thread::sleep(PAUSE);
    }
}

/// Adds what is not well but fails nothing.
fn warn(mut verdict: Verdict) -> Verdict {
    let wanted = verdict.checks.iter().filter(|c| !c.passed);
    let mut warnings: Vec<String> = wanted
        .map(|c| format!("{} failed: {}", c.path.display(), c.ended))
        .collect();
    let units = verdict.failed_units.iter();
    warnings.extend(units.map(|unit| format!("{unit} has failed")));
    verdict.warnings.extend(warnings);
    verdict
}

/// Damage in what boots fails any boot. Damage elsewhere fails a generation on trial alone: a good one
/// shares most objects with the older ones, and going back would lose the machine for one file.
fn vouched(mut verdict: Verdict, found: vouch::Found, counted: bool) -> Verdict {
    verdict.warnings.extend(found.notes);
    match (found.essential, found.damaged.first()) {
        (Some(reason), _) => verdict.failed(Cause::Health, reason),
        (None, Some(first)) if counted => {
            let reason = format!("{first}; `elea store fsck` finds all that is damaged");
            verdict.failed(Cause::Health, reason)
        }
        (None, _) => {
            verdict.warnings.extend(found.damaged);
            verdict
        }
    }
}

/// A boot that a person asked for by hand: a rescue shell must not be taken from them.
fn chosen(line: &str) -> Option<String> {
    let line = CommandLine::parse(line);
    let word = ["single", "s", "S", "1", "rescue", "emergency"]
        .into_iter()
        .find(|word| line.has(word));
    let target = line
        .value("systemd.unit")
        .filter(|unit| unit.starts_with("rescue") || unit.starts_with("emergency"));
    let asked = word.or(target)?;
    Some(format!("the command line asks for `{asked}`"))
}

/// The units that have failed.
pub(crate) fn failed_units() -> Vec<String> {
    let lines = systemd::failed_units();
    let names = lines.lines().filter_map(|l| l.split_whitespace().next());
    names.map(str::to_owned).take(64).collect()
}

/// Seconds since the kernel started.
fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|s| s.parse().ok());
    seconds.unwrap_or(0.0)
}

/// A generation's manifest, by the path that everybody can read.
pub(crate) fn manifest(number: u64) -> Option<Generation> {
    let state = Folder::new("/sysroot/elea");
    let path = format!("generations/{number}/manifest.json");
    serde_json::from_slice(&state.read(&path, MAX_MANIFEST).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_that_was_asked_for_is_left_alone() {
        assert!(chosen("root=UUID=x ro single").is_some());
        assert!(chosen("ro systemd.unit=rescue.target").is_some());
        assert_eq!(chosen("ro systemd.unit=multi-user.target a=1"), None);
        assert_eq!(chosen("ro quiet"), None);
    }

    #[test]
    fn damage_fails_a_trial_and_warns_a_good_one() {
        let healthy = || Verdict {
            healthy: true,
            ..Verdict::new("boot", 2)
        };
        let damage = || vouch::Found {
            damaged: vec!["the file /usr/bin/x is damaged".into()],
            ..vouch::Found::default()
        };
        assert!(!vouched(healthy(), damage(), true).healthy);
        let good = vouched(healthy(), damage(), false);
        assert!(good.healthy && good.warnings.len() == 1);
        let essential = vouch::Found {
            essential: Some("the kernel is damaged".into()),
            ..vouch::Found::default()
        };
        assert!(!vouched(healthy(), essential, false).healthy);
    }
}
