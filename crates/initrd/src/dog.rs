//! The watchdog of the initrd: a hang before the system's own takes over resets the machine.

use crate::console;
use crate::drivers::Drivers;
use elea_formats::cmdline::CommandLine;
use elea_sys::root::Root;
use elea_sys::watchdog::{self, Watchdog};
use std::path::Path;

/// How long a step of the initrd, and the system's own start, may take; in seconds.
const LIMIT: u32 = 120;
/// Files that are read for the system's settings, each at most so many bytes.
const FILE: u64 = 64 << 10;

/// A watchdog that runs.
#[derive(Debug)]
pub(crate) struct Dog {
    watchdog: Watchdog,
    name: String,
}

impl Dog {
    /// Starts the first watchdog there is; a hardware one if there is any.
    pub(crate) fn start(drivers: &mut Drivers, warnings: &mut Vec<String>) -> Option<Self> {
        if watchdog::devices().is_empty() {
            drivers.load_watchdog();
        }
        let path = watchdog::devices().into_iter().next()?;
        let watchdog = match Watchdog::open(&path) {
            Ok(watchdog) => watchdog,
            Err(e) => {
                console::warn(&e.to_string());
                return None;
            }
        };
        let name = watchdog.identity().to_owned();
        if watchdog.caused_reset().unwrap_or(false) {
            warnings.push(format!(
                "the watchdog ({name}) ended the boot before this one"
            ));
        }
        if let Err(e) = watchdog.set_timeout(LIMIT) {
            console::warn(&e.to_string());
        }
        let _ = watchdog.ping();
        Some(Self { watchdog, name })
    }

    /// Gives it its whole time again.
    pub(crate) fn ping(&self) {
        let _ = self.watchdog.ping();
    }

    /// Ends it: a person is at work, or the system will not take it over.
    pub(crate) fn stop(self) {
        if let Err(e) = self.watchdog.stop() {
            console::warn(&e.to_string());
        }
    }

    /// Leaves it running for a system that pings it, and ends it for one that does not; says
    /// its name if it runs on.
    pub(crate) fn leave_to(self, root: &Path, line: &CommandLine) -> Option<String> {
        self.ping();
        if system_takes_over(root, line) {
            return Some(self.name);
        }
        self.stop();
        None
    }
}

/// Whether the system's settings name a time limit for the watchdog (`RuntimeWatchdogSec=`,
/// `systemd-system.conf(5)`; `systemd.watchdog_sec=`, `kernel-command-line(7)`).
fn system_takes_over(root: &Path, line: &CommandLine) -> bool {
    if let Some(value) = line.value("systemd.watchdog_sec") {
        return is_set(value);
    }
    let Ok(root) = Root::open(root) else {
        return false;
    };
    let mut texts = Vec::new();
    for main in ["usr/lib/systemd/system.conf", "etc/systemd/system.conf"] {
        texts.extend(root.read(Path::new(main), FILE).ok());
    }
    let mut parts = Vec::new();
    for folder in ["usr/lib/systemd/system.conf.d", "etc/systemd/system.conf.d"] {
        let names = root.list(Path::new(folder), 256).unwrap_or_default();
        parts.extend(names.into_iter().map(|name| (name, folder)));
    }
    // Later names win, whichever folder they are in; /etc hides a file of the same name.
    parts.sort();
    parts.dedup_by(|a, b| a.0 == b.0);
    for (name, folder) in &parts {
        texts.extend(root.read(&Path::new(folder).join(name), FILE).ok());
    }
    let mut set = false;
    for text in texts {
        for line in String::from_utf8_lossy(&text).lines() {
            if let Some(value) = line.trim().strip_prefix("RuntimeWatchdogSec=") {
                set = is_set(value);
            }
        }
    }
    set
}

fn is_set(value: &str) -> bool {
    !matches!(value.trim(), "" | "0" | "off" | "infinity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_last_setting_counts() {
        let dir = tempfile::tempdir().unwrap();
        let none = CommandLine::default();
        assert!(!system_takes_over(dir.path(), &none));
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "usr/lib/systemd/system.conf",
            "[Manager]\n#RuntimeWatchdogSec=off\n",
        );
        assert!(!system_takes_over(dir.path(), &none));
        write(
            "usr/lib/systemd/system.conf.d/50-elea.conf",
            "[Manager]\nRuntimeWatchdogSec=30s\n",
        );
        assert!(system_takes_over(dir.path(), &none));
        write(
            "etc/systemd/system.conf.d/50-elea.conf",
            "[Manager]\nRuntimeWatchdogSec=off\n",
        );
        assert!(
            !system_takes_over(dir.path(), &none),
            "the same name in /etc wins"
        );
        write(
            "usr/lib/systemd/system.conf.d/60-more.conf",
            "RuntimeWatchdogSec=1min\n",
        );
        assert!(system_takes_over(dir.path(), &none), "a later name wins");
        let off = CommandLine::parse("systemd.watchdog_sec=0");
        assert!(!system_takes_over(dir.path(), &off));
    }
}
