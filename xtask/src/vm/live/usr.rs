//! A package is usable without a restart: `elea apply --live-usr`.

use super::{BAD, boots_next, look, must, publish};
use crate::Result;
use crate::guest::BOOT;
use crate::vm::stage::{Base, Stage, Told, Trial};

/// A small package that the first release does not have.
const TREE: &str = "\n[packages]\ninstall = [\"tree\"]\n";

/// Says whether its program can be run, and that there is one mount at `/usr` for that and none without.
fn has_tree(trial: &Trial, wanted: bool) -> Result<()> {
    let ran = trial.guest.run("tree --version")?;
    trial.check(ran.ok() == wanted, &format!("`tree` says: {}", ran.all()))?;
    let mounts = trial.guest.ask("grep -c ' /usr ' /proc/mounts || true")?;
    let expected = if wanted { "1" } else { "0" };
    trial.check(
        mounts.trim() == expected,
        &format!("{mounts} mounts at /usr"),
    )
}

/// Says whether modules of the kernel that runs are found.
fn has_modules(trial: &Trial) -> Result<()> {
    let script = "modprobe dm_mod && grep -q ^dm_mod /proc/modules && modprobe -r dm_mod";
    trial.guest.must(script).map(drop)
}

pub(super) fn live_usr(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    let works = &stage.works;
    let second = publish(works, "usr-2", "2", TREE)?;
    let third = publish(works, "usr-3", "3", TREE)?;
    let bad = publish(works, "usr-bad", "4", &format!("{BAD}{TREE}"))?;
    trial.start()?;
    trial.good("1.0", BOOT)?;

    // Without being asked for, /usr waits, and the plan says what would help.
    let plan = must(&trial, &second, "--dry-run", 0)?;
    trial.check(plan.contains("--live-usr"), &plan)?;
    has_tree(&trial, false)?;
    let plan = must(&trial, &second, "--live-usr --dry-run", 0)?;
    trial.check(
        plan.contains("package  + tree") && plan.contains("usr  "),
        &plan,
    )?;
    has_tree(&trial, false)?;

    must(&trial, &second, "--live-usr", 0)?;
    has_tree(&trial, true)?;
    has_modules(&trial)?;
    let seen = look(&trial)?;
    trial.check(seen.file == "2" && seen.talk != "0", &format!("{seen:?}"))?;
    let status = trial.guest.status()?;
    trial.check(
        status["running"]["usr"]["generation"] == 2
            && status["drift"]["usr"].as_array().is_some_and(Vec::is_empty),
        &format!("{status}"),
    )?;
    // What is mounted is not collected, and is read as the store has it.
    trial.guest.must("elea store gc")?;
    trial
        .guest
        .must("echo 3 > /proc/sys/vm/drop_caches; cat /usr/bin/tree > /dev/null")?;
    has_tree(&trial, true)?;

    trial.guest.must("elea undo")?;
    has_tree(&trial, false)?;
    has_modules(&trial)?;
    let file = trial.guest.run("test -e /etc/hello.conf")?;
    trial.check(!file.ok(), "/etc did not go back with /usr")?;

    // A unit that does not start takes back all of it; so does nobody's word.
    let failed = must(&trial, &bad, "--live-usr", 4)?;
    trial.check(failed.contains("bad.service"), &failed)?;
    has_tree(&trial, false)?;
    must(&trial, &second, "--live-usr --confirm 20s", 0)?;
    has_tree(&trial, true)?;
    trial.guest.must(
        "timeout 300 sh -c 'until elea log | grep -q \"nobody confirmed it in time\"; do sleep 2; done'",
    )?;
    has_tree(&trial, false)?;
    trial
        .guest
        .must("systemctl is-active ssh.service systemd-journald.service")?;

    // One over another, the first only tested; the second boots.
    must(&trial, &second, "--live-usr --test", 0)?;
    has_tree(&trial, true)?;
    must(&trial, &third, "--live-usr", 0)?;
    has_tree(&trial, true)?;
    has_modules(&trial)?;
    boots_next(&mut trial)?;
    let ran = trial.guest.run("tree --version")?;
    trial.check(ran.ok(), "the package is not there after the restart")?;
    let mounts = trial.guest.ask("grep -c ' /usr ' /proc/mounts || true")?;
    trial.check(
        mounts.trim() == "0",
        "something is mounted over /usr after the restart",
    )?;
    let end = look(&trial)?;
    trial.check(end.file == "3" && end.talk != "0", &format!("{end:?}"))?;
    trial.told(
        "a package used at once, taken back three times, kept over another, and booted",
        "one mount at /usr while it is live, none before and after".into(),
    )
}
