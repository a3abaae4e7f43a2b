//! `[timers.NAME]`: a service that runs the command, and the timer that starts it.

use super::Rendered;
use super::units::{FOLDER, command};
use crate::config::Config;
use std::fmt::Write as _;

pub(super) fn render(config: &Config, out: &mut Rendered) {
    for (name, timer) in &config.timers {
        let key = format!("timers.{}", crate::config::quoted(name));
        let head = format!("# From [{key}] of the config.\n");
        let service = format!(
            "{head}\n[Unit]\nDescription={name}\n\n[Service]\nType=oneshot\nUser={}\nExecStart={}\n",
            timer.user,
            command(&timer.command)
        );
        let mut text = format!(
            "{head}\n[Unit]\nDescription={name}, at its time\n\n[Timer]\nOnCalendar={}\nPersistent={}\n",
            timer.calendar, timer.persistent
        );
        // Writing to a string does not fail.
        if let Some(delay) = &timer.delay {
            let _ = writeln!(text, "RandomizedDelaySec={delay}");
        }
        text.push_str("\n[Install]\nWantedBy=timers.target\n");
        out.text(&key, format!("{FOLDER}/{name}.service"), service);
        out.text(&key, format!("{FOLDER}/{name}.timer"), text);
        out.start(&key, format!("{name}.timer"));
    }
}
