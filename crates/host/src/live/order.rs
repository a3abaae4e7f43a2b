//! The order in which units are started; stopped, they go the other way.

use super::protect::is_network;
use super::units::Units;
use std::collections::{BTreeMap, BTreeSet};

/// Puts what wakes other units (sockets, timers, paths, automounts) before all else, and changes nothing else: to stop
/// them, or one that comes in between would be woken again; and to start them, since systemd refuses a socket whose
/// service runs.
pub(super) fn wakers_first<T>(list: &mut [T], unit: impl Fn(&T) -> &str) {
    let wakes = |name: &str| {
        let kinds = [".socket", ".timer", ".path", ".automount"];
        kinds.iter().any(|kind| name.ends_with(kind))
    };
    list.sort_by_key(|one| !wakes(unit(one)));
}

/// Orders units: what a unit is `After=` or requires comes before it, units of the network come as
/// late as that lets them, and names decide the rest. Of a cycle the first by name goes first.
/// Units that are not in the set may stand between two that are.
pub(super) fn order(units: &BTreeSet<String>, definitions: &Units) -> Vec<String> {
    let before = before(units, definitions);
    let mut left: BTreeSet<(bool, &String)> = units.iter().map(|u| (is_network(u), u)).collect();
    let mut ordered: Vec<String> = Vec::new();
    while !left.is_empty() {
        // Whoever waits for nobody but for those that wait for it: alone, or in a cycle.
        let free = |(_, unit): &&(bool, &String)| {
            let waits = |other: &String| left.contains(&(is_network(other), other));
            let mut earlier = before[*unit].iter().filter(|other| waits(other));
            earlier.all(|other| before[other].contains(*unit))
        };
        let next = *left.iter().find(free).expect("a finite order has a first");
        left.remove(&next);
        ordered.push(next.1.clone());
    }
    ordered
}

/// For each unit, the others of the set that come before it, however many stand between.
fn before(units: &BTreeSet<String>, definitions: &Units) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = units.iter().cloned().collect();
    while let Some(unit) = open.pop() {
        if !seen.insert(unit.clone()) {
            continue;
        }
        for other in definitions.named(&unit, &["Before"]) {
            edges.entry(other).or_default().insert(unit.clone());
        }
        // Not said by anybody, and so all the same (systemd.socket(5), "Implicit Dependencies").
        for other in definitions.triggers(&unit) {
            edges.entry(other).or_default().insert(unit.clone());
        }
        let mut earlier = definitions.named(&unit, &["After"]);
        earlier.extend(definitions.requires(&unit));
        for other in &earlier {
            open.push(other.clone());
        }
        edges.entry(unit).or_default().extend(earlier);
    }
    let reach = |unit: &String| {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&String> = edges.get(unit).into_iter().flatten().collect();
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(edges.get(next).into_iter().flatten());
            }
        }
        let own = seen.into_iter().filter(|other| units.contains(*other));
        own.filter(|other| *other != unit).cloned().collect()
    };
    units.iter().map(|u| (u.clone(), reach(u))).collect()
}
