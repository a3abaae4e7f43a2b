//! The seven steps.

use super::Options;
use crate::guest::{BOOT, Guest};
use crate::talk::{Timeline, headline, note};
use crate::works::{Release, Works};
use crate::{Result, show};
use elea_testkit::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Three tries of a hang, each ended by the watchdog or a time limit, and the way back.
const RECOVERY: Duration = Duration::from_mins(30);

/// The files that a person leaves on the machine, and that no release may touch.
const FILES: [(&str, &str); 3] = [
    ("/etc/motd.d/person", "written to /etc"),
    ("/var/lib/person", "written to /var/lib"),
    ("/home/person.txt", "written to /home"),
];

/// Tells it all; gives the number of boots.
pub(crate) fn tell(options: &Options, timeline: &mut Timeline) -> Result<usize> {
    headline("1. Three releases of one system, from examples/hello");
    let works = timeline.measure("elea built, a registry started", || {
        Works::open(&options.work)
    })?;
    let mut story = Story {
        third: Release::Third(options.kind),
        disk: works.folder.join("demo.disk"),
        works,
        timeline,
    };
    story.build()?;
    story.install()?;
    let mut guest = story.first_boot()?;
    story.good_upgrade(&mut guest)?;
    story.bad_upgrade(&mut guest)?;
    story.rollback(&mut guest)?;
    let boots = guest.boots();
    story.end(options, guest)?;
    Ok(boots)
}

struct Story<'a> {
    third: Release,
    disk: PathBuf,
    works: Works,
    timeline: &'a mut Timeline,
}

impl Story<'_> {
    fn build(&mut self) -> Result<()> {
        for release in [Release::First, Release::Second, self.third] {
            self.timeline
                .measure(&format!("release {} built", release.tag()), || {
                    self.works.build(release)
                })?;
        }
        Ok(())
    }

    fn publish(&mut self, release: Release) -> Result<()> {
        let what = format!("release {} pushed, signed", release.version());
        self.timeline.measure(&what, || self.works.publish(release))
    }

    fn install(&mut self) -> Result<()> {
        headline("2. A registry with 1.0, and a disk installed from it");
        note(&format!(
            "docker-registry listens on {}",
            self.works.registry.host()
        ));
        self.publish(Release::First)?;
        // Nothing of an earlier run, so that what is fetched is what a first install fetches.
        let _ = std::fs::remove_dir_all(self.works.installer());
        let before = self.works.registry.fetched();
        self.timeline
            .measure("release 1.0 installed to a disk file", || {
                self.works.install(Release::First, &self.disk, &[])
            })?;
        self.fetched(before);
        Ok(())
    }

    fn fetched(&mut self, before: elea_testkit::registry::Fetched) {
        let now = self.works.registry.fetched();
        self.timeline.fetched(now.since(before).bytes);
    }

    fn first_boot(&mut self) -> Result<Guest> {
        headline("3. The first boot, through firmware and boot loader");
        let folder = self.works.folder.join("demo.machine");
        let _ = std::fs::remove_dir_all(&folder);
        let mut guest = Guest::new(&self.works, &folder, &self.disk)?;
        guest.loud = true;
        self.timeline.measure("first boot of 1.0, healthy", || {
            guest.machine.start()?;
            guest.wait_version("1.0", None, BOOT)?;
            guest.wait_committed(BOOT)
        })?;
        guest.must("elea status")?;
        untouched(&guest, None)?;
        for (path, text) in FILES {
            guest.must(&format!(
                "mkdir -p $(dirname {path}) && echo '{text}' > {path}"
            ))?;
        }
        if guest.run("touch /usr/x")?.ok() {
            return Err(Error::other(
                "`touch /usr/x` worked: the system can be written",
            ));
        }
        Ok(guest)
    }

    fn good_upgrade(&mut self, guest: &mut Guest) -> Result<()> {
        headline("4. An upgrade to 2.0");
        self.publish(Release::Second)?;
        guest.must("elea upgrade --check")?;
        self.upgrade(guest, "2.0")?;
        self.timeline.measure("reboot into 2.0, healthy", || {
            guest.reboot_to("2.0", BOOT)?;
            guest.wait_committed(BOOT)
        })?;
        state_is_there(guest)?;
        untouched(guest, Some("/etc/motd.d"))?;
        guest.must("systemctl is-active hello.service && hello && tree --version")?;
        Ok(())
    }

    fn bad_upgrade(&mut self, guest: &mut Guest) -> Result<()> {
        headline(&format!("5. A bad release: {}", self.third.tag()));
        self.publish(self.third)?;
        self.upgrade(guest, "3.0")?;
        note("restarting; 3.0 has three tries, then the machine must come back alone");
        self.timeline.measure("3.0 failed, 2.0 is back", || {
            guest.reboot_to("2.0", RECOVERY)?;
            guest.wait_committed(BOOT)
        })?;
        let told = guest.must("elea status")?;
        let number = failed_generation(guest)?;
        if !told.contains("3.0") {
            return Err(Error::other(
                "`elea status` does not name the failed release 3.0",
            ));
        }
        guest.must(&format!("elea log show {number}"))?;
        let again = guest.run("elea upgrade")?;
        if guest.next_is_another()? {
            return Err(Error::other(format!(
                "3.0 is offered again: {}",
                again.all()
            )));
        }
        state_is_there(guest)
    }

    fn rollback(&mut self, guest: &mut Guest) -> Result<()> {
        headline("6. Back to 1.0 by choice");
        guest.must("elea rollback")?;
        self.timeline.measure("rollback to 1.0, healthy", || {
            guest.reboot_to("1.0", BOOT)?;
            guest.wait_committed(BOOT)
        })?;
        guest.must("elea generations")?;
        state_is_there(guest)
    }

    fn end(&self, options: &Options, mut guest: Guest) -> Result<()> {
        if options.interactive {
            headline("The machine is yours; leave the shell and it is switched off");
            let login = guest.machine.ssh_command();
            let _ = show(Command::new(&login[0]).arg("-t").args(&login[1..]));
        }
        guest.machine.power_off(Duration::from_mins(3))?;
        headline("7. What happened");
        if options.keep {
            let console = ["-serial".to_owned(), "mon:stdio".to_owned()];
            note("boot the disk with a console (leave it with Ctrl-A x):");
            println!("{}", quoted(&guest.machine.command_line(&console)));
        } else {
            let _ = std::fs::remove_file(&self.disk);
        }
        Ok(())
    }

    /// Fetches and stages an upgrade.
    fn upgrade(&mut self, guest: &Guest, version: &str) -> Result<()> {
        let before = self.works.registry.fetched();
        let what = format!("upgrade to {version} fetched and staged");
        self.timeline
            .measure(&what, || guest.must("elea upgrade"))?;
        self.fetched(before);
        Ok(())
    }
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

/// Nothing in `/etc` differs but what a person did, and no unit has failed: a release that
/// changes itself at its first boot would hide what later releases bring.
fn untouched(guest: &Guest, person: Option<&str>) -> Result<()> {
    let said = guest.must("elea etc diff")?;
    let foreign = said
        .lines()
        .find(|line| !person.is_some_and(|path| line.contains(path)));
    if let Some(line) = foreign {
        return Err(Error::other(format!(
            "/etc was changed, and no person did it: {line}"
        )));
    }
    let failed = guest.must("systemctl list-units --failed --plain --no-legend")?;
    if failed.trim().is_empty() {
        return Ok(());
    }
    Err(Error::other(format!("units have failed: {failed}")))
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

/// A command line for a shell.
fn quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/+@".contains(c);
    words
        .iter()
        .map(|word| {
            if word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{word}'")
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
