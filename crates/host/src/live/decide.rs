//! What each unit needs.

mod changed;
mod difference;

use super::order::{order, wakers_first};
use super::protect::{self, Need};
use super::state::Live;
use super::units::{BadUnit, Definition, Found, Units};
use difference::Change;
use elea_formats::unit::{Difference, Kind, Name, Unit};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What is done with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Before the files change, so that it is stopped as it was started.
    Stop,
    /// After the files have changed.
    Reload,
    /// After the reloads.
    Restart,
    /// After the restarts.
    Start,
    /// It changed and is left as it runs.
    Skip,
}

/// What is done with one unit, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitAction {
    /// The unit.
    pub unit: String,
    /// What is done.
    pub verb: Verb,
    /// Why, for people.
    pub why: String,
    /// What it takes for a skipped unit to change too.
    #[serde(default, skip_serializing_if = "Need::is_nothing")]
    pub needs: Need,
}

/// A configuration whose units cannot be switched to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A unit that runs would not load any more.
    #[error("the new configuration has a unit that systemd does not load: {0}; correct the file")]
    BadUnit(#[from] BadUnit),
}

/// What is done with the units that run so that they become those of `new`: all stops, then all
/// reloads, restarts and starts, each in an order that the units' own `After=` and `Requires=`
/// give, then what is left alone. Between the stops and the rest the files change and the manager
/// reads them. `replaced` are services whose own text may be the same, but whose program is another one,
/// with its path; `paths` are all that changed, for units that say what they read.
pub fn plan_units(
    old: &Units,
    new: &Units,
    live: &Live,
    replaced: &BTreeMap<String, String>,
    paths: &[&str],
) -> Result<Vec<UnitAction>, Error> {
    let mut plan = Decisions {
        old,
        new,
        live,
        replaced,
        paths,
        stop_with: BTreeMap::new(),
        done: BTreeMap::new(),
    };
    let mut changed = Vec::new();
    for (name, active) in live.running() {
        let Ok(name) = Name::parse(name) else {
            continue;
        };
        if !active.passing && !matches!(name.kind(), Kind::Device | Kind::Scope) {
            plan.look_at(name, &mut changed)?;
        }
    }
    for change in changed {
        plan.changed(&change);
    }
    plan.enabled()?;
    plan.disabled();
    plan.dependents();
    Ok(plan.ordered())
}

/// The verbs of each unit, with their reasons.
struct Decisions<'a> {
    old: &'a Units,
    new: &'a Units,
    live: &'a Live,
    replaced: &'a BTreeMap<String, String>,
    paths: &'a [&'a str],
    /// The running units that stop with a unit, one step far.
    stop_with: BTreeMap<String, BTreeSet<String>>,
    done: BTreeMap<(Verb, String), (String, Need)>,
}

impl Decisions<'_> {
    fn set(&mut self, verb: Verb, unit: &str, why: impl Into<String>) {
        let key = (verb, unit.to_owned());
        self.done.entry(key).or_insert((why.into(), Need::Nothing));
    }

    fn has(&self, verb: Verb, unit: &str) -> bool {
        self.done.contains_key(&(verb, unit.to_owned()))
    }

    fn unset(&mut self, verb: Verb, unit: &str) {
        self.done.remove(&(verb, unit.to_owned()));
    }

    fn all(&self, verb: Verb) -> BTreeSet<String> {
        let mine = self.done.keys().filter(|(v, _)| *v == verb);
        mine.map(|(_, unit)| unit.clone()).collect()
    }

    /// Leaves a unit as it runs, whatever was decided before.
    fn skip(&mut self, unit: &str, why: impl Into<String>, needs: Need) {
        for verb in [Verb::Stop, Verb::Reload, Verb::Restart, Verb::Start] {
            self.unset(verb, unit);
        }
        let key = (Verb::Skip, unit.to_owned());
        self.done.insert(key, (why.into(), needs));
    }

    fn protected(&self, name: &Name, unit: Option<&Unit>) -> Option<(Need, &'static str)> {
        let aliases = self.old.aliases(name.as_str());
        let own = self.live.own.contains(name.as_str());
        protect::needs(name, unit, &aliases, own)
    }

    fn look_at(&mut self, name: Name, changed: &mut Vec<Change>) -> Result<(), Error> {
        let old = match self.old.get(name.as_str()) {
            Ok(Found::Defined(old)) => Some(Rc::clone(&old.unit)),
            // It was never of this configuration: nothing is known of it.
            Ok(Found::Missing | Found::Masked) => return Ok(()),
            // What is broken now may be corrected by the new configuration.
            Err(_) => None,
        };
        let new = match self.new.get(name.as_str())? {
            Found::Defined(new) => Rc::clone(&new.unit),
            Found::Missing => {
                self.removed(&name, old.as_deref(), "it is not in the new configuration");
                return Ok(());
            }
            Found::Masked => {
                self.removed(
                    &name,
                    old.as_deref(),
                    "it is masked in the new configuration",
                );
                return Ok(());
            }
        };
        if name.kind() == Kind::Target {
            self.target(&name, &new);
            return Ok(());
        }
        let old = old.unwrap_or_default();
        let (difference, cause) = self.difference(&name, &old, &new);
        if difference >= Difference::Reload {
            changed.push(Change {
                name,
                difference,
                cause,
                old,
                new,
            });
        }
        Ok(())
    }

    fn removed(&mut self, name: &Name, old: Option<&Unit>, why: &str) {
        if let Some((needs, because)) = self.protected(name, old) {
            self.skip(name.as_str(), format!("{why}, and {because}"), needs);
        } else if old.is_some_and(|old| !option(old, "X-StopOnRemoval", true)) {
            let why = format!("{why}, and X-StopOnRemoval=false");
            self.skip(name.as_str(), why, Need::Nothing);
        } else {
            self.set(Verb::Stop, name.as_str(), why);
        }
    }

    fn target(&mut self, name: &Name, new: &Unit) {
        // A target that is stopped takes all with it that is part of it: only where it asks for it.
        if new.is("Unit", "X-StopOnReconfiguration", false) {
            let why = "X-StopOnReconfiguration=true";
            self.set(Verb::Stop, name.as_str(), why);
            if may_start(new) {
                self.set(Verb::Start, name.as_str(), why);
            }
        }
    }

    /// Units that running targets pull in: those that came, and those that changed and do not
    /// run (they failed, or had nothing to do).
    fn enabled(&mut self) -> Result<(), Error> {
        let targets: Vec<String> = self.running_targets();
        let same = self.old.are(self.new);
        for target in targets {
            let wants = self.new.wants(&target);
            let before = (!same).then(|| self.old.wants(&target));
            for unit in &wants {
                if self.live.runs(unit) {
                    continue;
                }
                let kind = Name::parse(unit).map(|name| name.kind());
                if !matches!(kind, Ok(kind) if !matches!(kind, Kind::Device | Kind::Scope)) {
                    continue;
                }
                let Found::Defined(new) = self.new.get(unit)? else {
                    continue;
                };
                let is_new = before.as_ref().is_some_and(|before| !before.contains(unit));
                let why = if is_new {
                    format!("{target} wants it now")
                } else if self.differs(unit, &new) {
                    "it changed, and did not run".to_owned()
                } else {
                    continue;
                };
                if may_start(&new.unit) {
                    self.set(Verb::Start, unit, why);
                }
            }
        }
        Ok(())
    }

    fn differs(&self, unit: &str, new: &Definition) -> bool {
        let old = self.old.unit(unit);
        old.is_none_or(|old| old.compare(&new.unit) >= Difference::Reload)
            || self.reads_other(&new.unit)
    }

    fn running_targets(&self) -> Vec<String> {
        let targets = self.live.running().map(|(name, _)| name.to_owned());
        targets
            .filter(|name| name.ends_with(".target") && !stops_the_machine(name))
            .collect()
    }

    /// Units that run because a link enabled them, which is gone, while nothing else wants them.
    fn disabled(&mut self) {
        if self.old.are(self.new) {
            return;
        }
        let targets = self.running_targets();
        let linked = |units: &Units| -> BTreeSet<String> {
            targets.iter().flat_map(|t| units.linked(t)).collect()
        };
        let gone: Vec<String> = linked(self.old)
            .difference(&linked(self.new))
            .cloned()
            .collect();
        let gone: Vec<String> = gone.into_iter().filter(|u| self.live.runs(u)).collect();
        if gone.is_empty() {
            return;
        }
        let wanted: BTreeSet<String> = self
            .live
            .running()
            .filter(|(name, _)| !gone.iter().any(|g| g == name))
            .flat_map(|(name, _)| {
                let mut wanted = self.new.wants(name);
                wanted.extend(self.new.triggers(name));
                wanted
            })
            .collect();
        for unit in gone.into_iter().filter(|unit| !wanted.contains(unit)) {
            let touched = self.done.keys().any(|(_, done)| *done == unit);
            let ours = self.is_ours(&unit);
            if let (Ok(name), true) = (Name::parse(&unit), ours)
                && (!touched
                    || self.has(Verb::Stop, &unit)
                    || self.has(Verb::Restart, &unit)
                    || self.has(Verb::Reload, &unit))
            {
                for verb in [Verb::Reload, Verb::Restart, Verb::Start] {
                    self.unset(verb, &unit);
                }
                let old = self.old.unit(&unit);
                self.removed(&name, old.as_deref(), "it is not enabled any more");
            }
        }
    }

    /// What runs only with units that are stopped is stopped by systemd with them, and has to be
    /// started again; and what must not be touched keeps what it needs.
    fn dependents(&mut self) {
        let touched = [Verb::Stop, Verb::Restart].map(|verb| self.all(verb));
        if touched.iter().all(BTreeSet::is_empty) {
            return;
        }
        for (name, _) in self.live.running() {
            for stopped in self.old.stops_with(name) {
                let names = self.stop_with.entry(stopped).or_default();
                names.insert(name.to_owned());
            }
        }
        let [stopped, restarted] = touched;
        for unit in stopped.into_iter().chain(restarted) {
            let dependents = self.stopped_with(&unit);
            let kept = dependents.iter().find_map(|dependent| {
                let name = Name::parse(dependent).ok()?;
                let (needs, _) = self.protected(&name, self.old.unit(dependent).as_deref())?;
                Some((dependent.clone(), needs))
            });
            if let Some((dependent, needs)) = kept {
                let why = format!("{dependent} would be stopped with it");
                self.skip(&unit, why, needs.max(Need::Relogin));
            }
        }
        for unit in self.all(Verb::Stop) {
            for dependent in self.stopped_with(&unit) {
                if self.has(Verb::Stop, &dependent) || self.has(Verb::Skip, &dependent) {
                    continue;
                }
                self.unset(Verb::Reload, &dependent);
                self.unset(Verb::Restart, &dependent);
                let Ok(Found::Defined(new)) = self.new.get(&dependent) else {
                    continue;
                };
                let has = |unit: &String| matches!(self.new.get(unit), Ok(Found::Defined(_)));
                let whole = self
                    .new
                    .requires(&dependent)
                    .iter()
                    .all(|required| has(required) || !self.is_ours(required));
                if whole && may_start(&new.unit) {
                    let why = format!("{unit} is stopped, and it with that");
                    self.set(Verb::Start, &dependent, why);
                }
            }
        }
    }

    /// Whether a unit is loaded of a file of the old configuration.
    fn is_ours(&self, unit: &str) -> bool {
        let loaded = self.live.units.get(unit);
        loaded.is_some_and(|unit| !unit.passing) && self.old.get(unit) != Ok(Found::Missing)
    }

    /// The running units that systemd stops when it stops this one.
    fn stopped_with(&self, unit: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![unit.to_owned()];
        while let Some(stopped) = open.pop() {
            for name in self.stop_with.get(&stopped).into_iter().flatten() {
                if name != unit && found.insert(name.clone()) {
                    open.push(name.clone());
                }
            }
        }
        found
    }

    fn ordered(self) -> Vec<UnitAction> {
        let mut actions = Vec::new();
        for verb in [
            Verb::Stop,
            Verb::Reload,
            Verb::Restart,
            Verb::Start,
            Verb::Skip,
        ] {
            let units = self.all(verb);
            let mut units = match verb {
                Verb::Stop => order(&units, self.old),
                _ => order(&units, self.new),
            };
            if verb == Verb::Stop {
                units.reverse();
                wakers_first(&mut units, |unit| unit);
            }
            for unit in units {
                let (why, needs) = self.done[&(verb, unit.clone())].clone();
                actions.push(UnitAction {
                    unit,
                    verb,
                    why,
                    needs,
                });
            }
        }
        actions
    }
}

/// An option of ours, which NixOS has in `[Service]` and in `[Unit]`.
fn option(unit: &Unit, key: &str, default: bool) -> bool {
    let inner = unit.is("Service", key, default);
    unit.is("Unit", key, inner)
}

/// Whether it may be started by somebody other than its own dependents.
fn may_start(unit: &Unit) -> bool {
    !unit.is("Unit", "RefuseManualStart", false) && !option(unit, "X-OnlyManualStart", false)
}

/// Targets that are active for a moment, and whose wants nobody should start.
fn stops_the_machine(target: &str) -> bool {
    const TARGETS: &[&str] = &[
        "emergency.target",
        "exit.target",
        "final.target",
        "halt.target",
        "hibernate.target",
        "hybrid-sleep.target",
        "initrd.target",
        "kexec.target",
        "poweroff.target",
        "reboot.target",
        "rescue.target",
        "shutdown.target",
        "sleep.target",
        "soft-reboot.target",
        "suspend-then-hibernate.target",
        "suspend.target",
        "umount.target",
    ];
    TARGETS.contains(&target)
}
