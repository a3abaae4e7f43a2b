//! Everything that can be found wrong before anything is resolved, built or written: the config itself, its units as
//! systemd reads them, its lock, the owners of its files, the machine that is to build it, and the boot partition of the one that is to run it. All of it is one list.

mod accounts;
mod lock;
mod room;
mod units;
mod verified;

pub use room::Room;

use crate::config::{self, Config, Findings, Found};
use crate::lock::request;
use std::path::Path;

/// What is going to be done.
#[derive(Debug, Clone, Copy, Default)]
pub struct Purpose<'a> {
    /// The specialisation that is meant; none for the system itself.
    pub special: Option<&'a str>,
    /// The lock must hold as it is.
    pub locked: bool,
    /// What the lock lacks will be resolved: that it does not fit is no news.
    pub resolves: bool,
    /// Packages are to be unpacked and configured on this machine.
    pub builds: bool,
    /// The boot partition that a kernel of it is to go to.
    pub room: Option<&'a Room>,
    /// A folder for what programs said of units before; none keeps nothing.
    pub kept: Option<&'a Path>,
}

/// Reads a config and looks at all that goes with it.
///
/// # Errors
/// Everything that is wrong at once, and the warnings.
pub fn preflight(path: &Path, purpose: Purpose<'_>) -> Result<Config, Findings> {
    let (config, mut found) = config::read(path);
    let Some(mut config) = config else {
        return Err(found);
    };
    if let Some(name) = purpose.special {
        config = config.specialised(name)?;
    }
    let of_units = units::files(&config);
    let mut more = units::look(&of_units, purpose.kept);
    for special in config.specialisation.values() {
        let of_special = units::files(special);
        if of_special != of_units {
            found = found.and(special.found(units::look(&of_special, purpose.kept)));
        }
        // One that asks the same of archives has the system's lock.
        if request(special) != request(&config) {
            let mut of_lock = Vec::new();
            let lock = lock::look(special, purpose, &mut of_lock);
            accounts::look(special, lock.as_ref(), &mut of_lock);
            found = found.and(special.found(of_lock));
        }
    }
    let lock = lock::look(&config, purpose, &mut more);
    accounts::look(&config, lock.as_ref(), &mut more);
    if let (Some(lock), Some(room)) = (&lock, purpose.room) {
        more.extend(room::look(&config, lock, room));
    }
    if purpose.builds {
        more.extend(machine(&config.base.architecture, std::env::consts::ARCH));
    }
    found = found.and(config.found(more));
    if found.errors().is_empty() {
        config.warnings = found;
        Ok(config)
    } else {
        Err(found)
    }
}

/// Debian's names for what Rust calls the architecture of a machine.
const ARCHITECTURES: [(&str, &str); 3] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("riscv64", "riscv64"),
];

/// What is wrong with building for `wanted` on a machine that is a `this`.
fn machine(wanted: &str, this: &str) -> Option<Found> {
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == wanted);
    if known.is_some_and(|(_, name)| *name == this) {
        return None;
    }
    let named = ARCHITECTURES.iter().find(|(_, name)| *name == this);
    let this = named.map_or(this, |(name, _)| name);
    Some(Found {
        is_error: true,
        keys: vec!["base.architecture".into()],
        what: format!("the config is for {wanted}, and this machine is {this}"),
        label: "another architecture".into(),
        help: Some(format!(
            "build it on a machine that is {wanted}: its packages are configured by their own programs"
        )),
        ..Found::default()
    })
}

#[cfg(test)]
mod tests;
