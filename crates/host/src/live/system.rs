//! The real machine: systemd, told over D-Bus what to do, and waited for.

use super::execute::{Machine, Which};
use super::manager::foreign_generators;
use super::state::{Asked, Live, PROPERTIES};
use super::{Helper, Step, Verb};
use crate::bus::{self, Bus, KIND};
use elea_formats::digest::Digest;
use elea_sys::PathError;
use elea_sys::namespace::Namespace;
use elea_sys::progress::{Progress, Silent};
use std::collections::BTreeSet;
use std::fmt::{self, Debug};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long units that were started may take to settle.
const SETTLE: Duration = Duration::from_secs(90);
/// Why a step is not done when a person asks to stop.
const STOPPED: &str = "stopped";
/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The `/etc` and `/usr` of the running system and those of the next boots. Every operation may be repeated.
pub trait Etc: Debug {
    /// Makes `/etc` of the running system the old or the new one.
    fn show(&mut self, which: Which) -> Result<(), String>;
    /// Makes `/usr` of the running system that of an image.
    fn show_usr(&mut self, image: &Digest) -> Result<(), String>;
    /// Makes the new one that of the next boots: durable, by one operation.
    fn keep(&mut self) -> Result<(), String>;
    /// Whether that was done.
    fn is_kept(&self) -> Result<bool, String>;
}

/// A running system.
pub struct System<'p, E> {
    etc: E,
    /// Who may ask to stop.
    progress: &'p dyn Progress,
    /// Whether that is heard: on the way back it is not.
    hears: bool,
    /// `--user` asks the manager of the user.
    user: bool,
    /// Where programs are run: a command's own mounts are not those that the system sees.
    outside: Option<Namespace>,
    /// Units that were started, reloaded or restarted: they must not have failed at the end.
    touched: BTreeSet<String>,
}

impl<E: Debug> Debug for System<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("System");
        shown.field("etc", &self.etc).field("user", &self.user);
        shown.finish_non_exhaustive()
    }
}

impl<'p, E: Etc> System<'p, E> {
    /// The system whose manager is process 1, or the manager of the user.
    pub fn new(etc: E, user: bool) -> Self {
        Self {
            etc,
            progress: &Silent,
            hears: true,
            user,
            outside: None,
            touched: BTreeSet::new(),
        }
    }

    /// Gives up what it waits for when a person asks to stop, which is then an error.
    #[must_use]
    pub fn stopped_by(mut self, progress: &'p dyn Progress) -> Self {
        self.progress = progress;
        self
    }

    fn is_stopped(&self) -> bool {
        self.hears && self.progress.cancelled()
    }

    /// Runs programs among the mounts of process 1.
    pub fn outside(mut self) -> Result<Self, PathError> {
        self.outside = Some(Namespace::of_init()?);
        Ok(self)
    }

    /// What runs now, and what this program runs in.
    pub fn live(&self) -> Result<Live, String> {
        live(self.user, self.outside.as_ref(), Asked::Programs)
    }

    /// What runs now, without the files and processes of it.
    fn states(&self) -> Result<Live, String> {
        live(self.user, self.outside.as_ref(), Asked::States)
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<Output, String> {
        systemctl(self.user, self.outside.as_ref(), arguments)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output, String> {
        run(program, arguments, self.outside.as_ref())
    }

    /// Starts the timer of [`revert_timer`]; `program` is the path of `elea`.
    pub fn arm_timer(&self, seconds: u64, program: &str) -> Result<(), String> {
        let words = revert_timer(seconds, program);
        let mut arguments: Vec<&str> = words.iter().skip(1).map(String::as_str).collect();
        if self.user {
            arguments.insert(0, "--user");
        }
        self.run(&words[0], &arguments).map(drop)
    }

    /// Lets the timer's time begin anew.
    pub fn restart_timer(&self) -> Result<(), String> {
        self.systemctl(&["restart", REVERT_TIMER]).map(drop)
    }

    /// Stops the timer, if there is one.
    pub fn stop_timer(&self) {
        // One that is not loaded cannot be stopped, and need not be.
        let _ = self.systemctl(&["stop", REVERT_TIMER]);
    }

    /// Asks the manager over D-Bus; none where there is no bus.
    fn bus<T: Send>(
        &self,
        ask: impl FnOnce(&Bus) -> zbus::Result<T> + Send,
    ) -> Result<Option<T>, String> {
        let asked = connected(self.user, self.outside.as_ref(), ask)?;
        asked.transpose().map_err(|e| format!("systemd: {e}"))
    }

    /// Has a job done, and waits for its end.
    fn job(&self, order: &str, word: &str, unit: &str) -> Result<(), String> {
        let (hears, progress) = (self.hears, self.progress);
        let stop = move || hears && progress.cancelled();
        let Some(result) = self.bus(|bus| bus.job(order, unit, &stop))? else {
            return self.systemctl(&[word, "--", unit]).map(drop);
        };
        let why = match &*result {
            // Or a condition of the unit was not met, which is no failure.
            "done" | "skipped" => return Ok(()),
            "canceled" if stop() => return Err(STOPPED.into()),
            "failed" => self.why(unit),
            "timeout" => "it took longer than its unit allows".to_owned(),
            "dependency" => "a unit that it needs does not run".to_owned(),
            other => format!("systemd says {other}"),
        };
        Err(format!("{why}; `journalctl --unit={unit}` shows more"))
    }

    /// Why a unit failed, as far as systemd tells.
    fn why(&self, unit: &str) -> String {
        let wanted = [(KIND, "Result"), ("Service", "ExecMainStatus")];
        let asked = self.bus(|bus| bus.properties(&[bus::object(unit)], &wanted));
        let mut found = asked.ok().flatten().unwrap_or_default();
        let mut found = found.pop().unwrap_or_default();
        let result = found.remove("Result").unwrap_or_default();
        match (&*result, found.remove("ExecMainStatus")) {
            ("exit-code", Some(status)) if status != "0" => format!("failed (exit-code {status})"),
            // A reload that fails leaves the unit as it was.
            ("" | "success", _) => "failed".to_owned(),
            (result, _) => format!("failed ({result})"),
        }
    }

    /// Lets earlier failures of a unit count no more; it may have none.
    fn forget_failures(&self, unit: &str) {
        if let Ok(None) = self.bus(|bus| bus.reset_failed(unit)) {
            let _ = self.systemctl(&["reset-failed", "--", unit]);
        }
    }

    fn again(&self, unit: &str) -> Result<(), String> {
        self.job("RestartUnit", "restart", unit)
    }

    fn unit(&mut self, unit: &str, verb: Verb) -> Result<(), String> {
        let (order, word) = match verb {
            Verb::Stop => ("StopUnit", "stop"),
            // What was stopped meanwhile, with something that it requires, is started.
            Verb::Reload => ("ReloadOrRestartUnit", "reload-or-restart"),
            Verb::Restart => ("RestartUnit", "restart"),
            Verb::Start => ("StartUnit", "start"),
            Verb::Skip => return Ok(()),
        };
        if verb == Verb::Stop {
            self.touched.remove(unit);
        } else {
            self.touched.insert(unit.to_owned());
            // Earlier failures do not count against the start limit.
            self.forget_failures(unit);
        }
        let job = self.job(order, word, unit);
        if verb == Verb::Stop && !self.hears {
            // What was tried and failed is no failure of what runs again.
            self.forget_failures(unit);
        }
        match job {
            // A unit that is not loaded does not run: there is nothing to stop.
            Err(_) if verb == Verb::Stop && !self.states()?.runs(unit) => Ok(()),
            done => done,
        }
    }
}

impl<E: Etc> Machine for System<'_, E> {
    fn step(&mut self, step: &Step, which: Which) -> Result<(), String> {
        self.hears = which == Which::New;
        if self.is_stopped() {
            return Err(STOPPED.into());
        }
        match step {
            Step::Unit { unit, verb } => self.unit(unit, *verb),
            Step::SwapOff { what } => self.run("swapoff", &["--", what]).map(drop),
            Step::Usr { from, to } => self.etc.show_usr(match which {
                Which::Old => from,
                Which::New => to,
            }),
            Step::Files => self.etc.show(which),
            Step::DaemonReload => match self.bus(Bus::reload)? {
                Some(()) => Ok(()),
                None => self.systemctl(&["daemon-reload"]).map(drop),
            },
            Step::DaemonReexec => self.systemctl(&["daemon-reexec"]).map(drop),
            Step::Helper { helper } => match helper {
                Helper::Sysusers => self.run("systemd-sysusers", &[]).map(drop),
                Helper::Tmpfiles => {
                    let arguments = ["--create", "--exclude-prefix=/dev"];
                    self.run("systemd-tmpfiles", &arguments).map(drop)
                }
                Helper::Modules => self.again("systemd-modules-load.service"),
                Helper::Sysctl => self.again("systemd-sysctl.service"),
                Helper::Binfmt => self.again("systemd-binfmt.service"),
                Helper::Udev => self.run("udevadm", &["control", "--reload"]).map(drop),
            },
        }
    }

    /// What was touched has settled and has not failed.
    fn check(&mut self) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let live = self.states()?;
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
            if self.is_stopped() {
                return Err(STOPPED.into());
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

/// What the manager runs now, as far as it is wanted; with more than states also what this program runs in.
pub(super) fn live(user: bool, outside: Option<&Namespace>, asked: Asked) -> Result<Live, String> {
    let mut live = match connected(user, outside, |bus| Live::read(bus, user, asked))? {
        Some(Ok(live)) => live,
        _ => live_by_systemctl(user, outside)?,
    };
    if asked == Asked::States {
        return Ok(live);
    }
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    live.own = Live::own_units(&cgroup);
    let generators = || foreign_generators(Path::new("/"));
    live.generators = match outside {
        Some(outside) => outside.run(generators).map_err(|e| e.to_string())?,
        None => generators(),
    };
    Ok(live)
}

/// Asks the manager over D-Bus; none where there is no bus.
fn connected<T: Send>(
    user: bool,
    outside: Option<&Namespace>,
    ask: impl FnOnce(&Bus) -> zbus::Result<T> + Send,
) -> Result<Option<zbus::Result<T>>, String> {
    let asked = || Bus::connect(user).ok().map(|bus| ask(&bus));
    match outside {
        Some(outside) => outside.run(asked).map_err(|e| e.to_string()),
        None => Ok(asked()),
    }
}

/// The same where there is no bus: it takes ten times as long.
fn live_by_systemctl(user: bool, outside: Option<&Namespace>) -> Result<Live, String> {
    let properties = format!("--property={PROPERTIES}");
    let output = systemctl(user, outside, &["show", &properties, "*"])?;
    Ok(Live::parse(&String::from_utf8_lossy(&output.stdout)))
}

fn systemctl(
    user: bool,
    outside: Option<&Namespace>,
    arguments: &[&str],
) -> Result<Output, String> {
    let user: &[&str] = if user { &["--user"] } else { &[] };
    run("systemctl", &[user, arguments].concat(), outside)
}

fn run(program: &str, arguments: &[&str], outside: Option<&Namespace>) -> Result<Output, String> {
    match outside {
        Some(outside) => outside
            .run(|| run_here(program, arguments))
            .map_err(|e| e.to_string())?,
        None => run_here(program, arguments),
    }
}

fn run_here(program: &str, arguments: &[&str]) -> Result<Output, String> {
    let output = Command::new(program)
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        // Ctrl-C is for `elea`, which then goes back step by step.
        .process_group(0)
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
