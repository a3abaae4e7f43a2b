//! A plan for people.

use super::{Need, Plan, Verb};
use elea_store::Kind;
use std::fmt;

/// The most paths that are shown.
const MAX_PATHS: usize = 40;

fn sign(kind: Kind) -> char {
    match kind {
        Kind::Added => '+',
        Kind::Removed => '-',
        Kind::Changed => '~',
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.etc.is_empty() && self.reasons.is_empty() && self.usr.is_none() {
            return writeln!(f, "Nothing changes.");
        }
        let packages = &self.packages;
        for package in &packages.added {
            writeln!(f, "package  + {} {}", package.name, package.version)?;
        }
        for package in &packages.removed {
            writeln!(f, "package  - {} {}", package.name, package.version)?;
        }
        for package in &packages.changed {
            writeln!(
                f,
                "package  ~ {} {} → {}",
                package.name, package.from, package.to
            )?;
        }
        for account in &self.accounts {
            writeln!(
                f,
                "{:<8} {} {}",
                account.account,
                sign(account.kind),
                account.name
            )?;
        }
        for change in self.etc.iter().take(MAX_PATHS) {
            write!(f, "file     {} {}", sign(change.kind), change.path)?;
            if change.fields.is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, " ({})", change.fields.join(", "))?;
            }
        }
        if self.etc.len() > MAX_PATHS {
            writeln!(
                f,
                "file     and {} more in /etc",
                self.etc.len() - MAX_PATHS
            )?;
        }
        if let Some(usr) = &self.usr {
            writeln!(
                f,
                "usr      {} paths come, {} go, {} change",
                usr.added, usr.removed, usr.changed
            )?;
            if usr.keeps_modules {
                writeln!(
                    f,
                    "usr      /usr/lib/modules stays that of the kernel that runs"
                )?;
            }
        } else if self.others > 0 {
            writeln!(f, "file     {} outside /etc", self.others)?;
        }
        for action in &self.units {
            let verb = match action.verb {
                Verb::Stop => "stop",
                Verb::Reload => "reload",
                Verb::Restart => "restart",
                Verb::Start => "start",
                Verb::Skip => "leave",
            };
            writeln!(f, "{verb:<8} {}: {}", action.unit, action.why)?;
        }
        if !self.left_behind.is_empty() {
            let list = self.left_behind.join(", ");
            writeln!(
                f,
                "With mounts of their own, these may see the old {} until they are restarted: {list}",
                if self.usr.is_some() {
                    "/etc and /usr"
                } else {
                    "/etc"
                }
            )?;
        }
        if self.bytes > 0 {
            writeln!(f, "{} bytes are new.", self.bytes)?;
        }
        let all = if self.steps.is_empty() {
            "All of it"
        } else {
            "The rest"
        };
        match self.needs {
            Need::Nothing => writeln!(f, "Nothing has to be restarted beyond that."),
            Need::Relogin => writeln!(f, "{all} takes effect at the next login."),
            Need::SoftReboot => writeln!(
                f,
                "{all} needs every program to start anew, which a reboot does:"
            ),
            Need::Reboot => writeln!(f, "{all} needs a reboot:"),
        }?;
        for reason in &self.reasons {
            writeln!(f, "  {}", reason.why)?;
        }
        Ok(())
    }
}
