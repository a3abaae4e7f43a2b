//! The steps of a change, with a journal ahead of them: after a crash at any point everything is old or everything is new.
//!
//! Everything new is first written beside its place. From then on there are only renames, each with its inverse, up to
//! the one write that makes the change count: `state.json` with the next transaction number. A crash before it is taken
//! back, one behind it is finished, by whoever comes next. A file that both generations have is there at every moment:
//! the new one is renamed over it while the old one has a second name.

use super::found::Found;
use super::plan::{HomePlan, is_below};
use super::state::{State, encode};
use super::{Error, Home};
use elea_formats::digest::Sha256;
use elea_sys::{At as _, durable};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// `journal.json`.
const JOURNAL: &str = "elea.home-journal/1";

/// What is put at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Put {
    Link(String),
    File(Vec<u8>, u32),
}

/// How it is recognised afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mark {
    Link(String),
    File(Sha256),
}

/// One change of the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(super) enum Step {
    /// Something in the way gets another name. `first`: a folder is made in its place.
    BackUp {
        path: String,
        to: String,
        first: bool,
    },
    Folder {
        path: String,
    },
    Create {
        path: String,
    },
    Replace {
        path: String,
    },
    Remove {
        path: String,
        first: bool,
    },
    /// Which generation links go through.
    Current {
        from: Option<u64>,
        to: Option<u64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// New things are written beside their places.
    Prepare,
    /// They are all there, and go to their places.
    Go,
}

#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    schema: String,
    transaction: u64,
    phase: Phase,
    steps: Vec<Step>,
    marks: BTreeMap<String, Mark>,
    /// Paths that are declared: folders above them stay.
    paths: BTreeSet<String>,
}

/// What is asked before each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    Go,
    /// Ctrl-C: everything is taken back.
    Stop,
    /// The program ends here, as if killed.
    #[cfg(test)]
    Die,
}

pub(super) type Ticks<'t> = &'t mut dyn FnMut() -> Tick;

fn ask(tick: Ticks<'_>) -> Result<(), Error> {
    match tick() {
        Tick::Go => Ok(()),
        Tick::Stop => Err(Error::Stopped),
        #[cfg(test)]
        Tick::Die => Err(Error::Dead),
    }
}

/// The same behind the point where a change counts: it is finished, whoever asks to stop.
fn go_on(tick: Ticks<'_>) -> Result<(), Error> {
    match ask(tick) {
        Err(Error::Stopped) => Ok(()),
        other => other,
    }
}

/// Names beside a path that nothing else has.
struct Beside {
    new: PathBuf,
    old: PathBuf,
}

impl Journal {
    fn beside(&self, number: usize, real: &Path) -> Beside {
        let name =
            |end| real.with_file_name(format!(".elea-home-{}-{number}.{end}", self.transaction));
        Beside {
            new: name("new"),
            old: name("old"),
        }
    }

    fn save(&self, home: &Home) -> Result<(), Error> {
        Ok(durable::write_private(
            &home.data.join("journal.json"),
            &encode(self),
        )?)
    }
}

impl Step {
    fn path(&self) -> Option<&str> {
        match self {
            Self::BackUp { path, .. }
            | Self::Folder { path }
            | Self::Create { path }
            | Self::Replace { path }
            | Self::Remove { path, .. } => Some(path),
            Self::Current { .. } => None,
        }
    }

    fn is_first(&self) -> bool {
        match self {
            Self::BackUp { first, .. } | Self::Remove { first, .. } => *first,
            Self::Folder { .. } => true,
            _ => false,
        }
    }
}

/// Carries a plan out. What fails is taken back.
pub(super) fn apply(home: &Home, plan: &HomePlan, tick: Ticks<'_>) -> Result<(), Error> {
    let marks = plan.puts.iter().map(|(path, put)| {
        let mark = match put {
            Put::Link(target) => Mark::Link(target.clone()),
            Put::File(bytes, _) => Mark::File(Sha256::of(bytes)),
        };
        (path.clone(), mark)
    });
    let mut journal = Journal {
        schema: JOURNAL.into(),
        transaction: plan.state.transaction,
        phase: Phase::Prepare,
        steps: plan.steps.clone(),
        marks: marks.collect(),
        paths: plan.state.placed.keys().cloned().collect(),
    };
    journal.save(home)?;
    match forward(home, plan, &mut journal, tick) {
        Ok(()) => finish(home, &journal, &plan.state, tick),
        #[cfg(test)]
        Err(Error::Dead) => Err(Error::Dead),
        Err(why) => {
            undo(home, &journal)?;
            Err(
                if journal.phase == Phase::Go && !matches!(why, Error::Stopped) {
                    Error::Reverted(Box::new(why))
                } else {
                    why
                },
            )
        }
    }
}

fn forward(
    home: &Home,
    plan: &HomePlan,
    journal: &mut Journal,
    tick: Ticks<'_>,
) -> Result<(), Error> {
    let mut touched = BTreeSet::new();
    for (number, step) in plan.steps.iter().enumerate().filter(|(_, s)| s.is_first()) {
        ask(tick)?;
        touched.extend(act(home, journal, number, step, tick)?);
    }
    for (number, step) in plan.steps.iter().enumerate() {
        if let Step::Create { path } | Step::Replace { path } = step
            && let Some(put) = plan.puts.get(path)
        {
            ask(tick)?;
            let real = place(home, path)?;
            let new = journal.beside(number, &real).new;
            match put {
                Put::Link(target) => home.root.symlink(Path::new(target), &new)?,
                Put::File(bytes, mode) => home.root.create(&new, bytes, *mode)?,
            }
            touched.insert(folder_of(&real));
        }
    }
    for folder in &touched {
        home.root.sync_folder(folder)?;
    }
    ask(tick)?;
    journal.phase = Phase::Go;
    journal.save(home)?;
    for (number, step) in plan.steps.iter().enumerate().filter(|(_, s)| !s.is_first()) {
        ask(tick)?;
        touched.extend(act(home, journal, number, step, tick)?);
    }
    for folder in &touched {
        home.root.sync_folder(folder)?;
    }
    ask(tick)?;
    home.save_state(&plan.state)
}

fn folder_of(real: &Path) -> PathBuf {
    real.parent().map(Path::to_owned).unwrap_or_default()
}

/// Where a path is now.
fn place(home: &Home, path: &str) -> Result<PathBuf, Error> {
    home.resolve(path)
        .map_err(|_| Error::Moved(path.to_owned()))
}

/// Does a step; the folder that it changed.
fn act(
    home: &Home,
    journal: &Journal,
    number: usize,
    step: &Step,
    tick: Ticks<'_>,
) -> Result<Option<PathBuf>, Error> {
    let root = &home.root;
    let Some(path) = step.path() else {
        if let Step::Current { to, .. } = step {
            home.set_current(*to)?;
        }
        return Ok(None);
    };
    let real = place(home, path)?;
    let beside = journal.beside(number, &real);
    match step {
        Step::BackUp { to, .. } => root.rename(&real, &place(home, to)?, false)?,
        Step::Folder { .. } => root.create_dir(&real, 0o755)?,
        Step::Create { .. } => root.rename(&beside.new, &real, false)?,
        Step::Replace { .. } => {
            root.hard_link(&real, &beside.old)?;
            ask(tick)?;
            root.rename(&beside.new, &real, true)?;
        }
        Step::Remove { .. } => root.rename(&real, &beside.old, false)?,
        Step::Current { .. } => {}
    }
    Ok(Some(folder_of(&real)))
}

/// What is left to do once the change counts: old things go, and folders with nothing in them.
fn finish(home: &Home, journal: &Journal, state: &State, tick: Ticks<'_>) -> Result<(), Error> {
    for (number, step) in journal.steps.iter().enumerate() {
        if let Step::Replace { path } | Step::Remove { path, .. } = step {
            go_on(tick)?;
            if let Ok(real) = home.resolve(path) {
                gone(home.root.remove(&journal.beside(number, &real).old))?;
            } else if let Some((folder, _)) = path.rsplit_once('/')
                && let Ok(real) = home.resolve(folder)
            {
                let real = real.join("x");
                gone(home.root.remove(&journal.beside(number, &real).old))?;
            }
        }
    }
    for folder in state.folders.iter().rev() {
        if !journal.paths.iter().any(|path| is_below(path, folder))
            && let Ok(real) = home.resolve(folder)
        {
            go_on(tick)?;
            // One that others have something in stays.
            let _ = home.root.remove_dir(&real);
        }
    }
    go_on(tick)?;
    close(home)
}

/// The journal is done with.
fn close(home: &Home) -> Result<(), Error> {
    let path = home.data.join("journal.json");
    fs::remove_file(&path).at("remove", &path)?;
    Ok(durable::sync_folder(&home.data)?)
}

fn gone(result: Result<(), elea_sys::PathError>) -> Result<(), Error> {
    match result {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

/// Takes everything back that a journal says was begun. Each step can be taken back twice.
fn undo(home: &Home, journal: &Journal) -> Result<(), Error> {
    let root = &home.root;
    let is = |real: &Path| home.found(real);
    for (number, step) in journal.steps.iter().enumerate().rev() {
        let Some(path) = step.path() else {
            if let Step::Current { from, .. } = step {
                home.set_current(*from)?;
            }
            continue;
        };
        let Ok(real) = home.resolve(path) else {
            continue;
        };
        let Beside { new, old } = journal.beside(number, &real);
        let there = is(&real)?;
        let old_kept = is(&old)? != Found::Absent;
        let ours = match (journal.marks.get(path), &there) {
            (Some(Mark::File(mark)), Found::File { content, .. }) => mark == content,
            (Some(Mark::Link(mark)), Found::Link { target, .. }) => mark == target,
            _ => false,
        };
        match step {
            Step::Create { .. }
                if journal.phase == Phase::Go && ours && is(&new)? == Found::Absent =>
            {
                root.rename(&real, &new, false)?;
            }
            Step::Replace { .. } if old_kept => {
                // Somebody wrote there after the crash: that is kept as well.
                if there != Found::Absent && !ours && there != is(&old)? {
                    root.rename(&real, &place(home, &home.free_name(path, &real))?, false)?;
                }
                root.rename(&old, &real, true)?;
                // Two names of one file: the rename did nothing.
                gone(root.remove(&old))?;
            }
            Step::Remove { .. } if old_kept => {
                if there == Found::Absent {
                    root.rename(&old, &real, false)?;
                } else {
                    root.rename(&old, &place(home, &home.free_name(path, &real))?, false)?;
                }
            }
            Step::BackUp { to, .. } if there == Found::Absent => {
                let to = place(home, to)?;
                if is(&to)? != Found::Absent {
                    root.rename(&to, &real, false)?;
                }
            }
            Step::Folder { .. } => {
                // What is prepared in it goes before it.
                for (number, step) in journal.steps.iter().enumerate() {
                    if let Step::Create { path: inner } | Step::Replace { path: inner } = step
                        && is_below(inner, path)
                        && let Ok(inner) = home.resolve(inner)
                    {
                        gone(root.remove(&journal.beside(number, &inner).new))?;
                    }
                }
                let _ = root.remove_dir(&real);
            }
            _ => {}
        }
    }
    for (number, step) in journal.steps.iter().enumerate() {
        if let Step::Create { path } | Step::Replace { path } = step
            && let Ok(real) = home.resolve(path)
        {
            gone(root.remove(&journal.beside(number, &real).new))?;
            if let Err(e) = root.sync_folder(&folder_of(&real))
                && e.kind() != std::io::ErrorKind::NotFound
            {
                return Err(e.into());
            }
        }
    }
    close(home)
}

/// What an apply that ended in the middle left is finished or taken back; whether it was finished.
pub(super) fn recover(home: &Home, tick: Ticks<'_>) -> Result<Option<bool>, Error> {
    let Some(journal) = home.load_record::<Journal>("journal.json", JOURNAL)? else {
        return Ok(None);
    };
    let state = home.load_state()?;
    if state.transaction == journal.transaction {
        finish(home, &journal, &state, tick)?;
        return Ok(Some(true));
    }
    undo(home, &journal)?;
    Ok(Some(false))
}

impl Home {
    /// Sets the link that the links of a home go through.
    fn set_current(&self, to: Option<u64>) -> Result<(), Error> {
        let (link, new) = (self.data.join("current"), self.data.join(".current"));
        let _ = fs::remove_file(&new);
        let Some(number) = to else {
            let _ = fs::remove_file(&link);
            return Ok(durable::sync_folder(&self.data)?);
        };
        symlink(number.to_string(), &new).at("make the link", &new)?;
        fs::rename(&new, &link).at("rename into place", &link)?;
        Ok(durable::sync_folder(&self.data)?)
    }
}
