//! The generations of a machine as a list: `elea generations`.

use crate::error::Error;
use crate::machine::Machine;
use crate::plan::{Keep, keep};
use crate::view::{State, View};
use elea_formats::bls::Counter;
use elea_formats::digest::Digest;
use elea_formats::generation::Specialisation;
use serde::Serialize;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.generations/1";

/// One generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// How it stands.
    pub state: State,
    /// Whether it runs.
    pub running: bool,
    /// Whether the loader boots it if nobody chooses.
    pub next: bool,
    /// Whether a person keeps it.
    pub pinned: bool,
    /// Why it is kept; none if the next commit collects it.
    pub kept: Option<Keep>,
    /// Its tries, as the boot entry counts them.
    pub counter: Option<Counter>,
    /// Title of its release; none if its manifest is gone.
    pub title: Option<String>,
    /// Version of its release.
    pub version: Option<String>,
    /// Its image.
    pub image: Option<Digest>,
    /// The number that it repeats.
    pub from: Option<u64>,
    /// What it is beside another generation, if it is a specialisation.
    pub specialisation: Option<Specialisation>,
    /// When it was staged, RFC 3339 in UTC.
    pub created: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// How many boots of it left evidence.
    pub evidence: usize,
}

/// All generations, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generations {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// One for each number of which something is left.
    pub generations: Vec<Line>,
}

/// Lists them.
pub fn generations(machine: &Machine) -> Result<Generations, Error> {
    Ok(Generations {
        schema: SCHEMA,
        generations: lines(&machine.view()?, machine.number()),
    })
}

/// The same from a view. A number of which only the log knows is left out.
pub fn lines(view: &View, booted: Option<u64>) -> Vec<Line> {
    let kept = keep(view, booted);
    let next = next(view);
    let numbers = view.numbers().into_iter();
    let here = |n: &u64| view.generations.contains_key(n) || view.entries.generation(*n).is_some();
    numbers
        .filter(here)
        .map(|number| line(view, number, booted, next, kept.get(&number).copied()))
        .collect()
}

/// The generation that boots if nobody chooses.
pub fn next(view: &View) -> Option<u64> {
    let name = view.entries.default_entry()?;
    elea_formats::bls::generation_of_id(&name)
}

fn line(
    view: &View,
    number: u64,
    booted: Option<u64>,
    next: Option<u64>,
    kept: Option<Keep>,
) -> Line {
    let manifest = view.manifest(number);
    let folder = view.generations.get(&number);
    let state = view.state(number, booted);
    let failed = matches!(state, State::Failed | State::Vanished);
    Line {
        number,
        state,
        running: booted == Some(number),
        next: next == Some(number),
        pinned: folder.is_some_and(|f| f.pinned),
        kept,
        counter: view.entries.generation(number).and_then(|own| own.counter),
        title: manifest.map(|m| m.title.clone()),
        version: manifest.map(|m| m.version.clone()),
        image: manifest.map(|m| m.image),
        from: manifest.and_then(|m| m.from),
        specialisation: manifest.and_then(|m| m.specialisation.clone()),
        created: manifest.map(|m| m.created.clone()),
        reason: view.failure(number).filter(|_| failed).map(str::to_owned),
        evidence: folder.map_or(0, |f| f.evidence.len()),
    }
}
