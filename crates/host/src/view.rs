//! What a machine's disks say, read once: entries, generations, payloads and the log. All
//! plans are made from it.

use crate::entries::{self, Entries};
use elea_formats::booted::Try;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::Generation;
use elea_formats::oplog::{self, Event, Record, Until};
use elea_sys::PathError;
use elea_sys::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;

/// The log's path on the state disk.
pub const LOG: &str = "log/operations.jsonl";
/// The folder of payloads on the boot disk.
pub const PAYLOADS: &str = "elea";
/// The longest log that is read.
const MAX_LOG: u64 = 64 << 20;
/// The longest manifest or record that is read.
const MAX_MANIFEST: u64 = 4 << 20;
/// More generations than this are not read.
const MAX_GENERATIONS: usize = 4096;

/// The two places that a machine's state is on.
#[derive(Clone, Copy)]
pub struct Disks<'a> {
    /// `/elea` of the physical root.
    pub state: &'a dyn Disk,
    /// `$BOOT`.
    pub boot: &'a dyn Disk,
}

impl std::fmt::Debug for Disks<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disks")
    }
}

/// Why a machine could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The boot entries could not be read.
    #[error(transparent)]
    Entries(#[from] entries::Error),
    /// Too many folders.
    #[error("/elea/generations holds {0} folders; at most {MAX_GENERATIONS} are read")]
    TooMany(usize),
}

/// A generation's folder.
#[derive(Debug, Clone, Default)]
pub struct Folder {
    /// Its manifest; none if it is missing or does not parse.
    pub manifest: Option<Generation>,
    /// Whether a person keeps it.
    pub pinned: bool,
    /// Its boots without a verdict.
    pub tries: Vec<Try>,
    /// The boots whose evidence is kept.
    pub evidence: Vec<String>,
}

/// A machine as its disks have it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// The boot entries.
    pub entries: Entries,
    /// The generations' folders.
    pub generations: BTreeMap<u64, Folder>,
    /// Leftovers in the folder of generations.
    pub leftovers: Vec<String>,
    /// The log; with damage, the records that check out.
    pub log: Vec<Record>,
    /// Bytes of the log that are whole; `None` when it must be written anew.
    pub log_whole: Option<usize>,
    /// Whether the log has a torn tail.
    pub log_torn: bool,
    /// What is wrong with the log.
    pub log_damage: Option<String>,
    /// Names and sizes of the payloads on `$BOOT`.
    pub payloads: BTreeMap<Sha256, u64>,
    /// Leftovers among them.
    pub partial_payloads: Vec<String>,
    /// The generation whose `/etc` was last running.
    pub last_run: Option<u64>,
}

/// How a generation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its making was cut off; it has no entry and never had one.
    Incomplete,
    /// It waits for its first boot.
    Staged,
    /// It was booted and has no verdict yet.
    Trying,
    /// It passed, and is booted without counting.
    Good,
    /// Its tries are used up.
    Failed,
    /// Its entry is gone, though nothing took it away.
    Vanished,
    /// Another took its place before its first boot, or a person took it back.
    Replaced,
    /// It was removed; what is left is the evidence.
    Collected,
    /// The running system took its `/etc`, and it has no boot entry: gone at the next boot.
    Tried,
}

impl View {
    /// Reads everything. Damage is kept in the view; only what cannot be read at all fails.
    pub fn load(disks: Disks<'_>) -> Result<Self, Error> {
        let mut view = Self {
            entries: Entries::load(disks.boot)?,
            ..Self::default()
        };
        view.load_log_only(disks.state)?;
        view.load_generations(disks.state)?;
        for name in disks.boot.list(PAYLOADS)? {
            let path = format!("{PAYLOADS}/{}", name.name);
            match name.name.parse() {
                Ok(digest) => {
                    let size = disks.boot.size(&path)?.unwrap_or(0);
                    view.payloads.insert(digest, size);
                }
                Err(_) => view.partial_payloads.push(path),
            }
        }
        if disks.state.size("state/last-run")?.is_some() {
            let text = disks.state.read("state/last-run", 64)?;
            view.last_run = String::from_utf8_lossy(&text).trim().parse().ok();
        }
        Ok(view)
    }

    /// Reads the log alone.
    pub(crate) fn load_log_only(&mut self, state: &dyn Disk) -> Result<(), PathError> {
        if state.size(LOG)?.is_none() {
            self.log_whole = Some(0);
            return Ok(());
        }
        let bytes = state.read(LOG, MAX_LOG)?;
        match oplog::parse(&bytes) {
            Ok(log) => {
                self.log = log.records;
                self.log_whole = Some(log.whole);
                self.log_torn = log.torn;
            }
            Err(damage) => {
                self.log = bytes
                    .split_inclusive(|&b| b == b'\n')
                    .filter_map(|line| oplog::parse(line).ok()?.records.pop())
                    .collect();
                self.log_damage = Some(damage.to_string());
            }
        }
        Ok(())
    }

    fn load_generations(&mut self, state: &dyn Disk) -> Result<(), Error> {
        let names = state.list("generations")?;
        if names.len() > MAX_GENERATIONS {
            return Err(Error::TooMany(names.len()));
        }
        for name in names {
            let Ok(number) = name.name.parse::<u64>() else {
                self.leftovers.push(name.name);
                continue;
            };
            self.generations.insert(number, load_folder(state, number)?);
        }
        Ok(())
    }

    /// A generation's manifest.
    pub fn manifest(&self, number: u64) -> Option<&Generation> {
        self.generations.get(&number)?.manifest.as_ref()
    }

    /// The manifest of a generation of an image, whichever it is.
    pub(crate) fn of_image(&self, image: &Digest) -> Option<&Generation> {
        let mut all = self.generations.values().flat_map(|one| &one.manifest);
        all.find(|manifest| manifest.image == *image)
    }

    /// The generation that this one stands beside as a specialisation, if it is one.
    pub fn stands_beside(&self, number: u64) -> Option<u64> {
        let specialisation = self.manifest(number)?.specialisation.as_ref();
        specialisation.map(|specialisation| specialisation.of)
    }

    /// A number that was never used.
    pub fn next_number(&self) -> u64 {
        let logged = self.log.iter().filter_map(|r| number_of(&r.event));
        let folders = self.generations.keys().copied();
        let entries = self.entries.generations().map(|(number, _)| number);
        logged.chain(folders).chain(entries).max().unwrap_or(0) + 1
    }

    /// Every number that an entry, a folder or the log knows.
    pub fn numbers(&self) -> BTreeSet<u64> {
        let logged = self.log.iter().filter_map(|r| number_of(&r.event));
        let entries = self.entries.generations().map(|(number, _)| number);
        self.generations
            .keys()
            .copied()
            .chain(entries)
            .chain(logged)
            .filter(|&n| n > 0)
            .collect()
    }

    /// How a generation stands: by its entry if there is one, else by what the log says
    /// last. `booted` is the generation that runs, if it is known.
    pub fn state(&self, number: u64, booted: Option<u64>) -> State {
        if let Some(own) = self.entries.generation(number) {
            return match own.counter {
                None => State::Good,
                Some(_) if booted == Some(number) => State::Trying,
                Some(c) if c.left == 0 => State::Failed,
                Some(c) if c.done == 0 => State::Staged,
                Some(_) => State::Trying,
            };
        }
        let mut state = State::Incomplete;
        for record in &self.log {
            match &record.event {
                Event::Armed { number: n } | Event::Committed { number: n } if *n == number => {
                    state = State::Vanished;
                }
                Event::Failed { number: n, .. } if *n == number => state = State::Failed,
                Event::Unstaged { number: n } | Event::Reverted { number: n, .. }
                    if *n == number =>
                {
                    state = State::Replaced;
                }
                Event::Applied {
                    number: n, until, ..
                } if *n == number && *until != Until::Kept => state = State::Tried,
                Event::Staging { replaces, .. } if replaces.contains(&number) => {
                    state = State::Replaced;
                }
                // A failed one that is collected has still failed.
                Event::Collected { numbers }
                    if numbers.contains(&number) && state != State::Failed =>
                {
                    state = State::Collected;
                }
                _ => {}
            }
        }
        state
    }

    /// Whether the log says that a generation was good once.
    pub fn was_committed(&self, number: u64) -> bool {
        let committed = |r: &Record| r.event == Event::Committed { number };
        self.log.iter().any(committed)
    }

    /// Whether the machine has ever had a good generation.
    pub fn has_committed(&self) -> bool {
        self.entries.good().next().is_some()
            || self
                .log
                .iter()
                .any(|r| matches!(r.event, Event::Committed { .. }))
    }

    /// The failed generation because of which the log says that an identity is refused.
    pub(crate) fn refused_by_log(&self, identity: &Sha256) -> Option<(u64, &str)> {
        let mut refused = None;
        for record in &self.log {
            match &record.event {
                Event::Failed {
                    number,
                    identity: i,
                    reason,
                    refused: true,
                    ..
                } if i == identity => refused = Some((*number, reason.as_str())),
                Event::Retried { identity: i, .. } if i == identity => refused = None,
                _ => {}
            }
        }
        refused
    }

    /// The failed generation because of which an identity is not offered again.
    pub fn refused(&self, identity: &Sha256) -> Option<(u64, &str)> {
        self.refused_by_log(identity).or_else(|| {
            let number = self.generations.keys().copied().find(|&number| {
                self.failed_untold(number)
                    && self
                        .manifest(number)
                        .is_some_and(|m| m.identity() == *identity)
            })?;
            Some((number, "its tries are used up"))
        })
    }

    /// Whether a generation failed and no good boot has written it down yet: its tries are used up, or
    /// its entry is gone after a try.
    fn failed_untold(&self, number: u64) -> bool {
        let told = self.log.iter().any(|r| {
            matches!(&r.event, Event::Failed { number: n, .. } | Event::Retried { number: n, .. } if *n == number)
        });
        if told {
            return false;
        }
        if let Some(own) = self.entries.generation(number) {
            return own.counter.is_some_and(|c| c.left == 0);
        }
        let folder = self.generations.get(&number);
        folder.is_some_and(|f| f.tries.iter().any(Try::counts))
            && !self.was_committed(number)
            && self.state(number, None) == State::Vanished
    }

    /// Why a generation failed, as the log has it.
    pub fn failure(&self, number: u64) -> Option<&str> {
        self.log.iter().rev().find_map(|r| match &r.event {
            Event::Failed {
                number: n, reason, ..
            } if *n == number => Some(reason.as_str()),
            _ => None,
        })
    }
}

fn load_folder(state: &dyn Disk, number: u64) -> Result<Folder, Error> {
    let base = format!("generations/{number}");
    let mut folder = Folder::default();
    let manifest = format!("{base}/manifest.json");
    if state.size(&manifest)?.is_some() {
        let bytes = state.read(&manifest, MAX_MANIFEST)?;
        folder.manifest = serde_json::from_slice(&bytes)
            .ok()
            .filter(|m: &Generation| m.number == number);
    }
    folder.pinned = state.size(&format!("{base}/pin"))?.is_some();
    for name in state.list(&format!("{base}/tries"))? {
        let path = format!("{base}/tries/{}", name.name);
        if Path::new(&name.name).extension() == Some(OsStr::new("json")) && !name.is_folder {
            let bytes = state.read(&path, MAX_MANIFEST)?;
            folder.tries.extend(serde_json::from_slice::<Try>(&bytes));
        }
    }
    folder.tries.sort_by(|a, b| a.time.cmp(&b.time));
    folder.evidence = state
        .list(&format!("{base}/evidence"))?
        .into_iter()
        .filter(|n| n.is_folder)
        .map(|n| n.name)
        .collect();
    Ok(folder)
}

/// The generation that an event is about.
pub fn number_of(event: &Event) -> Option<u64> {
    match event {
        Event::Staging { number, .. }
        | Event::Armed { number }
        | Event::Unstaged { number }
        | Event::Healthy { number }
        | Event::Unhealthy { number, .. }
        | Event::Committed { number }
        | Event::Failed { number, .. }
        | Event::Retried { number, .. }
        | Event::Pinned { number }
        | Event::Unpinned { number }
        | Event::Applied { number, .. }
        | Event::Reverted { number, .. }
        | Event::Reboot { number, .. } => Some(*number),
        Event::Collected { numbers } => numbers.iter().copied().max(),
        Event::Loader { .. } | Event::Repaired { .. } | Event::Unknown => None,
    }
}
