//! The real machine: systemd, asked by its own program.
//!
//! `systemctl` talks to the manager over D-Bus and waits for the end of the job. A client library
//! would do the same with 32 crates more and an executor with threads; and a `systemctl` that
//! dies with its terminal leaves a job that goes on.

use super::execute::{Machine, Which};
use super::state::{Live, PROPERTIES};
use super::{Helper, Step, Verb};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long units that were started may take to settle.
const SETTLE: Duration = Duration::from_secs(90);
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The `/etc` of the running system and that of the next boots. Every operation may be repeated.
pub trait Etc: Debug {
    /// Makes `/etc` of the running system the old or the new one.
    fn show(&mut self, which: Which) -> Result<(), String>;
    /// Makes the new one that of the next boots: durable, by one operation.
    fn keep(&mut self) -> Result<(), String>;
    /// Whether that was done.
    fn is_kept(&self) -> Result<bool, String>;
}

/// A running system.
#[derive(Debug)]
pub struct System<E> {
    etc: E,
    /// `--user` asks the manager of the user.
    user: bool,
    /// Units that were started, reloaded or restarted: they must not have failed at the end.
    touched: BTreeSet<String>,
}

impl<E: Etc> System<E> {
    /// The system whose manager is process 1, or the manager of the user.
    pub fn new(etc: E, user: bool) -> Self {
        let touched = BTreeSet::new();
        Self { etc, user, touched }
    }

    /// What runs now, and what this program runs in.
    pub fn live(&self) -> Result<Live, String> {
        let properties = format!("--property={PROPERTIES}");
        let output = self.systemctl(&["show", &properties, "*"])?;
        let mut live = Live::parse(&String::from_utf8_lossy(&output.stdout));
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        live.own = Live::own_units(&cgroup);
        Ok(live)
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<Output, String> {
        let user: &[&str] = if self.user { &["--user"] } else { &[] };
        run("systemctl", &[user, arguments].concat())
    }

    fn unit(&mut self, unit: &str, verb: Verb) -> Result<(), String> {
        let word = match verb {
            Verb::Stop => "stop",
            // What was stopped meanwhile, with something that it requires, is started.
            Verb::Reload => "reload-or-restart",
            Verb::Restart => "restart",
            Verb::Start => "start",
            Verb::Skip => return Ok(()),
        };
        if verb == Verb::Stop {
            self.touched.remove(unit);
        } else {
            self.touched.insert(unit.to_owned());
            // Earlier failures do not count against the start limit; it may have none.
            let _ = self.systemctl(&["reset-failed", "--", unit]);
        }
        match self.systemctl(&[word, "--", unit]) {
            // A unit that is not loaded does not run: there is nothing to stop.
            Err(_) if verb == Verb::Stop && !self.live()?.runs(unit) => Ok(()),
            done => done.map(drop),
        }
    }
}

impl<E: Etc> Machine for System<E> {
    fn step(&mut self, step: &Step, which: Which) -> Result<(), String> {
        match step {
            Step::Unit { unit, verb } => self.unit(unit, *verb),
            Step::SwapOff { what } => run("swapoff", &["--", what]).map(drop),
            Step::Files => self.etc.show(which),
            Step::DaemonReload => self.systemctl(&["daemon-reload"]).map(drop),
            Step::DaemonReexec => self.systemctl(&["daemon-reexec"]).map(drop),
            Step::Helper { helper } => match helper {
                Helper::Sysusers => run("systemd-sysusers", &[]).map(drop),
                Helper::Tmpfiles => {
                    let arguments = ["--create", "--exclude-prefix=/dev"];
                    run("systemd-tmpfiles", &arguments).map(drop)
                }
                Helper::Modules => self
                    .systemctl(&["restart", "systemd-modules-load.service"])
                    .map(drop),
                Helper::Sysctl => self
                    .systemctl(&["restart", "systemd-sysctl.service"])
                    .map(drop),
                Helper::Binfmt => self
                    .systemctl(&["restart", "systemd-binfmt.service"])
                    .map(drop),
                Helper::Udev => run("udevadm", &["control", "--reload"]).map(drop),
            },
        }
    }

    /// What was touched has settled and has not failed.
    fn check(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let live = self.live()?;
            let touched = || {
                self.touched
                    .iter()
                    .filter_map(|u| Some((u, live.units.get(u)?)))
            };
            let failed: Vec<&str> = touched()
                .filter(|(_, u)| u.failed())
                .map(|(n, _)| n.as_str())
                .collect();
            if !failed.is_empty() {
                return Err(format!("failed: {}", failed.join(", ")));
            }
            let open = |sub: &str| sub != "auto-restart";
            let settles = touched().any(|(_, u)| u.active == "activating" && open(&u.sub));
            if !settles {
                return Ok(());
            }
            if begin.elapsed() > SETTLE {
                return Err("units are still starting after 90 seconds".into());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn keep(&mut self) -> Result<(), String> {
        self.etc.keep()
    }

    fn is_kept(&self) -> Result<bool, String> {
        self.etc.is_kept()
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cannot run {program}: {e}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said: String = String::from_utf8_lossy(&output.stderr)
        .chars()
        .take(4096)
        .collect();
    Err(format!(
        "{program} {}: {}",
        arguments.join(" "),
        said.trim()
    ))
}

/// The timer that takes a switch back unless it is confirmed: a transient unit of the manager, so
/// that neither the death of the terminal nor that of `elea` stops it. It is set before the first
/// step, and `systemctl stop` of [`REVERT_TIMER`] disarms it after [`confirm`](super::confirm).
///
/// Gives the program and its arguments. `program` is the path of `elea`, in the image that runs.
pub fn revert_timer(seconds: u64, program: &str) -> Vec<String> {
    let on_active = format!("--on-active={seconds}s");
    let words = [
        "systemd-run",
        // The second is not let slip to save power.
        "--timer-property=AccuracySec=100ms",
        &on_active,
        "--unit=elea-revert",
        "--description=Takes back an elea apply that nobody confirmed",
        "--collect",
        "--no-ask-password",
        "--",
        program,
        "agent",
        "revert",
    ];
    words.map(str::to_owned).to_vec()
}

/// The timer of [`revert_timer`].
pub const REVERT_TIMER: &str = "elea-revert.timer";
