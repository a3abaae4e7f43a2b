//! The whole change of a running system, as one value: shown, carried out, logged and undone.

mod outside;
mod text;

use super::effects::{self, Helper};
use super::manager::{is_dated, reads_anew};
use super::mounts::mounts;
use super::namespaces;
use super::order::wakers_first;
use super::state::Live;
use super::units::Units;
use super::{Error, Need, UnitAction, Verb, plan_units};
use crate::diff::Packages;
use elea_formats::digest::{Digest, Sha256};
use elea_store::{Change, Kind};
pub(in crate::live) use outside::is_of;
pub use outside::{Over, Usr};
use outside::{is_manager, outside, usr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The value of `schema`. (`elea.plan/1` is the plan of a generation.)
pub const SCHEMA: &str = "elea.live-plan/1";

/// What boots of a configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boot {
    /// The kernel.
    pub kernel: Option<Sha256>,
    /// The initrds.
    pub initrds: Vec<Sha256>,
    /// Kernel arguments without those that name image and generation.
    pub arguments: String,
}

/// One of the two configurations.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Its units.
    pub units: Units,
    /// What boots.
    pub boot: Boot,
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
    /// `/etc/fstab`.
    pub fstab: String,
}

/// What differs between the trees of the two.
#[derive(Debug, Clone, Default)]
pub struct Differences {
    /// Paths, as [`elea_store::diff`] tells them.
    pub files: Vec<Change>,
    /// Packages.
    pub packages: Packages,
    /// Bytes of objects that only the new one has.
    pub bytes: u64,
    /// The exchange of `/usr`, if it is asked for and would make a difference.
    pub over: Option<Over>,
}

/// A user or a group that comes, goes or changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// `user` or `group`.
    pub account: &'static str,
    /// The name.
    pub name: String,
    /// How.
    pub kind: Kind,
}

/// Why more than the switch itself is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What is needed.
    pub needs: Need,
    /// Why.
    pub why: String,
}

/// One step of the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Something is done with a unit, and the end of the job is waited for.
    Unit {
        /// The unit.
        unit: String,
        /// What.
        verb: Verb,
    },
    /// Swap is given back.
    SwapOff {
        /// Its device or file.
        what: String,
    },
    /// `/usr` becomes that of another image: mounted over the one that was booted, or that one again.
    Usr {
        /// The image whose `/usr` showed before.
        from: Digest,
        /// The image whose `/usr` is to show.
        to: Digest,
    },
    /// `/etc` becomes the new one.
    Files,
    /// The manager reads its units again.
    DaemonReload,
    /// The manager starts anew, keeping what runs, and reads its configuration.
    DaemonReexec,
    /// A program makes what files declare.
    Helper {
        /// Which.
        helper: Helper,
    },
}

impl Step {
    /// Whether it exchanges `/usr` or `/etc`.
    pub(super) fn is_tree(&self) -> bool {
        matches!(self, Self::Usr { .. } | Self::Files)
    }
}

/// The whole change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// What it takes until all of the new configuration runs.
    pub needs: Need,
    /// Why, the largest need first.
    pub reasons: Vec<Reason>,
    /// Files and folders of `/etc` that come, go or change; times alone are no change.
    pub etc: Vec<Change>,
    /// How many paths outside `/etc` do.
    pub others: usize,
    /// What becomes of `/usr` now; none if it stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usr: Option<Usr>,
    /// Packages.
    pub packages: Packages,
    /// Users and groups.
    pub accounts: Vec<Account>,
    /// Units.
    pub units: Vec<UnitAction>,
    /// Running services with mounts of their own that are left alone: they may go on seeing the
    /// old `/etc` and `/usr` until they are restarted.
    pub left_behind: Vec<String>,
    /// Bytes of objects that only the new one has.
    pub bytes: u64,
    /// What is done now, in order. Empty if all of it waits for a restart.
    pub steps: Vec<Step>,
}

/// Plans how what runs becomes `new`. Where something differs that is not switched, or what boots
/// while `/usr` stays, nothing is done to the running system, and a restart does it all.
pub fn plan(old: &Side, new: &Side, differences: Differences, live: &Live) -> Result<Plan, Error> {
    let Differences {
        files,
        packages,
        bytes,
        over,
    } = differences;
    let (times, files): (Vec<Change>, Vec<Change>) = files
        .into_iter()
        .partition(|change| change.kind == Kind::Changed && change.fields == ["mtime"]);
    let (etc, others): (Vec<Change>, Vec<Change>) = files
        .into_iter()
        .partition(|change| is_of(&change.path, "/etc"));
    let mut reasons = boot_reasons(&old.boot, &new.boot);
    // What ELF files and units mean together, only all of /usr changes at once.
    let mut waits = over.is_none() && !reasons.is_empty();
    let outside = outside(&others, over.is_some());
    waits |= outside.iter().any(|(waits, _)| *waits);
    reasons.extend(outside.into_iter().map(|(_, reason)| reason));
    let usr = over
        .as_ref()
        .filter(|_| !waits)
        .map(|over| usr(&others, over));
    let mut units = Vec::new();
    let mut steps = Vec::new();
    let mut left_behind = Vec::new();
    if !waits && (!etc.is_empty() || usr.is_some()) {
        let live_usr = others
            .iter()
            .filter(|change| usr.is_some() && is_of(&change.path, "/usr"));
        let paths: Vec<&str> = etc
            .iter()
            .chain(live_usr)
            .map(|change| change.path.as_str())
            .collect();
        let mounts = mounts(&old.fstab, &new.fstab, live);
        let replaced = usr
            .as_ref()
            .map(|usr| live.runs_from(&usr.replaced))
            .unwrap_or_default();
        units = plan_units(&old.units, &new.units, live, &replaced, &paths)?;
        let beside = effects::daemons(&paths, live, &units);
        units.extend(mounts.units);
        units.extend(beside);
        // Mounts stop after what uses them and start before it.
        let mounted = |unit: &str| [".mount", ".automount"].iter().any(|e| unit.ends_with(e));
        let late = |action: &UnitAction| action.verb != Verb::Stop && !mounted(&action.unit);
        units.sort_by_key(|action| (action.verb, late(action)));
        left_behind = namespaces::left_behind(&old.units, live, &units);
        // A manager of another version is not taken back: that it starts anew is left to a restart.
        let manager = usr
            .as_ref()
            .and_then(|usr| usr.replaced.iter().find(|path| is_manager(path)));
        reasons.extend(manager.map(|path| Reason {
            needs: Need::SoftReboot,
            why: format!("{path} differs, and process 1 goes on as it is"),
        }));
        steps = stopped_beside(&units, &old.units, live);
        let exchange = over
            .as_ref()
            .filter(|_| usr.is_some())
            .map(|over| Step::Usr {
                from: over.from,
                to: over.to,
            });
        let anew = manager.is_none() && paths.iter().any(|path| effects::is_managers(path));
        let read = if anew {
            Some(Step::DaemonReexec)
        } else {
            let anew = times.iter().any(|change| is_dated(&change.path))
                || reads_anew(&old.units, &new.units, &paths, live);
            anew.then_some(Step::DaemonReload)
        };
        let trees = exchange.into_iter().chain([Step::Files]).chain(read);
        steps.extend(list(&units, &paths, mounts.swap_off, trees));
    }
    for action in units.iter().filter(|action| action.needs != Need::Nothing) {
        reasons.push(Reason {
            needs: action.needs,
            why: format!("{}: {}", action.unit, action.why),
        });
    }
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.needs));
    let accounts = [
        ("user", &old.passwd, &new.passwd),
        ("group", &old.group, &new.group),
    ];
    Ok(Plan {
        schema: SCHEMA,
        needs: reasons.first().map_or(Need::Nothing, |first| first.needs),
        reasons,
        accounts: accounts
            .into_iter()
            .flat_map(|(kind, a, b)| account(kind, a, b))
            .collect(),
        etc,
        others: others.len(),
        usr,
        packages,
        units,
        left_behind,
        bytes,
        steps,
    })
}

impl Plan {
    /// The same change, all of it at the next boot.
    #[must_use]
    pub fn at_boot(mut self) -> Self {
        self.steps.clear();
        self.units.clear();
        self.left_behind.clear();
        self.usr = None;
        self.reasons = vec![Reason {
            needs: Need::Reboot,
            why: "nothing is to be done live".into(),
        }];
        self.needs = Need::Reboot;
        self
    }
}

/// Stops of units that systemd would stop with others anyway, and that are started again: as steps
/// of their own, so that the way back starts them too.
fn stopped_beside(units: &[UnitAction], old: &Units, live: &Live) -> Vec<Step> {
    let stopped = |unit: &str| units.iter().any(|a| a.verb == Verb::Stop && a.unit == unit);
    let starts = units
        .iter()
        .rev()
        .filter(|action| action.verb == Verb::Start);
    let beside = starts.filter(|action| live.runs(&action.unit) && !stopped(&action.unit));
    let refuses = |unit: &str| {
        old.unit(unit)
            .is_some_and(|u| u.is("Unit", "RefuseManualStop", false))
    };
    beside
        .filter(|action| !refuses(&action.unit))
        .map(|action| Step::Unit {
            unit: action.unit.clone(),
            verb: Verb::Stop,
        })
        .collect()
}

/// Stops; then the files, and those who read them; then reloads, restarts and starts.
fn list(
    units: &[UnitAction],
    paths: &[&str],
    swap_off: Vec<String>,
    trees: impl Iterator<Item = Step>,
) -> Vec<Step> {
    let of = |wanted: fn(Verb) -> bool| {
        let mine = units.iter().filter(move |action| wanted(action.verb));
        mine.map(|action| Step::Unit {
            unit: action.unit.clone(),
            verb: action.verb,
        })
    };
    let mut steps: Vec<Step> = of(|verb| verb == Verb::Stop).collect();
    steps.extend(swap_off.into_iter().map(|what| Step::SwapOff { what }));
    steps.extend(trees);
    let helpers = effects::helpers(paths.iter().copied());
    steps.extend(helpers.into_iter().map(|helper| Step::Helper { helper }));
    steps.extend(of(|verb| !matches!(verb, Verb::Stop | Verb::Skip)));
    steps
}

fn boot_reasons(old: &Boot, new: &Boot) -> Vec<Reason> {
    let parts = [
        (old.kernel != new.kernel, "the kernel differs"),
        (old.initrds != new.initrds, "the initrd differs"),
        (
            old.arguments != new.arguments,
            "the kernel's arguments differ",
        ),
    ];
    let differ = parts.into_iter().filter(|(differs, _)| *differs);
    differ
        .map(|(_, why)| Reason {
            needs: Need::Reboot,
            why: why.to_owned(),
        })
        .collect()
}

fn account(account: &'static str, old: &str, new: &str) -> Vec<Account> {
    let records = |text: &str| -> BTreeMap<String, String> {
        let named = text.lines().filter_map(|line| line.split_once(':'));
        named
            .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
            .collect()
    };
    let (old, new) = (records(old), records(new));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let changes = names.into_iter().filter_map(|name| {
        let kind = match (old.get(name), new.get(name)) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            (old, new) if old != new => Kind::Changed,
            _ => return None,
        };
        Some(Account {
            account,
            name: name.clone(),
            kind,
        })
    });
    changes.collect()
}

/// The steps that take back what some steps did, in the order in which it is done: what was
/// started stops, the files go back, and what was reloaded, restarted or stopped is again as it was.
///
/// Each step may be repeated, so a step that may or may not have been done is given as done.
/// A step backwards is not the mirror of the order forwards: a unit can be restarted as it was
/// only once its files are.
pub fn undo(done: &[Step]) -> Vec<Step> {
    let unit = |step: &Step, wanted: Verb, verb: Verb| {
        match step {
            Step::Unit { unit, verb } if *verb == wanted => Some(unit.clone()),
            _ => None,
        }
        .map(|unit| Step::Unit { unit, verb })
    };
    let back = |wanted: Verb, verb: Verb| -> Vec<Step> {
        let steps = done.iter().rev();
        let mut steps: Vec<Step> = steps.filter_map(|step| unit(step, wanted, verb)).collect();
        if matches!(verb, Verb::Start | Verb::Stop) {
            wakers_first(&mut steps, |step| match step {
                Step::Unit { unit, .. } => unit.as_str(),
                _ => "",
            });
        }
        steps
    };
    let mut steps = back(Verb::Start, Verb::Stop);
    // What was stopped and started again is stopped now, and started at the end.
    let trees = done.iter().filter(|step| step.is_tree());
    let trees: Vec<Step> = trees.cloned().collect();
    if !trees.is_empty() {
        steps.extend(trees);
        let reads = |step: &&Step| matches!(step, Step::DaemonReexec | Step::DaemonReload);
        // What follows the trees without it follows a plan that has none. Before that nobody knows.
        let unknown = done.last().is_some_and(Step::is_tree);
        let read = done.iter().find(reads).cloned();
        steps.extend(read.or_else(|| unknown.then_some(Step::DaemonReload)));
        let helpers = done
            .iter()
            .filter(|step| matches!(step, Step::Helper { .. }));
        steps.extend(helpers.cloned());
        steps.extend(back(Verb::Reload, Verb::Reload).into_iter().rev());
        steps.extend(back(Verb::Restart, Verb::Restart).into_iter().rev());
    }
    if done.iter().any(|step| matches!(step, Step::SwapOff { .. })) {
        let unit = "swap.target".to_owned();
        let verb = Verb::Start;
        steps.push(Step::Unit { unit, verb });
    }
    steps.extend(back(Verb::Stop, Verb::Start));
    steps
}
