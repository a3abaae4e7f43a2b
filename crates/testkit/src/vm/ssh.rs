//! Commands in the guest, by ssh.

use super::{Machine, gone, late};
use crate::{Error, Result, Said, say};
use std::process::Command;
use std::time::{Duration, Instant};

/// What tells one boot from another.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

impl Machine {
    /// The words of the `ssh` command that logs in, without what to run.
    pub fn ssh_command(&self) -> Vec<String> {
        let mut words: Vec<String> = ["ssh", "-p"].map(str::to_owned).into();
        words.push(self.ssh_port.to_string());
        if let Some(pair) = &self.hardware.login {
            words.extend(["-i".into(), pair.private.display().to_string()]);
        }
        for option in [
            "BatchMode=yes",
            "ConnectTimeout=30",
            "KexAlgorithms=curve25519-sha256",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=8",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ] {
            words.extend(["-o".into(), option.into()]);
        }
        words.push("root@127.0.0.1".into());
        words
    }

    /// Runs a shell command in the guest and gives what it said, however it ended; code 255
    /// is ssh's own.
    pub fn ssh(&self, command: &str) -> Result<Said> {
        let words = self.ssh_command();
        say(Command::new(&words[0]).args(&words[1..]).arg(command))
    }

    /// Runs a shell command in the guest that must end well; gives its standard output.
    pub fn ssh_ok(&self, command: &str) -> Result<String> {
        let said = self.ssh(command)?;
        if said.ok() {
            return Ok(said.out);
        }
        Err(Error::Failed {
            command: format!("(guest) {command}"),
            status: said.code.map_or("a signal".into(), |c| format!("code {c}")),
            output: said.all(),
        })
    }

    /// Waits until the guest can be logged in to, in another boot than `old`; gives the id of
    /// the boot.
    pub fn wait_boot(&mut self, old: Option<&str>, limit: Duration) -> Result<String> {
        let (begun, from) = (Instant::now(), self.began_at);
        loop {
            let said = self.ssh(BOOT_ID)?;
            let id = said.out.trim();
            if said.ok() && Some(id) != old {
                return Ok(id.to_owned());
            }
            let tail = || self.console.tail(from, 40);
            if begun.elapsed() > limit {
                return Err(late(
                    "a login by ssh",
                    limit,
                    format!("{}\n{}", tail(), said.err),
                ));
            }
            if !self.is_running() {
                return Err(gone("a login by ssh", self.console.tail(from, 40)));
            }
            self.free_stuck_restart()?;
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// Asks the guest to start anew and waits for a login in the new boot, whichever
    /// generation that is; gives its id.
    pub fn reboot(&mut self, limit: Duration) -> Result<String> {
        let old = self.ssh_ok(BOOT_ID)?.trim().to_owned();
        // The connection may break before the answer comes.
        let _ = self.ssh("systemctl reboot")?;
        self.wait_boot(Some(&old), limit)
    }
}
