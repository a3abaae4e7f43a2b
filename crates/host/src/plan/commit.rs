//! The verdict on a boot: healthy, committed, not healthy, condemned, failed.

use super::{Plan, Refusal, Step, record};
use crate::view::{State, View};
use elea_formats::bls::{Counter, Owner};
use elea_formats::oplog::{Cause, Event};

/// Writes down that a boot of `number` passed. Alone, when the boot may not commit (a kexec).
pub fn healthy(number: u64) -> Plan {
    let event = Event::Healthy { number };
    Plan::new(
        format!("generation {number} is healthy"),
        vec![record(event)],
    )
}

/// Makes the running generation good: its entry loses the counter (or is made again, if it is
/// gone), the rescue entry takes its kernel and initrd, and its tries are forgotten.
///
/// The caller has written [`Event::Healthy`] before, and has read the payloads whole.
pub fn commit(view: &View, number: u64) -> Result<Plan, Refusal> {
    let generation = view.manifest(number).ok_or(Refusal::Unknown { number })?;
    let mut steps = Vec::new();
    let mut entries = view.entries.clone();
    let has_rescue = entries.own.contains_key(&Owner::Rescue);
    let was_good = entries
        .generation(number)
        .is_some_and(|own| own.counter.is_none());
    match entries.own.get_mut(&Owner::Generation(number)) {
        Some(own) => own.counter = None,
        None => entries.set_generation(generation, false),
    }
    if !was_good || !has_rescue {
        // The rescue entry stays with what boots by itself.
        if !has_rescue || generation.specialisation.is_none() {
            entries.set_rescue(generation);
        }
        entries.debris.clear();
        steps.push(Step::Entries { entries });
    }
    if !view.was_committed(number) || !was_good {
        steps.push(record(Event::Committed { number }));
    }
    // Somebody booted a refused generation by hand, and it is well.
    let identity = generation.identity();
    if view.refused_by_log(&identity).is_some() {
        steps.push(record(Event::Retried { number, identity }));
    }
    let has_tries = view
        .generations
        .get(&number)
        .is_some_and(|f| !f.tries.is_empty());
    if has_tries {
        steps.push(Step::ClearTries { number });
    }
    Ok(Plan::new(format!("generation {number} is good"), steps))
}

/// Writes down that a boot of `number` did not pass. With `condemn` its entry is counted out
/// at once, so that the next boot is another's.
pub fn unhealthy(view: &View, number: u64, cause: Cause, reason: &str, condemn: bool) -> Plan {
    let mut steps = vec![record(Event::Unhealthy {
        number,
        reason: reason.to_owned(),
        cause,
    })];
    if condemn {
        steps.extend(self::condemn(view, number).steps);
    }
    Plan::new(format!("generation {number} is not healthy"), steps)
}

/// Counts an entry out: `+0-…`. It stays in the menu, behind all others.
pub fn condemn(view: &View, number: u64) -> Plan {
    let mut entries = view.entries.clone();
    let what = format!("generation {number} is not booted by itself any more");
    let Some(own) = entries.own.get_mut(&Owner::Generation(number)) else {
        return Plan::new(what, Vec::new());
    };
    let tries = view.generations.get(&number).map_or(0, |f| f.tries.len());
    let done = own.counter.map_or(tries.clamp(1, 9), |c| c.done as usize);
    let counter = Counter {
        left: 0,
        done: u32::try_from(done).unwrap_or(9),
    };
    if own.counter.is_some_and(|c| c.left == 0) {
        return Plan::new(what, Vec::new());
    }
    own.counter = Some(counter);
    entries.debris.clear();
    Plan::new(what, vec![Step::Entries { entries }])
}

/// Writes down, from a good boot, why another generation failed. `refused` says whether its
/// identity is refused from now on; it is not when it never had a chance (its entry was gone
/// before any boot, or a person ended every try).
pub fn failed(view: &View, number: u64, cause: Cause, reason: &str) -> Plan {
    let what = format!("generation {number} failed: {reason}");
    let Some(generation) = view.manifest(number) else {
        return Plan::new(what, Vec::new());
    };
    let tried = view
        .generations
        .get(&number)
        .is_some_and(|f| !f.tries.is_empty());
    let refused = match cause {
        Cause::Interrupted => false,
        Cause::Vanished => tried || view.state(number, None) != State::Vanished,
        _ => true,
    };
    let event = Event::Failed {
        number,
        identity: generation.identity(),
        cause,
        reason: reason.to_owned(),
        refused,
    };
    Plan::new(what, vec![record(event)])
}
