//! A machine of ours, and what it says of itself.

use crate::works::Works;
use crate::{Result, talk};
use elea_testkit::vm::{Hardware, Machine};
use elea_testkit::{Error, Said};
use serde_json::{Deserializer, Value};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a boot, with its health check, may take where nothing else is said.
pub(crate) const BOOT: Duration = Duration::from_mins(10);

/// Between two questions: a login costs the guest about a second of its one processor.
const POLL: Duration = Duration::from_secs(5);

/// A machine under QEMU that runs Elea.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The machine.
    pub(crate) machine: Machine,
    /// Whether commands and their output are shown.
    pub(crate) loud: bool,
}

/// What runs in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// The kernel's id of the boot.
    pub(crate) boot: String,
    /// The generation.
    pub(crate) generation: u64,
    /// The release's version.
    pub(crate) version: String,
}

impl Guest {
    /// A machine with a disk; it keeps its firmware variables and console log in `folder`.
    pub(crate) fn new(works: &Works, folder: &Path, disk: &Path) -> Result<Self> {
        let hardware = Hardware {
            login: Some(works.login.clone()),
            ..Hardware::default()
        };
        Ok(Self {
            machine: Machine::new(folder, disk, hardware)?,
            loud: false,
        })
    }

    /// Runs a command in the guest as root; shown if the machine is.
    pub(crate) fn run(&self, command: &str) -> Result<Said> {
        if self.loud {
            talk::prompt("guest#", command);
        }
        let said = self.machine.ssh(command)?;
        if self.loud {
            talk::output(&said.all());
        }
        Ok(said)
    }

    /// Runs a command that must end well.
    pub(crate) fn must(&self, command: &str) -> Result<String> {
        let said = self.run(command)?;
        if said.ok() {
            return Ok(said.out);
        }
        Err(Error::Failed {
            command: format!("(guest) {command}"),
            status: said.code.map_or("a signal".into(), |c| format!("code {c}")),
            output: said.all(),
        })
    }

    /// Runs a command quietly that must end well.
    pub(crate) fn ask(&self, command: &str) -> Result<String> {
        self.machine.ssh_ok(command)
    }

    /// What runs now.
    pub(crate) fn running(&self) -> Result<Running> {
        let said = self.ask("cat /run/elea/booted /usr/lib/elea/release.json")?;
        parse_running(&said)
            .ok_or_else(|| Error::other(format!("the guest does not say what runs: {said}")))
    }

    /// Waits for a system that is `wanted`: not one that is still being tried.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Running) -> bool,
    ) -> Result<Running> {
        let begun = Instant::now();
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            self.machine.wait_boot(None, left)?;
            // A connection may break in the middle of it: the machine is on its way down.
            if let Ok(running) = self.running()
                && wanted(&running)
            {
                return Ok(running);
            }
            if begun.elapsed() > limit {
                return Err(Error::Late {
                    what: what.into(),
                    seconds: limit.as_secs(),
                    tail: self.machine.console().tail(0, 40),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits for a version to run in another boot than `old`.
    pub(crate) fn wait_version(
        &mut self,
        version: &str,
        old: Option<&str>,
        limit: Duration,
    ) -> Result<Running> {
        self.wait(&format!("release {version}"), limit, |running| {
            running.version == version && Some(running.boot.as_str()) != old
        })
    }

    /// Waits for the verdict on the running boot; an error if it is not a good one.
    pub(crate) fn wait_committed(&mut self, limit: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let said = self.machine.ssh("elea status --json")?;
            match verdict(&said.out).as_deref() {
                Some("committed") => return Ok(()),
                Some("unhealthy") => {
                    return Err(Error::other(format!(
                        "the boot is not healthy: {}",
                        said.all()
                    )));
                }
                _ => {}
            }
            if begun.elapsed() > limit {
                return Err(Error::Late {
                    what: "the commit of the running generation".into(),
                    seconds: limit.as_secs(),
                    tail: said.all(),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    /// `elea status --json`.
    pub(crate) fn status(&self) -> Result<Value> {
        let said = self.ask("elea status --json")?;
        serde_json::from_str(&said)
            .map_err(|e| Error::other(format!("`elea status --json` is no JSON: {e}: {said}")))
    }

    /// Whether another generation than the running one boots next.
    pub(crate) fn next_is_another(&self) -> Result<bool> {
        let status = self.status()?;
        Ok(status["next"] != status["running"]["number"])
    }

    /// Starts the machine anew and waits for a version.
    pub(crate) fn reboot_to(&mut self, version: &str, limit: Duration) -> Result<Running> {
        let old = self.running()?.boot;
        // The connection may break before the answer comes.
        let _ = self.run("systemctl reboot")?;
        self.wait_version(version, Some(&old), limit)
    }

    /// How often the firmware started a boot loader on this machine.
    pub(crate) fn boots(&self) -> usize {
        self.machine.console().firmware_starts(0)
    }
}

fn parse_running(said: &str) -> Option<Running> {
    let mut values = Deserializer::from_str(said).into_iter::<Value>();
    let (booted, release) = (values.next()?.ok()?, values.next()?.ok()?);
    Some(Running {
        boot: booted["boot_id"].as_str()?.to_owned(),
        generation: booted["generation"].as_u64()?,
        version: release["version"].as_str()?.to_owned(),
    })
}

/// What `elea status --json` calls the verdict on the running boot.
fn verdict(status: &str) -> Option<String> {
    let status: Value = serde_json::from_str(status).ok()?;
    Some(status["running"]["verdict"]["state"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_read_from_two_documents() {
        let said = "{\"boot_id\": \"a\", \"generation\": 2}{\"version\": \"2.0\"}\n";
        let running = parse_running(said).unwrap();
        assert_eq!((running.generation, running.version.as_str()), (2, "2.0"));
        assert_eq!(parse_running("{}"), None);
        assert_eq!(parse_running("cat: no such file"), None);
    }
}
