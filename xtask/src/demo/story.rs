//! The seven steps.

use super::Options;
use crate::guest::{BOOT, Guest};
use crate::talk::{self, Timeline, headline, note};
use crate::works::{Release, Works};
use crate::{Result, show};
use elea_testkit::Error;
use std::process::Command;
use std::time::Duration;

/// Three tries of a hang, each ended by the watchdog or a time limit, and the way back.
const RECOVERY: Duration = Duration::from_secs(1800);

/// The files that a person leaves on the machine, and that no release may touch.
const FILES: [(&str, &str); 3] = [
    ("/etc/motd.d/person", "written to /etc"),
    ("/var/lib/person", "written to /var/lib"),
    ("/home/person.txt", "written to /home"),
];

/// Tells it all; gives the number of boots.
pub(crate) fn tell(options: &Options, timeline: &mut Timeline) -> Result<usize> {
    let third = Release::Third(options.kind);
    headline("1. Three releases of one system, from examples/hello");
    let works = timeline.measure("elea built, a registry started", || {
        Works::open(&options.work)
    })?;
    for release in [Release::First, Release::Second, third] {
        timeline.measure(&format!("release {} built", release.tag()), || {
            works.build(release)
        })?;
    }

    headline("2. A registry with 1.0, and a disk installed from it");
    note(&format!(
        "docker-registry listens on {}",
        works.registry.host()
    ));
    timeline.measure("release 1.0 pushed, signed", || {
        works.publish(Release::First)
    })?;
    let disk = works.folder.join("demo.disk");
    let before = works.registry.fetched();
    timeline.measure("release 1.0 installed to a disk file", || {
        works.install(Release::First, &disk, &["--wipe"])
    })?;
    timeline.fetched(works.registry.fetched().since(before).bytes);

    headline("3. The first boot, through firmware and boot loader");
    let machine = works.folder.join("demo.machine");
    let _ = std::fs::remove_dir_all(&machine);
    let mut guest = Guest::new(&works, &machine, &disk)?;
    guest.loud = true;
    timeline.measure("first boot of 1.0, healthy", || {
        guest.machine.start()?;
        guest.wait_version("1.0", None, BOOT)?;
        guest.wait_committed(BOOT)
    })?;
    guest.must("elea status")?;
    for (path, text) in FILES {
        guest.must(&format!(
            "mkdir -p $(dirname {path}) && echo '{text}' > {path}"
        ))?;
    }
    refuses_writes(&guest)?;

    headline("4. An upgrade to 2.0");
    timeline.measure("release 2.0 pushed, signed", || {
        works.publish(Release::Second)
    })?;
    guest.must("elea upgrade --check")?;
    upgrade(&works, &guest, timeline, "2.0")?;
    timeline.measure("reboot into 2.0, healthy", || {
        guest.reboot_to("2.0", BOOT)?;
        guest.wait_committed(BOOT)
    })?;
    state_is_there(&guest)?;
    guest.must("systemctl is-active hello.service && hello")?;

    headline(&format!("5. A bad release: 3.0 ({})", options.kind.name()));
    timeline.measure("release 3.0 pushed, signed", || works.publish(third))?;
    upgrade(&works, &guest, timeline, "3.0")?;
    note("restarting; 3.0 has three tries, then the machine must come back alone");
    timeline.measure("3.0 failed, 2.0 is back", || {
        guest.reboot_to("2.0", RECOVERY)?;
        guest.wait_committed(BOOT)
    })?;
    let failed = guest.must("elea status")?;
    let number = failed_generation(&guest)?;
    if !failed.contains("3.0") {
        return Err(Error::other(
            "`elea status` does not name the failed release 3.0",
        ));
    }
    guest.must(&format!("elea log show {number}"))?;
    let offered = guest.run("elea upgrade")?;
    let running = guest.running()?;
    if running.version != "2.0" || staged(&guest)?.is_some() {
        return Err(Error::other(format!(
            "3.0 is offered again: {}",
            offered.all()
        )));
    }
    state_is_there(&guest)?;

    headline("6. Back to 1.0 by choice");
    guest.must("elea rollback")?;
    timeline.measure("rollback to 1.0, healthy", || {
        guest.reboot_to("1.0", BOOT)?;
        guest.wait_committed(BOOT)
    })?;
    guest.must("elea generations")?;
    state_is_there(&guest)?;

    let boots = guest.boots();
    if options.interactive {
        headline("The machine is yours; leave the shell and it is switched off");
        let words = guest.machine.ssh_command();
        let _ = show(Command::new(&words[0]).args(["-t"]).args(&words[1..]));
    }
    guest.machine.power_off(Duration::from_secs(180))?;
    headline("7. What happened");
    if options.keep {
        let console = ["-serial".to_owned(), "mon:stdio".to_owned()];
        note("boot the disk with a console (leave it with Ctrl-A x):");
        println!("{}", quoted(&guest.machine.command_line(&console)));
    } else {
        let _ = std::fs::remove_file(&disk);
    }
    Ok(boots)
}

/// Fetches and stages an upgrade.
fn upgrade(works: &Works, guest: &Guest, timeline: &mut Timeline, version: &str) -> Result<()> {
    let before = works.registry.fetched();
    timeline.measure(&format!("upgrade to {version} fetched and staged"), || {
        guest.must("elea upgrade")
    })?;
    timeline.fetched(works.registry.fetched().since(before).bytes);
    Ok(())
}

/// The system itself cannot be written.
fn refuses_writes(guest: &Guest) -> Result<()> {
    let said = guest.run("touch /usr/x")?;
    if said.ok() {
        return Err(Error::other(
            "`touch /usr/x` worked: the system can be written",
        ));
    }
    Ok(())
}

/// The person's files are as they were.
fn state_is_there(guest: &Guest) -> Result<()> {
    let paths: Vec<&str> = FILES.iter().map(|(path, _)| *path).collect();
    let said = guest.must(&format!("cat {}", paths.join(" ")))?;
    let wanted: Vec<&str> = FILES.iter().map(|(_, text)| *text).collect();
    if said.trim_end() != wanted.join("\n") {
        return Err(Error::other(format!(
            "the person's files are not as they were: {said}"
        )));
    }
    Ok(())
}

/// The number of the newest failed generation.
fn failed_generation(guest: &Guest) -> Result<u64> {
    let status = guest.status()?;
    status["refused"]
        .as_array()
        .and_then(|list| list.last()?["number"].as_u64())
        .ok_or_else(|| {
            Error::other(format!(
                "`elea status` names no failed generation: {status}"
            ))
        })
}

/// The generation that would boot next, if it is not the running one.
fn staged(guest: &Guest) -> Result<Option<u64>> {
    let status = guest.status()?;
    let next = status["next"].as_u64();
    Ok(next.filter(|n| Some(*n) != status["running"]["number"].as_u64()))
}

/// A command line for a shell.
fn quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/+@".contains(c);
    words
        .iter()
        .map(|word| match word.chars().all(plain) {
            true => word.clone(),
            false => format!("'{word}'"),
        })
        .collect::<Vec<_>>()
        .join(" ")
}
