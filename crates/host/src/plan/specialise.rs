//! Specialisations: generations that stand in the boot menu beside another one, to be picked by hand.

use super::stage::staging;
use super::{Plan, Step, record};
use crate::view::View;
use elea_formats::bls::Owner;
use elea_formats::generation::Generation;
use elea_formats::oplog::Event;
use std::collections::BTreeSet;

/// Makes the menu's specialisations of generation `of` these and no others. What is there and boots the same stays, what runs
/// (`booted`) stays in any case, and what failed before is left out.
///
/// Their sort-key puts them behind the rescue entry, so that none boots by itself; they come and go with `of`.
pub fn specialise(view: &View, of: u64, wanted: &[Generation], booted: Option<u64>) -> Plan {
    let there = beside(view, of);
    let name_of = |one: &Generation| one.specialisation.as_ref().map(|s| s.name.clone());
    let same = |one: &Generation| {
        let mut there = there.iter().filter_map(|number| view.manifest(*number));
        there
            .find(|other| name_of(other) == name_of(one) && other.identity() == one.identity())
            .map(|other| other.number)
    };
    // One of the same name takes the place of the older.
    let named = |number: u64| {
        Some(
            view.manifest(number)?
                .specialisation
                .as_ref()?
                .name
                .as_str(),
        )
    };
    let stay: BTreeSet<u64> = wanted.iter().filter_map(same).chain(booted).collect();
    let mut entries = view.entries.clone();
    entries.debris.clear();
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for &number in there.iter().filter(|number| !stay.contains(number)) {
        entries.own.remove(&Owner::Generation(number));
        if !wanted
            .iter()
            .any(|one| name_of(one).as_deref() == named(number))
        {
            first.push(record(Event::Unstaged { number }));
        }
    }
    for one in wanted.iter().filter(|one| same(one).is_none()) {
        if view.refused(&one.identity()).is_some() {
            continue;
        }
        let older = there
            .iter()
            .copied()
            .filter(|number| !stay.contains(number));
        let replaces = older
            .filter(|n| named(*n) == name_of(one).as_deref())
            .collect();
        first.extend(staging(one, replaces));
        entries.set_generation(one, true);
        last.push(record(Event::Armed { number: one.number }));
    }
    let what = format!("the specialisations of generation {of}");
    if first.is_empty() {
        return Plan::new(what, first);
    }
    first.push(Step::Entries { entries });
    first.extend(last);
    Plan::new(what, first)
}

/// The specialisations of a generation that have a boot entry, in order.
pub(super) fn beside(view: &View, of: u64) -> Vec<u64> {
    let numbers = view.entries.generations().map(|(number, _)| number);
    numbers
        .filter(|number| view.stands_beside(*number) == Some(of))
        .collect()
}
