//! The journal of one live switch: what was begun and what was done, so that whoever comes after
//! a crash knows. `docs/formats/live-journal.md` describes it.

use super::Step;
use elea_formats::oplog::{seal, unseal};
use elea_sys::PathError;
use elea_sys::disk::Disk;
use serde::{Deserialize, Serialize};

/// Its place below `/elea/state`.
pub const JOURNAL: &str = "live/journal.jsonl";
/// The journal of the switch before.
pub const BEFORE: &str = "live/journal.before.jsonl";
/// The value of `schema` in the first record.
pub const SCHEMA: &str = "elea.live-journal/1";

/// More than the longest switch writes.
const MAX_BYTES: u64 = 16 << 20;

/// What a switch is, beside its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The kernel's id of the boot: what units did does not outlive it.
    pub boot: String,
    /// The generation whose `/etc` showed before.
    pub old: u64,
    /// The generation that is switched to.
    pub new: u64,
    /// Whether a person has to confirm.
    pub confirm: bool,
    /// Whether the next boots are to be as before.
    pub test: bool,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Entry {
    /// The first record: all that will be done.
    Begin {
        /// [`SCHEMA`].
        schema: String,
        /// What it is.
        #[serde(flatten)]
        switch: Switch,
        /// The steps of the plan.
        steps: Vec<Step>,
    },
    /// A step is about to be done.
    Doing {
        /// Its place in the steps, or in those of the way back.
        step: usize,
    },
    /// It is done.
    Done {
        /// Its place.
        step: usize,
    },
    /// All steps are done, and health is good; a person has to confirm.
    Waiting,
    /// The new configuration stays: it is that of the next boots.
    Kept,
    /// The way back begins.
    Back {
        /// Why.
        why: String,
        /// Its steps.
        steps: Vec<Step>,
    },
    /// A step of the way back failed; the others are done all the same.
    Missed {
        /// Its place.
        step: usize,
        /// Why.
        why: String,
    },
    /// All is as it was.
    Reverted,
}

/// A journal that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be read or written.
    #[error(transparent)]
    Disk(#[from] PathError),
    /// Damage that no crash explains.
    #[error(
        "line {line} of /elea/state/{JOURNAL} is damaged: {why}; a reboot gives the configuration that was last kept, and puts the journal away"
    )]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A newer Elea wrote it, and its switch runs.
    #[error(
        "a newer elea switched this system live and has not ended that: line {line} of /elea/state/{JOURNAL} says what this elea does not know, and nothing was touched; end it with the newer elea (`elea confirm`, or `elea rollback`), or reboot, which gives the configuration that was last kept"
    )]
    Newer {
        /// The first line that is not known, from 1.
        line: usize,
    },
}

/// What a line with a right checksum says.
enum Line {
    Known(Entry),
    /// What a newer Elea wrote.
    Newer,
}

/// What records of every version have.
#[derive(Deserialize)]
struct Common {
    record: String,
    /// Of the first.
    schema: Option<String>,
    /// Of the first.
    boot: Option<String>,
}

/// What a journal says, and where it is written on.
pub struct Journal<'a> {
    disk: &'a dyn Disk,
    pub(super) entries: Vec<Entry>,
}

impl std::fmt::Debug for Journal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Journal").field(&self.entries).finish()
    }
}

impl<'a> Journal<'a> {
    /// Reads it. A torn tail is cut off; where there is none it is empty.
    ///
    /// One of a newer Elea is left as it is: an error while its switch is under way in this `boot`, else as if there were
    /// none, since nothing is left to be done about it.
    pub fn load(disk: &'a dyn Disk, boot: &str) -> Result<Self, JournalError> {
        let mut journal = Self {
            disk,
            entries: Vec::new(),
        };
        if disk.size(JOURNAL)?.is_none() {
            return Ok(journal);
        }
        let text = disk.read(JOURNAL, MAX_BYTES)?;
        let mut whole = 0;
        let (mut newer, mut its, mut last) = (None, None, String::new());
        for (at, line) in text.split_inclusive(|b| *b == b'\n').enumerate() {
            let json = line.strip_suffix(b"\n").ok_or("it has no line end");
            match json.and_then(unseal).and_then(|json| parse(&json)) {
                Ok((common, parsed)) => {
                    match parsed {
                        Line::Known(entry) => journal.entries.push(entry),
                        Line::Newer => newer = newer.or(Some(at + 1)),
                    }
                    its = its.or(common.boot);
                    last = common.record;
                }
                Err(_) if torn(&text[whole..], line) => break,
                // Of an earlier boot nothing is left to be done about it.
                Err(_) if its.as_deref().is_some_and(|its| its != boot) => {
                    journal.entries.clear();
                    return Ok(journal);
                }
                Err(why) => return Err(JournalError::Damaged { line: at + 1, why }),
            }
            whole += line.len();
        }
        if let Some(line) = newer {
            let over = matches!(&*last, "kept" | "reverted");
            if !over && its.is_none_or(|its| its == boot) {
                return Err(JournalError::Newer { line });
            }
            journal.entries.clear();
            return Ok(journal);
        }
        if whole < text.len() {
            journal.replace(&text[..whole])?;
        }
        Ok(journal)
    }

    /// Begins a new one; the one before is kept beside it.
    pub(super) fn begin(disk: &'a dyn Disk, entry: Entry) -> Result<Self, JournalError> {
        let mut journal = Self {
            disk,
            entries: Vec::new(),
        };
        disk.mkdir("live")?;
        if disk.size(JOURNAL)?.is_some() {
            disk.rename(JOURNAL, BEFORE)?;
            disk.sync_folder("live")?;
        }
        journal.replace(line(&entry).as_bytes())?;
        disk.sync_folder("")?;
        journal.entries.push(entry);
        Ok(journal)
    }

    /// Puts one away whose first line, which names its boot, cannot be read: at the beginning of a boot, when none is of
    /// this one.
    pub(super) fn put_away(disk: &dyn Disk) -> Result<(), PathError> {
        disk.rename(JOURNAL, BEFORE)?;
        disk.sync_folder("live")
    }

    fn replace(&self, text: &[u8]) -> Result<(), PathError> {
        let temporary = format!("{JOURNAL}.new");
        if self.disk.size(&temporary)?.is_some() {
            self.disk.remove(&temporary)?;
        }
        self.disk.write_new(&temporary, text)?;
        self.disk.rename(&temporary, JOURNAL)?;
        self.disk.sync_folder("live")
    }

    /// Adds a record, durable when it returns.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), JournalError> {
        self.disk.append(JOURNAL, line(&entry).as_bytes())?;
        self.entries.push(entry);
        Ok(())
    }

    /// What the switch is.
    pub fn switch(&self) -> Option<&Switch> {
        self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Begin { switch, .. } => Some(switch),
            _ => None,
        })
    }

    /// How the switch stands.
    pub fn state(&self) -> State {
        let mut state = State::None;
        for entry in &self.entries {
            state = match (entry, state) {
                (Entry::Begin { switch, steps, .. }, _) => State::Forward {
                    boot: switch.boot.clone(),
                    steps: steps.clone(),
                    begun: 0,
                    done: 0,
                    waits: false,
                },
                (Entry::Kept, _) => State::Kept,
                (Entry::Reverted, _) => State::Reverted,
                (Entry::Back { steps, .. }, State::Forward { boot, .. }) => State::Back {
                    boot,
                    steps: steps.clone(),
                    done: 0,
                },
                (entry, state) => state.step(entry),
            };
        }
        state
    }
}

/// How a switch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// There was none.
    None,
    /// It is on its way.
    Forward {
        /// The boot.
        boot: String,
        /// Its steps.
        steps: Vec<Step>,
        /// How many were begun.
        begun: usize,
        /// How many are done.
        done: usize,
        /// Whether it waits for a person to confirm.
        waits: bool,
    },
    /// It is on its way back.
    Back {
        /// The boot.
        boot: String,
        /// The steps of the way back.
        steps: Vec<Step>,
        /// How many of them are done.
        done: usize,
    },
    /// It ended, and the new configuration stays.
    Kept,
    /// It ended, and all is as it was.
    Reverted,
}

impl State {
    fn step(mut self, entry: &Entry) -> Self {
        match (&mut self, entry) {
            (Self::Forward { begun, .. }, Entry::Doing { step }) => *begun = step + 1,
            (Self::Forward { done, .. }, Entry::Done { step }) => *done = step + 1,
            (Self::Forward { waits, .. }, Entry::Waiting) => *waits = true,
            (Self::Back { done, .. }, Entry::Done { step } | Entry::Missed { step, .. }) => {
                *done = step + 1;
            }
            _ => {}
        }
        self
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::None | Self::Kept | Self::Reverted)
    }
}

/// Reads a line's object. What has a right checksum was written so, and is no damage: what cannot be read is a newer Elea's.
fn parse(json: &[u8]) -> Result<(Common, Line), &'static str> {
    let common: Common = serde_json::from_slice(json).map_err(|_| "it is no record")?;
    let known = common.schema.as_deref().is_none_or(|s| s == SCHEMA);
    let line = match serde_json::from_slice(json) {
        Ok(entry) if known => Line::Known(entry),
        _ => Line::Newer,
    };
    Ok((common, line))
}

fn line(entry: &Entry) -> String {
    // A record without members has a `record` all the same.
    seal(serde_json::to_string(entry).expect("a record has only string keys"))
}

/// Whether a bad line is the last, or there are only zeros, as file systems leave them.
fn torn(rest: &[u8], line: &[u8]) -> bool {
    rest.len() == line.len() || rest.iter().all(|b| *b == 0)
}
