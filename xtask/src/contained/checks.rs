//! Live switches of a whole system, each of which must come out right.

use super::Machine;
use crate::vm::small_config;
use crate::{Result, talk};
use elea_testkit::Error;
use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take that is waited for.
const LIMIT: Duration = Duration::from_mins(2);

type Check = fn(&Machine) -> Result<()>;

/// In this order: each begins with what the one before it left, the config `a`.
const CHECKS: &[(&str, Check)] = &[
    ("a file is read anew by its service alone", file),
    ("a unit that changed starts anew", unit),
    ("what does not start takes all of it back", failure),
    (
        "Ctrl-C takes it back while a start is waited for",
        interrupt,
    ),
    ("nobody confirms, and all is as it was", unconfirmed),
    ("what is confirmed stays", confirmed),
    ("an edit is seen, and carried along", edit),
    ("what was applied is taken back later", undo),
];

/// Does all of them on a machine; a line for each.
pub(super) fn all(machine: &Machine) -> Result<()> {
    machine.must("cp -r /usr/lib/elea/source /root/own")?;
    let bad = "[units.\"bad.service\"]\nenable = true\nService.Type = \"oneshot\"\n";
    for (name, text) in [
        ("a", small_config("a")),
        ("b", small_config("b")),
        (
            "unit",
            small_config("a").replace("sleep 2000", "sleep 2001"),
        ),
        (
            "bad",
            format!(
                "{}{bad}Service.ExecStart = \"/bin/false\"\n",
                small_config("b")
            ),
        ),
        (
            "slow",
            format!(
                "{}{bad}Service.ExecStart = \"/bin/sleep 500\"\n",
                small_config("b")
            ),
        ),
    ] {
        machine.must(&format!(
            "cd /root/own; cat > {name}.toml <<'END'\n{text}END\ncp elea.lock {name}.lock"
        ))?;
    }
    let mut failed = 0;
    for (name, check) in CHECKS {
        let begun = Instant::now();
        let done = apply(machine, "a", "", 0).and_then(|_| check(machine));
        match done {
            Ok(()) => println!("ok      {name} ({} s)", begun.elapsed().as_secs()),
            Err(e) => {
                failed += 1;
                println!("FAILED  {name}: {e}");
                talk::output(&machine.run("journalctl --no-pager --lines 15")?.1);
            }
        }
    }
    if failed > 0 {
        return Err(Error::other(format!("{failed} checks failed")));
    }
    Ok(())
}

/// Applies a config; it must end with this code.
fn apply(machine: &Machine, name: &str, more: &str, code: i32) -> Result<String> {
    let command = format!("cd /root/own && elea apply {name}.toml --locked {more}");
    let (found, said) = machine.run(&command)?;
    is(
        found == code,
        &format!("`{command}` ended with {found}:\n{said}"),
    )?;
    Ok(said)
}

fn is(holds: bool, what: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::other(what))
    }
}

/// What is seen of the config that runs: the file, what the service read of it, its process and its command.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    file: String,
    read: String,
    process: String,
    command: String,
}

fn look(machine: &Machine) -> Result<Seen> {
    let said = machine.must(
        "cat /etc/hello.conf /run/watch.conf; p=$(systemctl show --property=MainPID --value watch.service); echo $p; \
         tr '\\0' ' ' < /proc/$p/cmdline",
    )?;
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap_or_default().trim().to_owned();
    Ok(Seen {
        file: next(),
        read: next(),
        process: next(),
        command: next(),
    })
}

/// The steps that a config's plan has.
fn steps(machine: &Machine, name: &str) -> Result<Vec<String>> {
    let command =
        format!("cd /root/own && elea apply {name}.toml --locked --dry-run --json 2>/dev/null");
    let said = machine.must(&command)?;
    let value: Value =
        serde_json::from_str(&said).map_err(|e| Error::other(format!("no JSON: {e}: {said}")))?;
    let steps = value["plan"]["steps"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let name = |step: &Value| {
        let parts = ["step", "verb", "unit"].map(|key| step[key].as_str().unwrap_or_default());
        parts.join(" ").trim().to_owned()
    };
    Ok(steps.iter().map(name).collect())
}

/// Waits until a command ends well.
fn until(machine: &Machine, command: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let (code, said) = machine.run(command)?;
        if code == 0 {
            return Ok(());
        }
        is(
            begun.elapsed() < LIMIT,
            &format!("`{command}` never became true: {said}"),
        )?;
        sleep(Duration::from_millis(200));
    }
}

fn file(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    let planned = steps(machine, "b")?;
    is(
        planned == ["files", "unit reload watch.service"],
        &format!("the plan is {planned:?}"),
    )?;
    apply(machine, "b", "", 0)?;
    let after = look(machine)?;
    let expected = Seen {
        file: "b".into(),
        read: "b".into(),
        ..before.clone()
    };
    is(after == expected, &format!("{before:?} became {after:?}"))?;
    // systemd itself does not say that it should read anything again.
    let stale = machine
        .must("systemctl show --property=Id,NeedDaemonReload '*' | grep -B1 =yes || true")?;
    is(
        stale.is_empty(),
        &format!("systemd has older units: {stale}"),
    )
}

fn unit(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    let planned = steps(machine, "unit")?;
    is(
        planned.iter().any(|s| s == "daemon-reload"),
        &format!("the plan is {planned:?}"),
    )?;
    apply(machine, "unit", "", 0)?;
    let after = look(machine)?;
    is(
        after.process != before.process && after.command.contains("sleep 2001"),
        &format!("{before:?} became {after:?}"),
    )
}

fn failure(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    let said = apply(machine, "bad", "", 4)?;
    is(said.contains("bad.service"), &said)?;
    as_before(machine, &before)
}

/// The same runs as before, and nothing of what was tried is left.
fn as_before(machine: &Machine, before: &Seen) -> Result<()> {
    let after = look(machine)?;
    is(after == *before, &format!("{before:?} became {after:?}"))?;
    let (code, said) = machine.run("systemctl cat bad.service")?;
    is(code != 0, &format!("the unit is still there: {said}"))?;
    let (_, state) = machine.run("systemctl is-system-running")?;
    is(state.trim() == "running", &format!("the system is {state}"))
}

fn interrupt(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    let mut apply = machine
        .command("cd /root/own && exec elea apply slow.toml --locked >/run/said 2>&1")
        .spawn()
        .map_err(|e| Error::other(format!("cannot run nsenter: {e}")))?;
    let waited = until(
        machine,
        "test $(systemctl show --property=ActiveState --value bad.service) = activating",
    )
    .and_then(|()| machine.must("kill -INT $(pidof elea)").map(drop))
    .and_then(|()| until(machine, "! pidof elea"));
    if waited.is_err() {
        let _ = apply.kill();
    }
    let ended = apply.wait().map_err(|e| Error::other(e.to_string()))?;
    waited?;
    let said = machine.must("cat /run/said")?;
    // As a shell expects it of what Ctrl-C ends.
    let by_signal = ended.signal() == Some(2);
    is(by_signal, &format!("it ended with {ended}: {said}"))?;
    as_before(machine, &before)
}

fn unconfirmed(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    apply(machine, "b", "--confirm 3s", 0)?;
    is(look(machine)?.read == "b", "it does not run while it waits")?;
    until(machine, "elea log | grep -q 'nobody confirmed it in time'")?;
    as_before(machine, &before)
}

fn confirmed(machine: &Machine) -> Result<()> {
    apply(machine, "b", "--confirm 100s", 0)?;
    machine.must("elea confirm")?;
    let after = look(machine)?;
    is(after.read == "b", &format!("{after:?}"))?;
    let (_, timers) = machine.run("systemctl list-timers --all | grep elea-revert")?;
    is(
        timers.is_empty(),
        &format!("the timer is still there: {timers}"),
    )
}

fn edit(machine: &Machine) -> Result<()> {
    machine.must("echo mine > /etc/mine; echo more >> /etc/issue")?;
    let shown = machine.must("elea etc diff")?;
    is(
        shown.contains("/etc/mine") && shown.contains("/etc/issue"),
        &shown,
    )?;
    apply(machine, "b", "", 0)?;
    let kept = machine.must("cat /etc/mine; tail -n 1 /etc/issue")?;
    is(kept == "mine\nmore\n", &kept)
}

fn undo(machine: &Machine) -> Result<()> {
    let before = look(machine)?;
    apply(machine, "b", "", 0)?;
    machine.must("elea undo")?;
    as_before(machine, &before)
}
