//! What another `/etc/fstab` needs. Its mounts are units that a generator makes, so they are not
//! in the folders of units.

use super::protect;
use super::state::Live;
use super::{Need, UnitAction, Verb};
use elea_formats::fstab::{self, Mount};
use elea_formats::unit::Name;
use std::collections::BTreeMap;

/// What is done with mounts.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// With units.
    pub(super) units: Vec<UnitAction>,
    /// Swap that is not used any more: what `swapoff(8)` takes.
    pub(super) swap_off: Vec<String>,
}

pub(super) fn mounts(old: &str, new: &str, live: &Live) -> Mounts {
    let (old, new) = (fstab::parse(old), fstab::parse(new));
    let mut mounts = Mounts::default();
    let swap = |list: &[Mount]| -> Vec<String> {
        let swap = list.iter().filter(|mount| mount.is_swap());
        swap.map(|mount| mount.what.clone()).collect()
    };
    let kept = swap(&new);
    mounts.swap_off = swap(&old)
        .into_iter()
        .filter(|what| !kept.contains(what))
        .collect();
    if kept.iter().any(|what| !swap(&old).contains(what)) {
        mounts.add("swap.target", Verb::Start, "/etc/fstab has new swap");
    }
    let (old, new) = (by_stem(old), by_stem(new));
    for (stem, mount) in &new {
        let unit = format!("{stem}.{}", kind(mount));
        let Some(before) = old.get(stem) else {
            if !mount.has("noauto") && !live.runs(&unit) {
                mounts.add(&unit, Verb::Start, "it is new in /etc/fstab");
            }
            continue;
        };
        let unit = format!("{stem}.mount");
        if !live.runs(&unit) || before == mount {
            continue;
        }
        if (&before.what, &before.kind) == (&mount.what, &mount.kind) {
            mounts.add(&unit, Verb::Reload, "its options in /etc/fstab changed");
        } else {
            mounts.touch(&unit, Verb::Restart, "what /etc/fstab mounts there changed");
        }
    }
    for (stem, mount) in old.iter().filter(|(stem, _)| !new.contains_key(*stem)) {
        // An automount would mount it again.
        let automount = format!("{stem}.{}", kind(mount));
        for unit in [automount, format!("{stem}.mount")] {
            let done = mounts.units.iter().any(|action| action.unit == unit);
            if live.runs(&unit) && !done {
                mounts.touch(&unit, Verb::Stop, "it is not in /etc/fstab any more");
            }
        }
    }
    mounts
}

fn by_stem(mounts: Vec<Mount>) -> BTreeMap<String, Mount> {
    let named = mounts.into_iter().filter_map(|m| Some((m.stem()?, m)));
    named.collect()
}

fn kind(mount: &Mount) -> &'static str {
    if mount.has("x-systemd.automount") {
        "automount"
    } else {
        "mount"
    }
}

impl Mounts {
    fn add(&mut self, unit: &str, verb: Verb, why: &str) {
        self.units.push(UnitAction {
            unit: unit.to_owned(),
            verb,
            why: why.to_owned(),
            needs: Need::Nothing,
        });
    }

    fn touch(&mut self, unit: &str, verb: Verb, why: &str) {
        let name = Name::parse(unit).ok();
        let protected = name.and_then(|name| protect::needs(&name, None, &[], false));
        match protected {
            None => self.add(unit, verb, why),
            Some((needs, because)) => self.units.push(UnitAction {
                unit: unit.to_owned(),
                verb: Verb::Skip,
                why: format!("{why}, but {because}"),
                needs,
            }),
        }
    }
}
