//! Restarts that the emulator does not come back from.
//!
//! Seen about once in a hundred restarts under QEMU 7.2's TCG: the kernel had said its last word, and
//! the firmware went round in a loop with interrupts off before its first. Nothing of the guest
//! runs then, so it says nothing about the system that is tried; a person would press the reset
//! button, and so does this.

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
    /// Presses reset if a restart is stuck, and says so on standard error with the state of the
    /// processor. To be called now and then while something is waited for.
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
        let state = self.monitor()?.ask("info registers").unwrap_or_default();
        let place = state
            .lines()
            .filter(|line| line.contains("RIP") || line.contains("HLT") || line.starts_with("CR0"));
        eprintln!(
            "   the firmware has been silent for {} s after a restart: reset pressed; {}",
            LIMIT.as_secs(),
            place.map(str::trim).collect::<Vec<_>>().join("; ")
        );
        self.reset()
    }
}

fn is_last_word(line: &str) -> bool {
    LAST_WORDS.iter().any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

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
