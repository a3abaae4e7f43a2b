//! The files of one person: declared by a config, in generations, on any distribution and without root.
//!
//! [`declared`] is what a config says, [`plan`] works out what an apply does and lists everything that is in the way,
//! `journal` carries it out so that a crash leaves all of the old or all of the new, [`merge`] writes declared keys into
//! files that programs write too. `docs/homes.md` says it for people, `docs/formats/home.md` has the files.

pub mod declared;
mod environment;
mod error;
mod found;
mod journal;
pub mod merge;
pub mod plan;
pub mod profile;
mod state;
mod units;

pub use error::Error;
pub use state::Manifest;

use declared::Wanted;
use elea_sys::At as _;
use elea_sys::lock::Locked;
use elea_sys::root::Root;
use journal::{Tick, Ticks};
use plan::HomePlan;
use serde::Serialize;
use state::{State, remove_tree};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A home, with its lock.
#[derive(Debug)]
pub struct Home {
    /// As it was named.
    path: PathBuf,
    /// Without links.
    real: PathBuf,
    root: Root,
    /// Where generations are.
    data: PathBuf,
    /// Locked while somebody changes it. The home's own folder is: a file would have to be made.
    _lock: Option<Locked>,
}

/// How a change is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Work it out and do nothing.
    pub dry_run: bool,
    /// Move away what is in the way.
    pub backup: bool,
}

/// The generations of a home.
#[derive(Debug, Serialize)]
pub struct Generations {
    /// `elea.home-generations/1`.
    pub schema: &'static str,
    /// By number.
    pub generations: Vec<Line>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// Whether it is in use.
    pub current: bool,
    /// When it was made.
    pub created: String,
    /// How many paths it has.
    pub paths: usize,
    /// Names of packages.
    pub packages: Vec<String>,
}

impl Home {
    /// Opens the home at `path`, whose records are below `data` (`~/.local/share`), to read, or to change it.
    pub fn open(path: &Path, data: &Path, change: bool) -> Result<Self, Error> {
        let unusable = |why| Error::Home {
            path: path.to_owned(),
            why,
        };
        if !path.is_absolute() || !data.is_absolute() {
            return Err(unusable("HOME and XDG_DATA_HOME must be absolute"));
        }
        let real = path.canonicalize().at("find the home", path)?;
        let status = fs::metadata(&real).at("look at", &real)?;
        if !status.is_dir() || real == Path::new("/") {
            return Err(unusable("it is no home; set HOME"));
        }
        if status.uid() != rustix::process::geteuid().as_raw() {
            let why = "it belongs to somebody else; run this as that user, without sudo";
            return Err(unusable(why));
        }
        let lock = if change {
            let file = fs::File::open(&real).at("open", &real)?;
            let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            match rustix::fs::flock(&file, how) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Busy),
                result => result.at("lock", &real)?,
            }
            Some(Locked::new(file))
        } else {
            None
        };
        // A home may be reached by several names; its records have one place.
        let data = match data.strip_prefix(path) {
            Ok(inside) => real.join(inside),
            Err(_) => data.to_owned(),
        };
        Ok(Self {
            path: path.to_owned(),
            root: Root::open(&real)?,
            real,
            data: data.join("elea/home"),
            _lock: lock,
        })
    }

    /// Makes the home what is declared. With collisions in the plan, nothing was done. `make` fills the folder of a
    /// profile that is not there yet.
    pub fn apply(
        &self,
        wanted: &Wanted,
        options: Options,
        make: Maker<'_>,
        cancelled: &AtomicBool,
    ) -> Result<HomePlan, Error> {
        self.apply_with(wanted, options, make, &mut ticks(cancelled))
    }

    fn apply_with(
        &self,
        wanted: &Wanted,
        options: Options,
        make: Maker<'_>,
        tick: Ticks<'_>,
    ) -> Result<HomePlan, Error> {
        let note = self.recover(options, tick)?;
        let old = self.load_state()?;
        let numbers = self.numbers()?;
        // One that is the same is used again.
        let candidates = old.generation.into_iter().chain(numbers.last().copied());
        let mut same = None;
        for number in candidates {
            let manifest = self.manifest(number)?;
            if manifest.entries == wanted.entries
                && manifest.packages == wanted.packages
                && manifest.profile == wanted.profile
            {
                same = Some(number);
                break;
            }
        }
        let number = same.unwrap_or_else(|| numbers.last().map_or(1, |last| last + 1));
        let mut plan = self.plan(&old, wanted, Some(number), options)?;
        plan.notes.extend(note);
        let fresh = same.is_none().then_some(number);
        self.carry_out(&mut plan, wanted, (fresh, make), &old, options, tick)?;
        Ok(plan)
    }

    /// Goes back to an older generation: the highest below the one in use, if none is named.
    pub fn rollback(
        &self,
        to: Option<u64>,
        options: Options,
        cancelled: &AtomicBool,
    ) -> Result<HomePlan, Error> {
        let tick = &mut ticks(cancelled);
        let note = self.recover(options, tick)?;
        let old = self.load_state()?;
        let current = old.generation.ok_or(Error::Nothing)?;
        let numbers = self.numbers()?;
        let below = || numbers.iter().rev().find(|n| **n < current).copied();
        let to = to.or_else(below).ok_or(Error::Oldest(current))?;
        if !numbers.contains(&to) {
            return Err(Error::Unknown(to));
        }
        let wanted = self.wanted(to)?;
        if let Some(profile) = &wanted.profile
            && !self.has_profile(profile)
        {
            let path = self.profile_folder(profile);
            return Err(Error::Profile { path });
        }
        let mut plan = self.plan(&old, &wanted, Some(to), options)?;
        plan.notes.extend(note);
        self.carry_out(
            &mut plan,
            &wanted,
            (None, &mut no_profile),
            &old,
            options,
            tick,
        )?;
        Ok(plan)
    }

    /// Takes everything back that was ever applied, the generations too.
    pub fn remove(&self, options: Options, cancelled: &AtomicBool) -> Result<HomePlan, Error> {
        let tick = &mut ticks(cancelled);
        let note = self.recover(options, tick)?;
        let old = self.load_state()?;
        if old.generation.is_none() && !self.data.exists() {
            return Err(Error::Nothing);
        }
        let nothing = Wanted::default();
        let mut plan = self.plan(&old, &nothing, None, options)?;
        plan.notes.extend(note);
        plan.notes.extend(self.backups(&old));
        self.carry_out(
            &mut plan,
            &nothing,
            (None, &mut no_profile),
            &old,
            options,
            tick,
        )?;
        if !options.dry_run {
            self.remove_records(&old)?;
        }
        Ok(plan)
    }

    /// The generations.
    pub fn generations(&self) -> Result<Generations, Error> {
        let current = self.load_state()?.generation;
        let mut generations = Vec::new();
        for number in self.numbers()? {
            let manifest = self.manifest(number)?;
            generations.push(Line {
                number,
                current: current == Some(number),
                created: manifest.created,
                paths: manifest.entries.len(),
                packages: manifest.packages,
            });
        }
        Ok(Generations {
            schema: "elea.home-generations/1",
            generations,
        })
    }

    fn recover(&self, options: Options, tick: Ticks<'_>) -> Result<Option<String>, Error> {
        if options.dry_run && self.data.join("journal.json").exists() {
            let note = "an earlier apply ended in the middle; what is shown may differ once it is put right";
            return Ok(Some(note.into()));
        }
        Ok(journal::recover(self, tick)?.map(|finished| {
            let how = if finished { "finished" } else { "taken back" };
            format!("an earlier apply ended in the middle; it was {how} first")
        }))
    }

    fn plan(
        &self,
        old: &State,
        wanted: &Wanted,
        to: Option<u64>,
        options: Options,
    ) -> Result<HomePlan, Error> {
        let paths: BTreeSet<&String> = wanted.entries.keys().chain(old.placed.keys()).collect();
        let look = self.look(paths.into_iter())?;
        let mut places = BTreeSet::new();
        for path in wanted.entries.keys() {
            if let Ok(real) = self.resolve(path)
                && !places.insert(real)
            {
                let why = "links of the home make it the same file as another one that is declared";
                return Err(Error::declared(path, why));
            }
        }
        let data = match self.data.strip_prefix(&self.real) {
            Ok(inside) => self.path.join(inside),
            Err(_) => self.data.clone(),
        };
        let links = data.join("current/files").display().to_string();
        let mut plan = plan::plan_home(old, wanted, to, &look, &links, options.backup);
        plan.dry_run = options.dry_run;
        Ok(plan)
    }

    /// Does what a plan says, if it may be done.
    fn carry_out(
        &self,
        plan: &mut HomePlan,
        wanted: &Wanted,
        (fresh, make): (Option<u64>, Maker<'_>),
        old: &State,
        options: Options,
        tick: Ticks<'_>,
    ) -> Result<(), Error> {
        let lacks = wanted.profile.filter(|key| !self.has_profile(key));
        let unchanged = plan.is_empty() && plan.state.placed == old.placed && lacks.is_none();
        if options.dry_run || !plan.collisions.is_empty() || unchanged {
            return Ok(());
        }
        plan.state.above.clone_from(&old.above);
        plan.state.above.extend(self.make_records()?);
        let done = lacks
            .map_or(Ok(()), |key| self.add_profile(&key, make))
            .and_then(|()| fresh.map_or(Ok(()), |number| self.save_generation(number, wanted)))
            .and_then(|()| journal::apply(self, plan, tick));
        if let Err(why) = done {
            #[cfg(test)]
            if matches!(why, Error::Dead) {
                return Err(why);
            }
            // Nothing is left of it.
            if let Some(number) = fresh
                && self.load_state()?.generation != Some(number)
            {
                remove_tree(&self.data.join(number.to_string()))?;
                remove_tree(&self.data.join(".new"))?;
            }
            self.sweep_profiles()?;
            // What was fetched for it is kept: whoever tries again needs it.
            if wanted.profile.is_none()
                && old.generation.is_none()
                && self.load_state()?.generation.is_none()
            {
                self.remove_records(&plan.state)?;
            }
            return Err(why);
        }
        self.sweep(plan.to)?;
        let (note, failed) = units::reload(plan);
        plan.notes.extend(note);
        plan.failed = failed;
        plan.notes.extend(self.shells(plan));
        Ok(())
    }

    /// What to do for shells, if they are to get a first environment.
    fn shells(&self, plan: &HomePlan) -> Option<String> {
        let is_new = |change: &plan::Change| {
            change.path == declared::SHELLS && change.action == plan::Action::Create
        };
        let reads = |name: &str| {
            let text = fs::read_to_string(self.real.join(name)).unwrap_or_default();
            text.contains(declared::SHELLS)
        };
        let profiles = [".profile", ".bash_profile", ".zprofile"];
        let needed = plan.changes.iter().any(is_new) && !profiles.iter().any(|name| reads(name));
        needed.then(|| {
            format!(
                "sessions of systemd get the environment at the next login; for others, such as ssh, add this to ~/.profile: . \"$HOME/{}\"",
                declared::SHELLS
            )
        })
    }

    /// Makes the folder of records; those folders that were not there.
    fn make_records(&self) -> Result<BTreeSet<PathBuf>, Error> {
        let missing = self.data.ancestors().take_while(|folder| !folder.exists());
        let missing: BTreeSet<PathBuf> = missing.map(Path::to_owned).collect();
        fs::create_dir_all(&self.data).at("make the folder", &self.data)?;
        // Configs have what is nobody else's business.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&self.data, mode).at("set the mode of", &self.data)?;
        Ok(missing)
    }

    fn remove_records(&self, state: &State) -> Result<(), Error> {
        remove_tree(&self.data)?;
        if let Some(elea) = self.data.parent() {
            // A store may be beside it.
            let _ = fs::remove_dir(elea);
        }
        for folder in state.above.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// What was moved away and is still there.
    fn backups(&self, state: &State) -> Option<String> {
        let is_one = |path: &&String| {
            let real = self.resolve(path).ok();
            real.is_some_and(|real| !self.free_name(path, &real).ends_with(".elea-1"))
        };
        let found: Vec<&str> = state
            .placed
            .keys()
            .filter(is_one)
            .map(String::as_str)
            .collect();
        (!found.is_empty()).then(|| {
            let list = found.join(", ");
            format!("backups stay, with `.elea-1` and so on behind their names: of {list}")
        })
    }
}

/// Fills the folder of a profile.
pub type Maker<'m> = &'m mut dyn FnMut(&Path) -> Result<(), Error>;

/// For who makes none: profiles that are there already are enough.
pub fn no_profile(path: &Path) -> Result<(), Error> {
    let path = path.to_owned();
    Err(Error::Profile { path })
}

fn ticks(cancelled: &AtomicBool) -> impl FnMut() -> Tick {
    || {
        if cancelled.load(Ordering::Relaxed) {
            Tick::Stop
        } else {
            Tick::Go
        }
    }
}

#[cfg(test)]
mod tests;
