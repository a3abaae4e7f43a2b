//! What is kept and what goes. Only ever after a commit (invariant 4).

use super::{Plan, Step, record};
use crate::view::{State, View};
use elea_formats::bls::{Entry, Owner};
use elea_formats::digest::Sha256;
use elea_formats::oplog::Event;
use std::collections::{BTreeMap, BTreeSet};

/// How many good generations are kept.
pub(crate) const GOOD: usize = 2;
/// Of how many failed generations manifest and evidence are kept.
pub(crate) const FAILED: usize = 10;

/// Why a generation is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// It runs.
    Booted,
    /// One of the last good ones.
    Good,
    /// A person keeps it.
    Pinned,
    /// It waits for its boot or has tries left.
    Waiting,
    /// Its `/etc` was running last.
    LastRun,
    /// It failed after the last commit, so that it can be looked at and tried again.
    Failed,
    /// The rescue entry has its kernel.
    Rescue,
    /// The generation that it is a specialisation of is kept.
    Beside,
}

/// The generations that stay, and why.
pub fn keep(view: &View, booted: Option<u64>) -> BTreeMap<u64, Keep> {
    let mut kept = BTreeMap::new();
    let mut add = |number, why| {
        kept.entry(number).or_insert(why);
    };
    if let Some(number) = booted {
        add(number, Keep::Booted);
    }
    let good: Vec<u64> = view.entries.good().rev().collect();
    for number in good.iter().take(GOOD) {
        add(*number, Keep::Good);
    }
    let newest_good = good.first().copied().unwrap_or(0);
    for (&number, folder) in &view.generations {
        if folder.pinned {
            add(number, Keep::Pinned);
        }
        // Those go with the generation that they stand beside, below.
        if view.stands_beside(number).is_some() {
            continue;
        }
        match view.state(number, booted) {
            State::Staged | State::Trying => add(number, Keep::Waiting),
            State::Failed | State::Vanished if number > newest_good => add(number, Keep::Failed),
            _ => {}
        }
    }
    if let Some(number) = view.last_run {
        add(number, Keep::LastRun);
    }
    let rescue = view.entries.own.get(&Owner::Rescue);
    let rescue = rescue.and_then(|own| Entry::parse(&own.text).ok());
    if let Some(number) = rescue.and_then(|e| e.version?.parse().ok()) {
        add(number, Keep::Rescue);
    }
    let numbers: Vec<u64> = view.generations.keys().copied().collect();
    for number in numbers {
        let of = view.stands_beside(number);
        let alive = view.entries.generation(number).is_some();
        if alive && of.is_some_and(|of| kept.contains_key(&of)) {
            kept.entry(number).or_insert(Keep::Beside);
        }
    }
    kept
}

/// Removes the generations that need not be kept. The entries go first, then the
/// folders, then the payloads that no entry names any more. Empty unless the running
/// generation is good and the log says so.
pub fn collect(view: &View, booted: Option<u64>) -> Plan {
    let what = "remove generations that are not needed";
    let committed =
        |number: u64| view.state(number, None) == State::Good && view.was_committed(number);
    if !booted.is_some_and(committed) {
        return Plan::new(what, Vec::new());
    }
    let kept = keep(view, booted);
    let gone: Vec<u64> = view
        .numbers()
        .into_iter()
        .filter(|n| !kept.contains_key(n) && has_something(view, *n))
        .collect();
    let mut steps = Vec::new();
    let mut entries = view.entries.clone();
    let count = entries.own.len();
    let evidence: BTreeSet<u64> = gone
        .iter()
        .copied()
        .filter(|&n| keeps_evidence(view, n))
        .collect();
    for number in &gone {
        entries.own.remove(&Owner::Generation(*number));
    }
    let removed: Vec<u64> = gone
        .iter()
        .copied()
        .filter(|n| !is_evidence_only(view, *n) || !evidence.contains(n))
        .collect();
    if !removed.is_empty() {
        let numbers = removed.clone();
        steps.push(record(Event::Collected { numbers }));
    }
    if entries.own.len() != count || !entries.debris.is_empty() {
        entries.debris.clear();
        steps.push(Step::Entries {
            entries: entries.clone(),
        });
    }
    steps.extend(removed.into_iter().map(|number| Step::Remove {
        number,
        keep_evidence: evidence.contains(&number),
    }));
    steps.extend(view.leftovers.iter().map(|name| Step::RemoveLeftover {
        path: format!("generations/{name}"),
    }));
    let needed = named_payloads(&entries);
    let unused = view.payloads.keys().filter(|d| !needed.contains(d));
    let unused = unused.map(|d| format!("{}/{d}", crate::view::PAYLOADS));
    steps.extend(
        unused
            .chain(view.partial_payloads.iter().cloned())
            .map(|path| Step::RemovePayload { path }),
    );
    Plan::new(what, steps)
}

/// Whether anything of a generation is left to remove.
fn has_something(view: &View, number: u64) -> bool {
    view.generations.contains_key(&number) || view.entries.generation(number).is_some()
}

/// The last failed generations keep manifest and evidence.
fn keeps_evidence(view: &View, number: u64) -> bool {
    let has_failed = |n: &u64| view.state(*n, None) == State::Failed;
    has_failed(&number)
        && view
            .generations
            .keys()
            .rev()
            .copied()
            .filter(has_failed)
            .take(FAILED)
            .any(|n| n == number)
}

/// Whether only manifest and evidence are left of a generation already.
fn is_evidence_only(view: &View, number: u64) -> bool {
    view.entries.generation(number).is_none()
        && view
            .log
            .iter()
            .any(|r| matches!(&r.event, Event::Collected { numbers } if numbers.contains(&number)))
}

/// The payloads that entries name, other people's entries too.
pub(super) fn named_payloads(entries: &crate::entries::Entries) -> BTreeSet<Sha256> {
    let own = entries.own.values().map(|own| own.text.clone());
    let foreign = entries
        .foreign
        .values()
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let mut named = BTreeSet::new();
    for text in own.chain(foreign) {
        let words = text.split_ascii_whitespace();
        named.extend(words.filter_map(|word| word.strip_prefix("/elea/")?.parse::<Sha256>().ok()));
    }
    named
}
