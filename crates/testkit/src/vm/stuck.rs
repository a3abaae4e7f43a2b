//! Restarts that the emulator does not come back from.
//!
//! Under TCG every store to a page of which QEMU has translated code is slow, and a restart forgets no
//! translation. Where the firmware's stack comes to lie on what were pages of code, its timer's
//! handler takes longer than the timer's period (10 ms), and it never gets on: about one
//! restart in a hundred, seen with QEMU 7.2 and OVMF 2022.11. The reset button does not help, since the
//! translations stay. A person would switch the machine off and on, and so does this.

use super::Machine;
use crate::Result;
use std::time::{Duration, Instant};

/// What a kernel says last before the machine starts anew.
const LAST_WORDS: [&str; 2] = ["reboot: machine restart", "Rebooting in "];
/// How long firmware may be silent after them; it speaks within seconds, on a busy machine too.
const LIMIT: Duration = Duration::from_mins(1);

/// Since when the console has had this length.
#[derive(Debug)]
pub(super) struct Silence {
    length: u64,
    since: Instant,
}

impl Silence {
    pub(super) fn new() -> Self {
        Self {
            length: 0,
            since: Instant::now(),
        }
    }

    /// How long the console has been silent, now that it has this length.
    fn of(&mut self, length: u64) -> Duration {
        if length != self.length {
            *self = Self {
                length,
                since: Instant::now(),
            };
        }
        self.since.elapsed()
    }
}

impl Machine {
    /// Switches the machine off and on if a restart is stuck, and says so on standard error. To
    /// be called now and then while something is waited for.
    #[expect(
        clippy::print_stderr,
        reason = "whoever reads a test's output must see that it was helped along"
    )]
    pub(super) fn free_stuck_restart(&mut self) -> Result<()> {
        let length = self.console.length();
        if self.silence.of(length) < LIMIT || !is_last_word(&self.console.tail(self.began_at, 1)) {
            return Ok(());
        }
        self.silence = Silence::new();
        eprintln!(
            "   the firmware has been silent for {} s after a restart: switched off and on",
            LIMIT.as_secs(),
        );
        self.kill();
        self.start()
    }
}

fn is_last_word(line: &str) -> bool {
    LAST_WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::Hardware;
    use std::io::Write as _;

    #[test]
    fn a_stuck_machine_is_switched_off_and_on() {
        if !crate::has("qemu-system-x86_64") {
            eprintln!("skipped: no qemu-system-x86_64");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut machine = Machine::new(folder.path(), &disk, Hardware::default()).unwrap();
        machine.start().unwrap();
        let wait = Duration::from_mins(2);
        machine.wait_for("BdsDxe", 0, wait).unwrap();
        // Stopped in the middle, it says no more after the kernel's last word, which is ours.
        machine.monitor().unwrap().execute("stop", None).unwrap();
        let log = machine.console.path().to_owned();
        let mut log = std::fs::File::options().append(true).open(log).unwrap();
        writeln!(log, "\n[    1.0] reboot: machine restart").unwrap();
        let process = |machine: &Machine| machine.child.as_ref().unwrap().id();
        let (first, said) = (process(&machine), machine.console.length());
        machine.free_stuck_restart().unwrap();
        assert_eq!(process(&machine), first, "not before the limit");
        machine.silence.since = Instant::now().checked_sub(LIMIT).unwrap();
        machine.free_stuck_restart().unwrap();
        assert_ne!(process(&machine), first);
        machine.wait_for("BdsDxe", said, wait).unwrap();
    }

    #[test]
    fn silence_begins_anew_with_each_word() {
        let mut silence = Silence::new();
        silence.since = Instant::now().checked_sub(LIMIT).unwrap();
        assert!(silence.of(0) >= LIMIT);
        assert!(silence.of(1) < LIMIT);
    }

    #[test]
    fn a_kernel_s_last_word_is_known() {
        assert!(is_last_word("[   89.169470] reboot: machine restart"));
        assert!(is_last_word("[    9.2] Rebooting in 10 seconds.."));
        assert!(!is_last_word("BdsDxe: starting Boot0001"));
    }
}
