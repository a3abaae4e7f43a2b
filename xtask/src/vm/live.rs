//! A running machine becomes another configuration of itself.

use super::{Base, Scenario, Stage, Told, Trial};
use crate::Result;
use crate::guest::BOOT;
use crate::works::Works;
use elea_testkit::Error;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod own;
pub(crate) use own::small_config;
mod usr;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "apply",
        done: "configs are applied live: one is kept, one fails, one loses its ssh connection before it is confirmed",
        run: apply,
    },
    Scenario {
        name: "specialisation",
        done: "a configuration is applied with a specialisation beside it, which is picked in the boot menu, and then without a registry rolled back",
        run: specialisation,
    },
    Scenario {
        name: "live-usr",
        done: "a package is used without a restart, taken back by undo, by a failure and by nobody's word, and kept",
        run: usr::live_usr,
    },
    Scenario {
        name: "own-config",
        done: "a machine builds its own changed config, without packages or a network, and applies it live; it is measured beside systemctl",
        run: own::own,
    },
];

/// A file, a service that restarts, one that reloads, and what comes on top.
fn config(which: &str, more: &str) -> String {
    format!(
        r#"
[files."/etc/hello.conf"]
content = "{which}\n"

[units."talk.service"]
enable = true
Service.ExecStart = "/bin/sh -c 'exec sleep 100{which}'"

[units."watch.service"]
enable = true
Unit.X-Reload-Triggers = "{which}"
Service.ExecStart = "/bin/sh -c 'cp /etc/hello.conf /run/watch.conf; exec sleep 2000'"
Service.ExecReload = "/bin/cp /etc/hello.conf /run/watch.conf"
{more}"#
    )
}

const BAD: &str = r#"
[units."bad.service"]
enable = true
Service.Type = "oneshot"
Service.ExecStart = "/bin/false"
"#;

/// Builds a variant of 1.0 and pushes it; gives what a guest calls it.
pub(super) fn publish(works: &Works, tag: &str, which: &str, more: &str) -> Result<String> {
    let path = works.folder.join(format!("hello-{tag}.toml"));
    let text = format!(
        "imports = [\"{}\"]\n\n[trust]\nkeys = [\"{}\"]\n{}",
        crate::workspace()
            .join("examples/hello/elea.toml")
            .display(),
        works.signer.public.display(),
        config(which, more),
    );
    fs::write(&path, text)
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))?;
    let (path, name) = (path.display().to_string(), format!("hello:{tag}"));
    let initrd = works.programs.initrd.display().to_string();
    works.show_elea(&["build", &path, "--name", &name, "--initrd", &initrd])?;
    let place = format!("registry:{}/hello:{tag}", works.registry.host());
    let key = works.signer.private.display().to_string();
    works.show_elea(&["image", "push", &name, &place, "--sign", &key])?;
    Ok(format!(
        "registry:{}/hello:{tag}",
        works.registry.guest_host()
    ))
}

/// What a guest shows of the configuration that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    file: String,
    reloaded: String,
    talk: String,
    watch: String,
}

fn look(trial: &Trial) -> Result<Seen> {
    let said = trial.guest.ask(
        "cat /etc/hello.conf; cat /run/watch.conf; \
         systemctl show --property=MainPID --value talk.service; \
         systemctl show --property=MainPID --value watch.service",
    )?;
    let mut lines = said.lines().filter(|line| !line.is_empty());
    let mut next = || lines.next().unwrap_or_default().to_owned();
    Ok(Seen {
        file: next(),
        reloaded: next(),
        talk: next(),
        watch: next(),
    })
}

/// Applies an image; an error unless it ends with this code.
fn must(trial: &Trial, image: &str, more: &str, code: i32) -> Result<String> {
    let said = trial
        .guest
        .run(&format!("elea apply --image {image} --plain-http {more}"))?;
    trial.check(
        said.code == Some(code),
        &format!("code {:?} instead of {code}: {}", said.code, said.all()),
    )?;
    Ok(said.all())
}

/// A connection on which a command goes on; ended when dropped.
struct Connection(Child);

impl Connection {
    fn open(trial: &Trial, command: &str) -> Result<Self> {
        let words = trial.guest.machine.ssh_command();
        let mut ssh = Command::new(&words[0]);
        // With a terminal, whose end the guest's programs are told of.
        ssh.args(["-tt"]).args(&words[1..]).arg(command);
        ssh.stdin(Stdio::null()).stdout(Stdio::null());
        ssh.spawn()
            .map(Self)
            .map_err(|e| Error::other(format!("cannot run ssh: {e}")))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the file says something.
fn wait_for(trial: &Trial, wanted: &str, limit: Duration) -> Result<()> {
    let begun = Instant::now();
    while trial.guest.ask("cat /etc/hello.conf")?.trim() != wanted {
        let late = begun.elapsed() > limit;
        trial.check(
            !late,
            &format!("/etc/hello.conf does not become `{wanted}`"),
        )?;
        std::thread::sleep(Duration::from_secs(2));
    }
    Ok(())
}

fn next(trial: &Trial) -> Result<u64> {
    let status = trial.guest.status()?;
    Ok(status["next"].as_u64().unwrap_or(0))
}

/// Restarts the machine: what was applied last is what boots, and is good.
fn boots_next(trial: &mut Trial) -> Result<()> {
    let kept = next(trial)?;
    trial.mark();
    let running = trial.guest.reboot_to("1.0", BOOT)?;
    trial.arrived();
    trial.check(
        running.generation == kept,
        &format!("{running:?} instead of {kept}"),
    )?;
    trial.guest.wait_committed(BOOT)
}

fn apply(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    let works = &stage.works;
    let first = publish(works, "live-1", "1", "")?;
    let second = publish(works, "live-2", "2", "")?;
    let bad = publish(works, "live-bad", "3", BAD)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;

    // Asking changes nothing.
    let plan = must(&trial, &first, "--dry-run", 0)?;
    trial.check(
        plan.contains("start    talk.service") && plan.contains("+ /etc/hello.conf"),
        &format!("the plan says only: {plan}"),
    )?;
    trial.check(next(&trial)? == 1, "a dry run staged something")?;
    let there = trial.guest.run("test -e /etc/hello.conf")?;
    trial.check(!there.ok(), "a dry run changed /etc")?;

    // New units start; then a file and a unit change, and another reloads.
    must(&trial, &first, "", 0)?;
    let one = look(&trial)?;
    trial.check(one.file == "1" && one.talk != "0", &format!("{one:?}"))?;
    trial.check(next(&trial)? == 2, "the new generation does not boot next")?;
    trial.guest.must("echo mine > /etc/mine")?;
    must(&trial, &second, "", 0)?;
    let two = look(&trial)?;
    trial.check(
        two.file == "2" && two.reloaded == "2" && two.talk != one.talk && two.watch == one.watch,
        &format!("{one:?} became {two:?}"),
    )?;
    trial.check(
        trial.guest.ask("cat /etc/mine")?.trim() == "mine",
        "a local edit is lost",
    )?;
    let again = must(&trial, &second, "", 0)?;
    trial.check(again.contains("nothing to do"), &again)?;

    // A unit that does not start takes all of it back.
    let failed = must(&trial, &bad, "", 4)?;
    trial.check(failed.contains("bad.service"), &failed)?;
    let back = look(&trial)?;
    trial.check(
        back.file == "2" && back.reloaded == "2" && back.talk != "0" && back.watch == two.watch,
        &format!("{two:?} came back as {back:?}"),
    )?;
    trial.check(next(&trial)? == 3, "what failed boots next")?;
    let unit = trial.guest.run("systemctl cat bad.service")?;
    trial.check(!unit.ok(), "the unit that failed is still there")?;

    // The connection dies, and nobody confirms.
    let words = format!("elea apply --image {first} --plain-http --confirm 25s; sleep 1000");
    let connection = Connection::open(&trial, &words)?;
    wait_for(&trial, "1", BOOT)?;
    drop(connection);
    trial.mark();
    wait_for(&trial, "2", BOOT)?;
    trial.arrived();
    // /etc is back before all else is.
    trial.guest.must(
        "timeout 300 sh -c 'until elea log | grep -q \"nobody confirmed it in time\"; do sleep 2; done'",
    )?;
    let back = look(&trial)?;
    trial.check(
        back.file == "2" && back.reloaded == "2" && back.talk != "0",
        &format!("{back:?}"),
    )?;
    trial.check(next(&trial)? == 3, "what nobody confirmed boots next")?;

    // Somebody confirms; what is only tested is gone after a restart.
    must(&trial, &first, "--confirm 10m", 0)?;
    let refused = trial.guest.run("elea rollback")?;
    trial.check(!refused.ok(), "something else began meanwhile")?;
    trial.guest.must("elea confirm")?;
    let timer = trial.guest.run("systemctl is-active elea-revert.timer")?;
    trial.check(!timer.ok(), "the timer still runs")?;
    let kept = next(&trial)?;
    must(&trial, &second, "--test", 0)?;
    trial.check(look(&trial)?.file == "2", "the test does not run")?;
    let running = trial.guest.reboot_to("1.0", BOOT)?;
    trial.check(
        running.generation == kept,
        &format!("{running:?} instead of {kept}"),
    )?;
    trial.guest.wait_committed(BOOT)?;
    let end = look(&trial)?;
    trial.check(end.file == "1" && end.talk != "0", &format!("{end:?}"))?;
    trial.check(
        trial.guest.ask("cat /etc/mine")?.trim() == "mine",
        "a local edit is lost at the boot",
    )?;
    let edits = trial.guest.ask("elea etc diff")?;
    trial.check(
        edits.contains("+ /etc/mine") && !edits.contains("hello.conf"),
        &edits,
    )?;
    trial.told(
        "kept, taken back after a failure, taken back without its connection, confirmed, tested until the restart",
        "\"nobody confirmed it in time\" in the operation log".into(),
    )
}

/// Starts the machine anew, with time to choose in the menu, and goes down so many lines.
fn pick(trial: &mut Trial, down: usize) -> Result<()> {
    let path = "/run/esp/loader/loader.conf";
    trial.guest.must(&format!(
        "mkdir -p /run/esp && mount $(blkid -t TYPE=vfat -o device | head -n1) /run/esp && \
         sed -i '/^timeout/d' {path} && echo timeout 20 >> {path} && umount /run/esp"
    ))?;
    let from = trial.guest.machine.console().length();
    let _ = trial.guest.run("systemctl reboot")?;
    let machine = &mut trial.guest.machine;
    machine.wait_for("starting Boot", from, Duration::from_mins(5))?;
    std::thread::sleep(Duration::from_secs(6));
    for _ in 0..down {
        machine.press(&["down"])?;
        std::thread::sleep(Duration::from_secs(1));
    }
    machine.press(&["ret"])
}

fn specialisation(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    let works = &stage.works;
    let main = publish(works, "live-1", "1", "")?;
    let quiet = publish(works, "live-2", "2", "")?;
    trial.start()?;
    trial.good("1.0", BOOT)?;
    let said = must(&trial, &main, &format!("--beside quiet={quiet}"), 0)?;
    trial.check(
        said.contains("generation 3 in the boot menu: specialisation quiet"),
        &said,
    )?;
    trial.check(next(&trial)? == 2, "the specialisation boots by itself")?;
    trial.says("cat /etc/hello.conf", "1")?;

    // 2, 1, rescue, and then what stands beside 2.
    trial.mark();
    pick(&mut trial, 3)?;
    let picked = trial.guest.wait("the specialisation", BOOT, |running| {
        running.generation == 3
    })?;
    trial.arrived();
    trial.guest.wait_committed(BOOT)?;
    trial.says("cat /etc/hello.conf", "2")?;
    trial.check(next(&trial)? == 2, "the specialisation boots by itself")?;
    let old = picked.boot;
    let _ = trial.guest.run("systemctl reboot")?;
    trial.guest.wait("generation 2", BOOT, |running| {
        running.generation == 2 && running.boot != old
    })?;
    trial.guest.wait_committed(BOOT)?;
    trial.says("cat /etc/hello.conf", "1")?;

    // Nothing answers any more: going back needs nobody.
    trial
        .guest
        .must("ip route del default && elea rollback && elea generations")?;
    let running = trial.guest.reboot_to("1.0", BOOT)?;
    trial.check(running.generation == 4, &format!("{running:?}"))?;
    trial.guest.wait_committed(BOOT)?;
    trial.guest.must("! test -e /etc/hello.conf")?;
    trial.told(
        "the specialisation runs for that boot and is good; the next boot is its generation's, and a rollback needs no network",
        "`elea generations`".into(),
    )
}
