//! Where the programs of packages run: nothing of the machine is there.

use super::program;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Where programs have no network, no device, no path, process, name, key and clock of the machine, and die with us.
///
/// They are root in a namespace of users with the machine's numbers, so that the tree gets the owners that it needs,
/// but of a root folder that has the machine's `/usr` (read-only), an `/etc` of its own and the folder of the work, of
/// which `tree` alone can be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sandbox<'a> {
    /// The folder that they see as `/mnt`, so that no result depends on where it is.
    pub(crate) work: &'a Path,
    /// Lines of shell that run first, as root of the machine: no program of a package may have a part in them.
    pub(crate) prepare: &'a str,
    pub(crate) clock: Clock,
}

/// What programs are told of the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// `SOURCE_DATE_EPOCH`: the present of programs that ask for it, in seconds since 1970.
    pub(crate) epoch: i64,
    /// By how much later what the kernel tells those that ask it all the same is than the machine's clock.
    pub(crate) ahead: Duration,
}

impl Sandbox<'_> {
    /// A program in there.
    pub(crate) fn command(&self, arguments: &[&OsStr]) -> Command {
        let script = include_str!("sandbox.sh").replace("@PREPARE@\n", self.prepare);
        let mut command = program("setpriv");
        command
            // A session of its own has no terminal whose keys it could press.
            .args(["--pdeathsig=KILL", "--", "setsid", "unshare"])
            .args([
                "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork",
            ])
            .args(["--kill-child=KILL", "--propagation=private", "--"])
            .args(["/bin/sh", "-c", &script, "sh"])
            .arg(self.work)
            .args(arguments)
            .env("SOURCE_DATE_EPOCH", self.clock.epoch.to_string())
            .env("TMPDIR", "/tmp");
        // First: who traces is not in there.
        if !self.clock.ahead.is_zero() {
            elea_sys::clock::ahead(&mut command, self.clock.ahead);
        }
        elea_sys::confine::refuse_calls(&mut command);
        command
    }
}

#[cfg(test)]
mod tests;
