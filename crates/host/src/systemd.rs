//! What is asked of systemd and its journal, by their own programs.

use std::process::{Command, Output, Stdio};

/// The most output that is kept of one call.
const MAX_OUTPUT: usize = 8 << 20;

fn run(program: &str, arguments: &[&str]) -> Option<Output> {
    Command::new(program)
        .args(arguments)
        .env("SYSTEMD_COLORS", "0")
        .env("SYSTEMD_PAGER", "")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .ok()
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
pub fn property(unit: Option<&str>, name: &str) -> Option<String> {
    let mut arguments = vec!["show", "--value", "--property", name];
    if let Some(unit) = unit {
        arguments.extend(["--", unit]);
    }
    let output = run("systemctl", &arguments)?;
    let value = text(output).trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Whether systemd runs this machine.
pub fn is_running() -> bool {
    std::path::Path::new("/run/systemd/system").is_dir()
}

/// The state of a unit: `active`, `activating`, `failed`, `inactive`, …
pub fn active_state(unit: &str) -> String {
    property(Some(unit), "ActiveState").unwrap_or_else(|| "unknown".into())
}

/// Seconds from the kernel's start until user space began.
pub fn userspace_start() -> Option<f64> {
    let microseconds: u32 = property(None, "UserspaceTimestampMonotonic")?.parse().ok()?;
    Some(f64::from(microseconds) / 1e6)
}

/// What `systemctl status` and the journal say of a unit, for a person.
pub fn unit_report(unit: &str) -> String {
    let status = run("systemctl", &["status", "--no-pager", "--full", "--lines=60", "--", unit]);
    status.map(text).unwrap_or_default()
}

/// The units that have failed, one a line.
pub fn failed_units() -> String {
    let list = run("systemctl", &["list-units", "--failed", "--plain", "--no-legend", "--no-pager"]);
    list.map(text).unwrap_or_default()
}

/// The last lines of a boot's journal: this boot's without an id. Empty where there is none.
pub fn journal(boot_id: Option<&str>, lines: u32) -> String {
    // journalctl wants the id without hyphens.
    let boot = boot_id.map_or_else(|| "--boot=0".into(), |id| format!("--boot={}", id.replace('-', "")));
    let lines = format!("--lines={lines}");
    let arguments = ["--no-pager", "--quiet", "--output=short-precise", &lines, &boot];
    run("journalctl", &arguments)
        .filter(|o| o.status.success())
        .map(text)
        .unwrap_or_default()
}

/// Writes what the journal still has in memory to its files.
pub fn flush_journal() {
    let _ = run("journalctl", &["--sync"]);
}

/// Asks systemd to restart the machine; returns at once. True if it took the order.
pub fn reboot() -> bool {
    run("systemctl", &["--no-block", "reboot"]).is_some_and(|o| o.status.success())
}
