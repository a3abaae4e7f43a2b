//! A new generation: staged, repeated by a rollback, tried again, or taken back.

use super::specialise::beside;
use super::{Plan, Refusal, Step, record};
use crate::view::{State, View};
use elea_formats::bls::Owner;
use elea_formats::generation::Generation;
use elea_formats::oplog::Event;

/// Makes `generation` the default of the next boot, with its tries counted unless `counted`
/// is false (the first generation of a disk that is being made).
///
/// What was staged before and does not run is replaced. The entry names only what the steps
/// before it made durable.
pub fn stage(
    view: &View,
    generation: &Generation,
    counted: bool,
    booted: Option<u64>,
) -> Result<Plan, Refusal> {
    let identity = generation.identity();
    if let Some((number, reason)) = view.refused(&identity) {
        let reason = reason.to_owned();
        return Err(Refusal::FailedBefore { number, reason });
    }
    let number = generation.number;
    let replaces = waiting(view, booted);
    let mut entries = view.entries.clone();
    entries.debris.clear();
    for old in &replaces {
        entries.own.remove(&Owner::Generation(*old));
    }
    entries.set_generation(generation, counted);
    if !entries.own.contains_key(&Owner::Rescue) {
        entries.set_rescue(generation);
    }
    let mut steps = staging(generation, replaces);
    steps.push(Step::Entries { entries });
    steps.push(record(Event::Armed { number }));
    let mut plan = Plan::new(
        format!("make generation {number} ({}) boot next", generation.title),
        steps,
    );
    plan.number = Some(number);
    Ok(plan)
}

/// What is made durable before the entry of a generation may name it, in this order.
pub(super) fn staging(generation: &Generation, replaces: Vec<u64>) -> Vec<Step> {
    let mut steps = vec![manifest(generation)];
    steps.extend(generation.payloads().map(|payload| Step::Payload {
        payload: payload.clone(),
    }));
    steps.push(record(Event::Staging {
        number: generation.number,
        image: generation.image,
        identity: generation.identity(),
        version: generation.version.clone(),
        from: generation.from,
        replaces,
    }));
    steps
}

fn manifest(generation: &Generation) -> Step {
    Step::Manifest {
        generation: Box::new(generation.clone()),
    }
}

/// Writes a generation's manifest and nothing else: its `/etc` can be made, and it boots only once it is staged.
pub fn reserve(generation: &Generation) -> Plan {
    let what = format!("make generation {}", generation.number);
    let mut plan = Plan::new(what, vec![manifest(generation)]);
    plan.number = Some(generation.number);
    plan
}

/// Writes down something that happened.
pub fn note(event: Event) -> Plan {
    Plan::new("write it down", vec![record(event)])
}

/// What has tries left and does not run: a staged generation, or one whose tries were cut short. Its specialisations
/// go with it, those of others wait for nothing.
fn waiting(view: &View, booted: Option<u64>) -> Vec<u64> {
    let waits = |number: &u64| {
        let state = view.state(*number, booted);
        let main = view.stands_beside(*number).is_none();
        main && Some(*number) != booted && matches!(state, State::Staged | State::Trying)
    };
    let numbers = view.entries.generations().map(|(number, _)| number);
    let with_its_own = |number| std::iter::once(number).chain(beside(view, number));
    let waiting = numbers.filter(waits).flat_map(with_its_own);
    waiting.filter(|number| Some(*number) != booted).collect()
}

/// The generation that a rollback repeats: the one asked for, which must be good, or else the newest
/// good one that boots something other than what runs.
fn rollback_target(view: &View, to: Option<u64>, booted: Option<u64>) -> Result<u64, Refusal> {
    if let Some(number) = to {
        if view.manifest(number).is_none() {
            return Err(Refusal::Unknown { number });
        }
        let state = view.state(number, booted);
        return match state {
            State::Good => Ok(number),
            _ => Err(Refusal::NotGood { number, state }),
        };
    }
    let identity = |number| view.manifest(number).map(Generation::identity);
    let running = booted.and_then(identity);
    view.entries
        .good()
        .rev()
        .filter(|&number| Some(number) != booted)
        .find(|&number| identity(number).is_some_and(|i| Some(i) != running))
        .ok_or(Refusal::NothingOlder)
}

/// Goes back to a good generation: a new number with its image, kernel and arguments. When
/// what runs is asked for and something else is staged, that is taken back instead.
pub fn rollback(
    view: &View,
    to: Option<u64>,
    booted: Option<u64>,
    created: &str,
) -> Result<Plan, Refusal> {
    let target = rollback_target(view, to, booted)?;
    if Some(target) == booted {
        let taken_back = unstage(view, booted);
        return if taken_back.is_empty() {
            Err(Refusal::RunsAlready { number: target })
        } else {
            Ok(taken_back)
        };
    }
    let old = view
        .manifest(target)
        .ok_or(Refusal::Unknown { number: target })?;
    let new = old.repeated(view.next_number(), created.to_owned());
    let mut plan = stage(view, &new, true, booted)?;
    plan.what = format!(
        "go back to generation {target} ({}) as generation {}",
        new.title, new.number
    );
    Ok(plan)
}

/// Takes back what is staged, so that what boots next is what it was before.
pub fn unstage(view: &View, booted: Option<u64>) -> Plan {
    let waiting = waiting(view, booted);
    if waiting.is_empty() {
        return Plan::new("nothing is staged", Vec::new());
    }
    let mut entries = view.entries.clone();
    entries.debris.clear();
    let mut steps = Vec::new();
    for number in &waiting {
        entries.own.remove(&Owner::Generation(*number));
        steps.push(record(Event::Unstaged { number: *number }));
    }
    steps.push(Step::Entries { entries });
    Plan::new("take back what is staged", steps)
}

/// Lifts the refusal of a failed generation and stages it again under a new number. The
/// caller sees to it that the image is still in the store.
pub fn retry(
    view: &View,
    number: u64,
    booted: Option<u64>,
    created: &str,
) -> Result<Plan, Refusal> {
    let old = view.manifest(number).ok_or(Refusal::Unknown { number })?;
    let state = view.state(number, booted);
    if !matches!(state, State::Failed | State::Vanished) {
        return Err(Refusal::NotFailed { number, state });
    }
    let retried = Event::Retried {
        number,
        identity: old.identity(),
    };
    // The plan is made as if the refusal were lifted already, which its first step does.
    let mut lifted = view.clone();
    lifted.log.push(elea_formats::oplog::Record {
        schema: String::new(),
        sequence: 0,
        time: String::new(),
        boot: None,
        by: String::new(),
        event: retried.clone(),
    });
    let new = old.repeated(view.next_number(), created.to_owned());
    let mut plan = stage(&lifted, &new, true, booted)?;
    plan.steps.insert(0, record(retried));
    plan.what = format!("try generation {number} again as generation {}", new.number);
    Ok(plan)
}

/// Keeps a generation from being collected, or no longer.
pub fn pin(view: &View, number: u64, pinned: bool) -> Result<Plan, Refusal> {
    let folder = view
        .generations
        .get(&number)
        .filter(|f| f.manifest.is_some())
        .ok_or(Refusal::Unknown { number })?;
    let what = if pinned { "keep" } else { "no longer keep" };
    let what = format!("{what} generation {number}");
    if folder.pinned == pinned {
        return Ok(Plan::new(what, Vec::new()));
    }
    let event = if pinned {
        Event::Pinned { number }
    } else {
        Event::Unpinned { number }
    };
    Ok(Plan::new(
        what,
        vec![Step::Pin { number, pinned }, record(event)],
    ))
}
