//! What is asked of systemd and its journal, by their own programs.

use crate::bus::{self, Bus, KIND};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Child, Command, Output, Stdio};

/// The most output that is kept of one call.
const MAX_OUTPUT: usize = 8 << 20;

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    command
}

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    command(program, arguments).output().ok()
}

fn text(output: Output) -> String {
    let mut bytes = output.stdout;
    if bytes.len() > MAX_OUTPUT {
        // The end of a journal is what tells why it ends.
        bytes.drain(..bytes.len() - MAX_OUTPUT);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A property of a unit, or of the manager.
pub(crate) fn property(unit: Option<&str>, name: &str) -> Option<String> {
    let mut arguments = vec!["show", "--value", "--property", name];
    if let Some(unit) = unit {
        arguments.extend(["--", unit]);
    }
    let output = run("systemctl", &arguments)?;
    let value = text(output).trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Seconds from the kernel's start until user space began.
pub(crate) fn userspace_start() -> Option<f64> {
    let microseconds: u32 = property(None, "UserspaceTimestampMonotonic")?
        .parse()
        .ok()?;
    Some(f64::from(microseconds) / 1e6)
}

/// What `systemctl status` and the journal say of a unit, for a person.
pub(crate) fn unit_report(unit: &str) -> String {
    let status = run(
        "systemctl",
        &["status", "--no-pager", "--full", "--lines=60", "--", unit],
    );
    status.map(text).unwrap_or_default()
}

/// The units that have failed, one a line.
pub(crate) fn failed_units() -> String {
    let list = run(
        "systemctl",
        &[
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
            "--no-pager",
        ],
    );
    list.map(text).unwrap_or_default()
}

/// The last lines of a boot's journal: this boot's without an id. Empty where there is none.
pub(crate) fn journal(boot_id: Option<&str>, lines: u32) -> String {
    // journalctl wants the id without hyphens.
    let boot = boot_id.map_or_else(
        || "--boot=0".into(),
        |id| format!("--boot={}", id.replace('-', "")),
    );
    let lines = format!("--lines={lines}");
    let arguments = [
        "--no-pager",
        "--quiet",
        "--output=short-precise",
        &lines,
        &boot,
    ];
    run("journalctl", &arguments)
        .filter(|o| o.status.success())
        .map(text)
        .unwrap_or_default()
}

/// Writes what the journal still has in memory to its files.
pub(crate) fn flush_journal() {
    let _ = run("journalctl", &["--sync"]);
}

/// Asks systemd to restart the machine; returns at once. True if it took the order.
pub fn reboot() -> bool {
    run("systemctl", &["--no-block", "reboot"]).is_some_and(|o| o.status.success())
}

/// The state of the manager (`starting`, `running`, `degraded`, `maintenance`, `stopping`, …), and what it says of units,
/// in their order: over the bus, or by `systemctl` where there is none or it fails.
pub(crate) fn look(bus: Option<&Bus>, names: &[String]) -> (String, Vec<Unit>) {
    if let Some(Ok(found)) = bus.map(|bus| ask(bus, names)) {
        return found;
    }
    let state = property(None, "SystemState").unwrap_or_else(|| "unknown".into());
    (state, units(names))
}

fn ask(bus: &Bus, names: &[String]) -> zbus::Result<(String, Vec<Unit>)> {
    let state = bus.manager("SystemState")?;
    let paths: Vec<String> = names.iter().map(|name| bus::object(name)).collect();
    let wanted = [
        ("Unit", "ActiveState"),
        ("Unit", "SubState"),
        ("Unit", "LoadState"),
        (KIND, "Result"),
        ("Service", "NRestarts"),
    ];
    let found = bus.properties(&paths, &wanted)?;
    let unknown = || "unknown".to_owned();
    let units = names.iter().zip(found).map(|(name, mut of)| Unit {
        name: name.clone(),
        active: of.remove("ActiveState").unwrap_or_else(unknown),
        sub: of.remove("SubState").unwrap_or_default(),
        result: of.remove("Result").unwrap_or_default(),
        restarts: of
            .remove("NRestarts")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0),
        load: of.remove("LoadState").unwrap_or_default(),
    });
    Ok((state.unwrap_or_else(unknown), units.collect()))
}

/// The start of the system, watched by a `systemctl` that systemd tells when it is over.
#[derive(Debug, Default)]
pub(crate) struct Starting(Option<Child>);

impl Starting {
    /// Begins to watch, unless it does already.
    pub(crate) fn watch(&mut self) {
        if self.0.is_none() {
            let mut systemctl = command("systemctl", &["is-system-running", "--wait"]);
            systemctl.stdout(Stdio::piped()).stderr(Stdio::null());
            self.0 = systemctl.spawn().ok();
        }
    }

    /// Whether systemd has told that the start is over. Early in a boot a watcher ends without
    /// being told anything, for there is no bus yet: then another can be begun.
    pub(crate) fn is_over(&mut self) -> bool {
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        if self.0.as_mut().is_some_and(running) {
            return false;
        }
        self.0.take().is_some_and(|ended| {
            let state = ended.wait_with_output().map(text).unwrap_or_default();
            matches!(
                state.trim(),
                "running" | "degraded" | "maintenance" | "stopping"
            )
        })
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Unit {
    /// Its name.
    pub name: String,
    /// `active`, `activating`, `inactive`, `failed`, ….
    pub active: String,
    /// `running`, `exited`, `auto-restart`, ….
    pub sub: String,
    /// `success`, `exit-code`, `timeout`, ….
    pub result: String,
    /// How often it was restarted by itself.
    pub restarts: u32,
    /// `loaded`, `not-found`, `masked`, ….
    pub load: String,
}

/// What systemd says of units, in their order.
fn units(names: &[String]) -> Vec<Unit> {
    if names.is_empty() {
        return Vec::new();
    }
    let properties = "--property=ActiveState,SubState,Result,NRestarts,LoadState";
    let mut arguments = vec!["show", properties, "--"];
    arguments.extend(names.iter().map(String::as_str));
    let said = run("systemctl", &arguments).map(text).unwrap_or_default();
    parse_units(names, &said)
}

fn parse_units(names: &[String], said: &str) -> Vec<Unit> {
    let mut blocks = said.split("\n\n");
    let mut units = Vec::new();
    for name in names {
        let mut unit = Unit {
            name: name.clone(),
            active: "unknown".into(),
            ..Unit::default()
        };
        for line in blocks.next().unwrap_or_default().lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            match key {
                "ActiveState" => value.clone_into(&mut unit.active),
                "SubState" => value.clone_into(&mut unit.sub),
                "Result" => value.clone_into(&mut unit.result),
                "LoadState" => value.clone_into(&mut unit.load),
                "NRestarts" => unit.restarts = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        units.push(unit);
    }
    units
}

/// What systemd is still doing, one job a line: "hang.service start running".
pub(crate) fn jobs() -> Vec<String> {
    let list = run(
        "systemctl",
        &["list-jobs", "--no-legend", "--plain", "--no-pager"],
    );
    let lines = list.map(text).unwrap_or_default();
    lines
        .lines()
        .filter_map(|line| {
            let words: Vec<_> = line.split_whitespace().skip(1).collect();
            (!words.is_empty()).then(|| words.join(" "))
        })
        .take(32)
        .collect()
}

/// Starts a unit; returns at once.
pub(crate) fn start(unit: &str) {
    let _ = run("systemctl", &["--no-block", "start", "--", unit]);
}

/// Tells systemd to stop or start a unit and waits for it; what it said if that failed.
pub(crate) fn order(verb: &str, unit: &str) -> Result<(), String> {
    match run("systemctl", &[verb, "--", unit]) {
        Some(output) if output.status.success() => Ok(()),
        Some(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(said.trim().chars().take(2048).collect())
        }
        None => Err("systemctl cannot be run".to_owned()),
    }
}

/// Tells systemd that this service is ready (`sd_notify(3)`). Without systemd nobody is told.
pub(crate) fn ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    let _ = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)
            .and_then(|address| socket.send_to_addr(b"READY=1", &address)),
        None => socket.send_to(b"READY=1", &path),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_has_its_block() {
        let names = [
            "a.service".to_owned(),
            "b.service".into(),
            "c.service".into(),
        ];
        let said = "Result=success\nNRestarts=0\nLoadState=loaded\nActiveState=active\nSubState=running\n\n\
            Result=exit-code\nNRestarts=4\nLoadState=loaded\nActiveState=activating\nSubState=auto-restart\n";
        let units = parse_units(&names, said);
        assert_eq!(units[0].active, "active");
        assert_eq!((units[1].restarts, &*units[1].sub), (4, "auto-restart"));
        assert_eq!(units[2].active, "unknown");
    }
}
