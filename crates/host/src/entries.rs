//! The boot entries as a set, and the one way in which they change.
//!
//! A new folder is written whole and **exchanged** with the old one (invariant 3: nothing is
//! visible before it is durable and has been read back). See `docs/formats/boot-entry.md`.

mod files;

pub use files::{damage, missing};

use elea_formats::bls::{self, Counter, Entry, FileName, Owner};
use elea_formats::generation::Generation;
use elea_formats::version;
use elea_sys::PathError;
use elea_sys::disk::Disk;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// The folder that the loader reads.
pub const FOLDER: &str = "loader/entries";
/// The folder that is being prepared, or that was there before the last change.
const PREPARED: &str = "loader/entries.new";
/// More entries than this are not read: somebody filled the folder.
const MAX_ENTRIES: usize = 256;

/// Why the entries could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Too many files.
    #[error(
        "{FOLDER} on the boot partition holds {0} files; at most {MAX_ENTRIES} are read: remove what does not belong there"
    )]
    TooMany(usize),
    /// What was written did not come back from the device.
    #[error(
        "{path} on the boot partition reads back otherwise than it was written: the device may be failing; the old entries are untouched"
    )]
    ReadBack {
        /// The file.
        path: String,
    },
    /// The same folder under two names: a power cut tore the exchange.
    #[error(
        "{FOLDER} and {PREPARED} on the boot partition are the same folder: unmount it and run `fsck.vfat -a` on it, then try again"
    )]
    Crossed,
}

/// One of Elea's entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its counter, as the file name has it.
    pub counter: Option<Counter>,
    /// Its text.
    pub text: String,
}

impl Own {
    /// Whether it is good or has tries left.
    pub fn may_boot(&self) -> bool {
        self.counter.is_none_or(|counter| counter.left > 0)
    }

    /// Whether it is there to be picked by hand, and never boots by itself.
    pub fn is_specialisation(&self) -> bool {
        let key = format!("sort-key {}", bls::SPECIALISATION_SORT_KEY);
        self.text.lines().any(|line| line.trim() == key)
    }
}

/// All that is in the folder of entries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries {
    /// Elea's entries.
    pub own: BTreeMap<Owner, Own>,
    /// Other people's files, byte for byte.
    pub foreign: BTreeMap<String, Vec<u8>>,
    /// Leftovers of torn renames, and second names of an entry; not copied.
    pub debris: Vec<String>,
}

impl Entries {
    /// Reads the folder. An entry of Elea's under two names is taken as the one with fewer tries.
    pub fn load(boot: &dyn Disk) -> Result<Self, Error> {
        Self::load_folder(boot, FOLDER)
    }

    fn load_folder(boot: &dyn Disk, folder: &str) -> Result<Self, Error> {
        let names = boot.list(folder)?;
        if names.len() > MAX_ENTRIES {
            return Err(Error::TooMany(names.len()));
        }
        let mut entries = Self::default();
        for name in names.into_iter().filter(|n| !n.is_folder) {
            let content = boot.read(&format!("{folder}/{}", name.name), bls::MAX_TEXT as u64)?;
            entries.add(name.name, content);
        }
        Ok(entries)
    }

    fn add(&mut self, name: String, content: Vec<u8>) {
        if bls::is_debris(&name) || is_temporary(&name) {
            self.debris.push(name);
            return;
        }
        let Some(file) = FileName::parse(&name) else {
            self.foreign.insert(name, content);
            return;
        };
        let text = String::from_utf8_lossy(&content).into_owned();
        let new = Own {
            counter: file.counter,
            text,
        };
        match self.own.get(&file.owner) {
            None => drop(self.own.insert(file.owner, new)),
            Some(old) => {
                // A torn rename of the loader or of our own: the more careful reading wins, and
                // a healthy boot blesses again.
                let left = |own: &Own| own.counter.map_or(u32::MAX, |c| c.left);
                let keep_new = left(&new) < left(old);
                let lost = if keep_new { old.counter } else { new.counter };
                let counter = lost;
                let owner = file.owner;
                self.debris.push(FileName { owner, counter }.to_string());
                if keep_new {
                    self.own.insert(owner, new);
                }
            }
        }
    }

    /// The entry of a generation.
    pub fn generation(&self, number: u64) -> Option<&Own> {
        self.own.get(&Owner::Generation(number))
    }

    /// The generations that have an entry, in order.
    pub fn generations(&self) -> impl DoubleEndedIterator<Item = (u64, &Own)> {
        self.own.iter().filter_map(|(owner, own)| match owner {
            Owner::Generation(number) => Some((*number, own)),
            Owner::Rescue => None,
        })
    }

    /// The good generations (no counter) that boot by themselves, in order.
    pub fn good(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.generations()
            .filter(|(_, own)| own.counter.is_none() && !own.is_specialisation())
            .map(|(number, _)| number)
    }

    /// Puts a generation's entry in place, with a full counter (`is_counted`) or good.
    pub fn set_generation(&mut self, generation: &Generation, is_counted: bool) {
        let counter = is_counted.then_some(Counter {
            left: bls::TRIES,
            done: 0,
        });
        let text = entry(generation).encode();
        let owner = Owner::Generation(generation.number);
        self.own.insert(owner, Own { counter, text });
    }

    /// Makes the rescue entry that of a generation.
    pub fn set_rescue(&mut self, generation: &Generation) {
        let text = rescue_entry(generation).encode();
        let counter = None;
        self.own.insert(Owner::Rescue, Own { counter, text });
    }

    /// What the loader boots if nobody chooses: bad entries last, then sort-key, then version.
    pub fn default_entry(&self) -> Option<String> {
        let own = self.own.iter().map(|(owner, own)| {
            let (owner, counter) = (*owner, own.counter);
            (FileName { owner, counter }.to_string(), own.text.clone())
        });
        let foreign = self.foreign.iter().map(|(name, content)| {
            let text = String::from_utf8_lossy(content).into_owned();
            (name.clone(), text)
        });
        let mut all: Vec<(String, Entry)> = own
            .chain(foreign)
            .filter(|(name, _)| name.to_ascii_lowercase().ends_with(".conf"))
            .filter_map(|(name, text)| Some((name, Entry::parse(&text).ok()?)))
            .collect();
        all.sort_by(|(a_name, a), (b_name, b)| loader_order(a_name, a, b_name, b));
        all.into_iter().next().map(|(name, _)| name)
    }

    /// The names of the files as they will stand in the folder, with their content.
    pub fn files(&self) -> BTreeMap<String, &[u8]> {
        let own = self.own.iter().map(|(owner, own)| {
            let (owner, counter) = (*owner, own.counter);
            let name = FileName { owner, counter }.to_string();
            (name, own.text.as_bytes())
        });
        let foreign = self
            .foreign
            .iter()
            .map(|(name, content)| (name.clone(), content.as_slice()));
        own.chain(foreign).collect()
    }
}

/// The loader's order (UAPI.1 "Sorting"): counted out last, with a sort-key first, sort-key up,
/// version down, file name down.
fn loader_order(a_name: &str, a: &Entry, b_name: &str, b: &Entry) -> Ordering {
    let bad = |name: &str| {
        let stem = name.rsplit_once('+').map(|(_, counter)| counter);
        stem.is_some_and(|c| c.starts_with("0-") || c == "0.conf")
    };
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    bad(a_name)
        .cmp(&bad(b_name))
        .then_with(|| a.sort_key.is_none().cmp(&b.sort_key.is_none()))
        .then_with(|| a.sort_key.cmp(&b.sort_key))
        .then_with(|| version::compare(&text(&b.version), &text(&a.version)))
        .then_with(|| version::compare(b_name, a_name))
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp")
        .is_some_and(|stem| stem.starts_with("elea-"))
}

/// The entry of a generation.
pub fn entry(generation: &Generation) -> Entry {
    let path = |payload: &elea_formats::generation::Payload| format!("/elea/{}", payload.sha256);
    let sort_key = match &generation.specialisation {
        None => bls::SORT_KEY,
        Some(_) => bls::SPECIALISATION_SORT_KEY,
    };
    Entry {
        title: Some(format!("{} ({})", generation.title, generation.number)),
        version: Some(generation.number.to_string()),
        sort_key: Some(sort_key.into()),
        linux: Some(path(&generation.kernel)),
        initrds: generation.initrds.iter().map(path).collect(),
        options: Some(generation.options.clone()),
        others: Vec::new(),
    }
}

/// The rescue entry, with a generation's kernel and initrd.
pub fn rescue_entry(generation: &Generation) -> Entry {
    Entry {
        title: Some(format!("Rescue ({})", generation.title)),
        sort_key: Some(bls::RESCUE_SORT_KEY.into()),
        options: Some(format!("{} elea.rescue", generation.options)),
        ..entry(generation)
    }
}

/// Makes the folder hold exactly `entries`. The one commit point is the exchange; a power
/// cut before it leaves the old entries, after it the new ones.
pub fn publish(boot: &dyn Disk, entries: &Entries) -> Result<(), Error> {
    let now = Entries::load(boot)?;
    remove_prepared(boot, &now)?;
    if now.files() == entries.files() {
        return remove_files(boot, &now.debris);
    }
    boot.mkdir("loader")?;
    boot.mkdir(PREPARED)?;
    for (name, content) in entries.files() {
        boot.write_new(&format!("{PREPARED}/{name}"), content)?;
    }
    boot.sync_folder(PREPARED)?;
    boot.sync_all()?;
    for (name, content) in entries.files() {
        let path = format!("{PREPARED}/{name}");
        if boot.read_back(&path, bls::MAX_TEXT as u64)? != content {
            return Err(Error::ReadBack { path });
        }
    }
    let exchanged = if boot.list("loader")?.iter().any(|n| n.name == "entries") {
        boot.exchange(FOLDER, PREPARED)
    } else {
        boot.rename(PREPARED, FOLDER)
    };
    match exchanged {
        Ok(()) => {}
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => {
            return publish_in_place(boot, &now, entries);
        }
        Err(e) => return Err(e.into()),
    }
    boot.sync_folder("loader")?;
    boot.sync_all()?;
    remove_prepared(boot, entries)
}

/// Removes what an earlier change left, unless it is the folder in use under a second name.
fn remove_prepared(boot: &dyn Disk, now: &Entries) -> Result<(), Error> {
    if !boot.list("loader")?.iter().any(|n| n.name == "entries.new") {
        return Ok(());
    }
    let old = Entries::load_folder(boot, PREPARED)?;
    // Equal content may also be what a cut removal of the old folder left.
    if !old.files().is_empty() && old.files() == now.files() && is_crossed(boot)? {
        return Err(Error::Crossed);
    }
    boot.remove_folder(PREPARED)?;
    boot.sync_folder("loader")?;
    Ok(boot.sync_all()?)
}

/// Whether both names lead to one folder: a file made in one is seen in the other.
fn is_crossed(boot: &dyn Disk) -> Result<bool, Error> {
    const PROBE: &str = "elea-probe.tmp";
    let probe = format!("{PREPARED}/{PROBE}");
    if boot.size(&probe)?.is_none() {
        boot.write_new(&probe, b"")?;
        boot.sync_all()?;
    }
    let seen = boot.list(FOLDER)?.iter().any(|n| n.name == PROBE);
    if seen {
        boot.remove(&probe)?;
        boot.sync_all()?;
    }
    Ok(seen)
}

/// Where no exchange can be had: what is new first, then renames, then removals, each durable
/// before the next, so that no moment has less to boot than the one before.
fn publish_in_place(boot: &dyn Disk, now: &Entries, entries: &Entries) -> Result<(), Error> {
    boot.remove_folder(PREPARED)?;
    let old_files = now.files();
    let mut gone: Vec<String> = old_files
        .keys()
        .cloned()
        .chain(now.debris.clone())
        .collect();
    for (name, content) in entries.files() {
        gone.retain(|old| *old != name);
        if old_files.get(&name) == Some(&content) {
            continue;
        }
        let path = format!("{FOLDER}/{name}");
        let temporary = format!("{FOLDER}/elea-entry.tmp");
        if boot.size(&temporary)?.is_some() {
            boot.remove(&temporary)?;
        }
        boot.write_new(&temporary, content)?;
        if boot.read_back(&temporary, bls::MAX_TEXT as u64)? != content {
            return Err(Error::ReadBack { path });
        }
        boot.rename(&temporary, &path)?;
        boot.sync_folder(FOLDER)?;
        boot.sync_all()?;
    }
    remove_files(boot, &gone)
}

fn remove_files(boot: &dyn Disk, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        let path = format!("{FOLDER}/{name}");
        if boot.size(&path)?.is_some() {
            boot.remove(&path)?;
        }
    }
    boot.sync_folder(FOLDER)?;
    Ok(boot.sync_all()?)
}
