//! Where log and entries disagree: the entries are the truth about what boots, the log explains
//! them, and nothing is deleted by guess (invariant 6).

use super::{Plan, Step, record};
use crate::view::{State, View};
use elea_formats::bls::{Counter, Owner};
use elea_formats::oplog::{Event, Record};

/// How many failures in a row make a good generation give way (the initrd counts them).
const GIVES_WAY: usize = 2;

/// Brings log and entries together:
/// - an entry whose arming or commit was not written down gets its record;
/// - a good entry that is gone though nothing took it away is made again from its manifest,
///   if `is_whole` says that its payloads are on `$BOOT` and right;
/// - leftovers of torn renames are cleared.
pub fn repair(view: &View, is_whole: &dyn Fn(u64) -> bool) -> Plan {
    let mut steps = Vec::new();
    let mut entries = view.entries.clone();
    let mut records = Vec::new();
    for (number, own) in view.entries.generations() {
        let armed = |r: &Record| matches!(r.event, Event::Armed { number: n } | Event::Committed { number: n } if n == number);
        if !view.log.iter().any(armed) {
            records.push(Event::Armed { number });
        }
        let healthy = view
            .log
            .iter()
            .any(|r| r.event == Event::Healthy { number });
        if own.counter.is_none() && healthy && !view.was_committed(number) {
            records.push(Event::Committed { number });
        }
    }
    for number in view.numbers() {
        let gone = view.state(number, None) == State::Vanished && view.was_committed(number);
        let Some(generation) = view.manifest(number).filter(|_| gone && is_whole(number)) else {
            continue;
        };
        entries.set_generation(generation, false);
        // One that had failed until it gave way must not come back as good.
        let folder = view.generations.get(&number);
        let failures = folder.map_or(0, |f| f.tries.iter().filter(|t| t.counts()).count());
        if failures >= GIVES_WAY
            && let Some(own) = entries.own.get_mut(&Owner::Generation(number))
        {
            let done = u32::try_from(failures.min(9)).unwrap_or(9);
            own.counter = Some(Counter { left: 0, done });
        }
        records.push(Event::Repaired {
            what: format!("the entry of generation {number} was gone and was made again"),
        });
    }
    if !entries.debris.is_empty() {
        let what = format!("cleared torn entries: {}", entries.debris.join(", "));
        records.push(Event::Repaired { what });
        entries.debris.clear();
    }
    if entries != view.entries {
        steps.push(Step::Entries { entries });
    }
    steps.extend(records.into_iter().map(record));
    Plan::new("bring the log and the boot entries together", steps)
}
