//! Whether the boot partition of the machine that is to run a config has room for another kernel.

use crate::config::{Config, Found};
use crate::lock::Lock;
use std::collections::BTreeMap;

/// The boot partition of a machine, and what it boots now.
#[derive(Debug, Clone)]
pub struct Room {
    /// Bytes free on it.
    pub free: u64,
    /// Bytes of the kernel and initrds that run.
    pub running: u64,
    /// Versions of the packages that run, by name.
    pub packages: BTreeMap<String, String>,
}

/// A kernel of another version and its initrd are about as large as those that run: what is smaller than three quarters of
/// them is an error, what is smaller than all of them a warning. The exact sizes are known once it is built, and are
/// looked at again then.
pub(super) fn look(config: &Config, lock: &Lock, room: &Room) -> Option<Found> {
    let name = &config.kernel.package;
    let is_kernel = |package: &str| package == name || package.starts_with("linux-image-");
    let mut kernels = lock.packages.iter().filter(|p| is_kernel(&p.name));
    let same = kernels.all(|p| room.packages.get(&p.name) == Some(&p.version));
    if same || room.free >= room.running {
        return None;
    }
    let mega = |bytes: u64| bytes.div_ceil(1_000_000);
    Some(Found {
        is_error: room.free < room.running / 4 * 3,
        keys: vec!["kernel.package".into()],
        what: format!(
            "the boot partition has {} MB free, and the kernel and initrd that run have {} MB: those of another version have no room",
            mega(room.free),
            mega(room.running)
        ),
        label: "another version of this".into(),
        help: Some(
            "unpin generations (`elea generations`), or remove files there that are not Elea's"
                .into(),
        ),
        ..Found::default()
    })
}
