//! `[update]`: the timer that upgrades.

use super::Rendered;
use super::units::FOLDER;
use crate::config::Config;

pub(super) fn render(config: &Config, out: &mut Rendered) {
    let Some(update) = &config.update else {
        return;
    };
    let Some(window) = update.window.as_ref().filter(|_| update.automatic) else {
        return;
    };
    let reboot = if update.reboot { " --reboot" } else { "" };
    let head =
        "# From [update] of the config.\n\n[Unit]\nDescription=Elea: take the newer release\n";
    let service = format!(
        "{head}ConditionPathExists=/run/elea/booted\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\nType=oneshot\nExecStart=/usr/bin/elea upgrade{reboot}\n"
    );
    // Not all machines of a fleet in the same minute.
    let timer = format!(
        "{head}\n[Timer]\nOnCalendar={window}\nRandomizedDelaySec=30min\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    );
    out.text("update", format!("{FOLDER}/elea-upgrade.service"), service);
    out.text("update", format!("{FOLDER}/elea-upgrade.timer"), timer);
    out.start("update", "elea-upgrade.timer");
}
