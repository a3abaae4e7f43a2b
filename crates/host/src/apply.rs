//! Carries out a [`Plan`], step by step, each durable before the next.

use crate::entries::{self, publish};
use crate::plan::{Plan, Step};
use crate::view::{Disks, LOG, PAYLOADS, View};
use elea_formats::digest::Sha256;
use elea_formats::generation::{MAX_PAYLOAD, Payload};
use elea_formats::oplog::{self, Event, Record};
use elea_sys::PathError;
use elea_sys::disk::Disk;
use std::collections::BTreeMap;

/// Room that is left free on `$BOOT` beside the payloads, for entries and the loader.
const BOOT_RESERVE: u64 = 1 << 20;

/// Why a plan could not be carried out. What was done before is durable and harmless; the same
/// command may be given again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The boot entries could not be changed.
    #[error(transparent)]
    Entries(#[from] entries::Error),
    /// Not enough room on `$BOOT`, found before anything was written.
    #[error(
        "the boot partition has no room for kernel and initrd: {free} bytes are free, {needed} are needed; remove files there that are not Elea's, or unpin generations (`elea generations`)"
    )]
    BootFull {
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The source does not have what the manifest names.
    #[error("the image's kernel or initrd has digest {actual}, its generation names {expected}")]
    WrongPayload {
        /// What the manifest names.
        expected: Sha256,
        /// What the source gave.
        actual: Sha256,
    },
    /// What was written did not come back from the device.
    #[error(
        "{path} on the boot partition reads back otherwise than it was written: the device may be failing; nothing that boots was changed"
    )]
    ReadBack {
        /// The file.
        path: String,
    },
    /// A manifest of that number is there and is another one.
    #[error(
        "/elea/generations/{0}/manifest.json is there already and says something else; `elea generations` shows it"
    )]
    NumberTaken(u64),
    /// The source of payloads failed.
    #[error("cannot read the image's kernel or initrd: {0}")]
    Source(String),
}

/// Who does it, and when: for the log.
#[derive(Debug, Clone)]
pub struct Context {
    /// RFC 3339, UTC.
    pub time: String,
    /// The kernel's boot id.
    pub boot: Option<String>,
    /// The command: `elea upgrade`.
    pub by: String,
}

/// Where the bytes of a payload that is not on `$BOOT` come from.
pub trait Payloads {
    /// The bytes of the file with this SHA-256.
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, Error>;
}

/// For plans that need only payloads that are on `$BOOT` already.
#[derive(Debug, Clone, Copy)]
pub struct NoPayloads;

impl Payloads for NoPayloads {
    fn payload(&self, payload: &Payload) -> Result<Vec<u8>, Error> {
        let text = format!("{} is not on the boot partition", payload.sha256);
        Err(Error::Source(text))
    }
}

/// Carries out a plan. Free space is checked for all payloads before the first step.
pub fn apply(
    plan: &Plan,
    disks: Disks<'_>,
    context: &Context,
    source: &dyn Payloads,
) -> Result<(), Error> {
    check_room(plan.payloads(), disks.boot)?;
    for step in &plan.steps {
        match step {
            Step::Manifest { generation } => {
                let text = serde_json::to_string_pretty(generation)
                    .expect("a manifest has only string keys");
                write_manifest(disks.state, generation.number, text.as_bytes())?;
            }
            Step::Payload { payload } => put_payload(disks.boot, payload, source)?,
            Step::Record { event } => append(disks.state, context, event)?,
            Step::Entries { entries } => publish(disks.boot, entries)?,
            Step::ClearTries { number } => clear_tries(disks.state, *number)?,
            Step::Pin { number, pinned } => set_pin(disks.state, *number, *pinned)?,
            Step::Remove {
                number,
                keep_evidence,
            } => remove(disks.state, *number, *keep_evidence)?,
            Step::RemovePayload { path } => {
                disks.boot.remove(path)?;
                disks.boot.sync_folder(PAYLOADS)?;
            }
            Step::RemoveLeftover { path } => {
                disks.state.remove_folder(path)?;
                disks.state.sync_folder("generations")?;
            }
        }
    }
    Ok(())
}

/// Room for every payload that is missing, at once: a half-filled `$BOOT` helps nobody.
pub fn check_room<'a>(
    payloads: impl IntoIterator<Item = &'a Payload>,
    boot: &dyn Disk,
) -> Result<(), Error> {
    let mut needed: u64 = 0;
    // Several generations may have the same kernel.
    let each: BTreeMap<Sha256, &Payload> = payloads.into_iter().map(|p| (p.sha256, p)).collect();
    for payload in each.into_values() {
        let there = boot.size(&path_of(payload))?;
        if there != Some(payload.size) {
            needed = needed.saturating_add(payload.size);
        }
    }
    let free = boot.free()?;
    if needed > 0 && needed.saturating_add(BOOT_RESERVE) > free {
        let needed = needed.saturating_add(BOOT_RESERVE);
        return Err(Error::BootFull { free, needed });
    }
    Ok(())
}

/// The place of a payload on `$BOOT`.
pub fn path_of(payload: &Payload) -> String {
    format!("{PAYLOADS}/{}", payload.sha256)
}

/// Whether a payload is on `$BOOT` and has its digest, read from the device.
pub fn is_whole(boot: &dyn Disk, payload: &Payload) -> Result<bool, Error> {
    let path = path_of(payload);
    if boot.size(&path)? != Some(payload.size) {
        return Ok(false);
    }
    let content = boot.read_back(&path, MAX_PAYLOAD)?;
    Ok(Sha256::of(&content) == payload.sha256)
}

fn put_payload(boot: &dyn Disk, payload: &Payload, source: &dyn Payloads) -> Result<(), Error> {
    if is_whole(boot, payload)? {
        return Ok(());
    }
    let content = source.payload(payload)?;
    let actual = Sha256::of(&content);
    if actual != payload.sha256 {
        let expected = payload.sha256;
        return Err(Error::WrongPayload { expected, actual });
    }
    let digest = payload.sha256.to_string();
    let temporary = format!("{PAYLOADS}/{}.new", &digest[..16]);
    boot.mkdir(PAYLOADS)?;
    if boot.size(&temporary)?.is_some() {
        boot.remove(&temporary)?;
    }
    boot.write_new(&temporary, &content)?;
    boot.sync_all()?;
    if boot.read_back(&temporary, MAX_PAYLOAD)? != content {
        return Err(Error::ReadBack { path: temporary });
    }
    boot.rename(&temporary, &path_of(payload))?;
    boot.sync_folder(PAYLOADS)?;
    Ok(boot.sync_all()?)
}

fn write_manifest(state: &dyn Disk, number: u64, text: &[u8]) -> Result<(), Error> {
    let folder = format!("generations/{number}");
    let path = format!("{folder}/manifest.json");
    if state.size(&path)?.is_some() {
        if state
            .read(&path, text.len() as u64 + 1)
            .is_ok_and(|t| t == text)
        {
            return Ok(());
        }
        return Err(Error::NumberTaken(number));
    }
    state.mkdir("generations")?;
    state.mkdir(&folder)?;
    write_file(state, &folder, "manifest.json", text)?;
    Ok(state.sync_folder("generations")?)
}

/// A whole file or none: temporary name, sync, rename, sync.
pub(crate) fn write_file(
    disk: &dyn Disk,
    folder: &str,
    name: &str,
    content: &[u8],
) -> Result<(), PathError> {
    let temporary = format!("{folder}/{name}.new");
    if disk.size(&temporary)?.is_some() {
        disk.remove(&temporary)?;
    }
    disk.write_new(&temporary, content)?;
    disk.rename(&temporary, &format!("{folder}/{name}"))?;
    disk.sync_folder(folder)
}

/// Adds a record to the log. A torn tail is cut off first; a damaged log is moved aside,
/// and what checks out of it goes on.
pub fn append(state: &dyn Disk, context: &Context, event: &Event) -> Result<(), Error> {
    let mut view = View::default();
    view.load_log_only(state)?;
    let last = view.log.last().map_or(0, |r| r.sequence);
    if view.log_torn || view.log_damage.is_some() {
        rewrite(state, context, &view)?;
    }
    let added = u64::from(view.log_damage.is_some());
    let renumbered = if view.log_damage.is_some() {
        view.log.len() as u64
    } else {
        last
    };
    let is_new = state.size(LOG)?.is_none();
    state.mkdir("log")?;
    let line = oplog::encode(&new_record(context, renumbered + added + 1, event.clone()));
    state.append(LOG, line.as_bytes())?;
    if is_new {
        state.sync_folder("log")?;
        state.sync_all()?;
    }
    Ok(())
}

fn new_record(context: &Context, sequence: u64, event: Event) -> Record {
    Record {
        schema: oplog::SCHEMA.into(),
        sequence,
        time: context.time.clone(),
        boot: context.boot.clone(),
        by: context.by.clone(),
        event,
    }
}

/// Writes the log anew from its good records. Only after damage are they numbered anew.
fn rewrite(state: &dyn Disk, context: &Context, view: &View) -> Result<(), Error> {
    let mut records = view.log.clone();
    if let Some(damage) = &view.log_damage {
        let last = records.last().map_or(0, |r| r.sequence);
        let aside = format!("log/operations.damaged-{last}.jsonl");
        let old = state.read(LOG, u64::MAX)?;
        if state.size(&aside)?.is_none() {
            let name = aside.trim_start_matches("log/");
            write_file(state, "log", name, &old)?;
        }
        for (record, sequence) in records.iter_mut().zip(1..) {
            record.sequence = sequence;
        }
        let what = format!("{damage}; the damaged log is kept as {aside}");
        let sequence = records.len() as u64 + 1;
        records.push(new_record(context, sequence, Event::Repaired { what }));
    }
    // Records of events that a newer Elea wrote keep their bytes after a mere torn tail.
    let text = match view.log_whole {
        Some(whole) => {
            let mut bytes = state.read(LOG, u64::MAX)?;
            bytes.truncate(whole);
            bytes
        }
        None => records
            .iter()
            .flat_map(|r| oplog::encode(r).into_bytes())
            .collect(),
    };
    Ok(write_file(state, "log", "operations.jsonl", &text)?)
}

fn clear_tries(state: &dyn Disk, number: u64) -> Result<(), Error> {
    let folder = format!("generations/{number}/tries");
    for name in state.list(&folder)? {
        state.remove(&format!("{folder}/{}", name.name))?;
    }
    Ok(state.sync_folder(&folder)?)
}

fn set_pin(state: &dyn Disk, number: u64, pinned: bool) -> Result<(), Error> {
    let folder = format!("generations/{number}");
    let path = format!("{folder}/pin");
    match (pinned, state.size(&path)?.is_some()) {
        (true, false) => write_file(state, &folder, "pin", b"")?,
        (false, true) => {
            state.remove(&path)?;
            state.sync_folder(&folder)?;
        }
        _ => {}
    }
    Ok(())
}

fn remove(state: &dyn Disk, number: u64, keep_evidence: bool) -> Result<(), Error> {
    let folder = format!("generations/{number}");
    if !keep_evidence {
        if !state
            .list("generations")?
            .iter()
            .any(|n| n.name == number.to_string())
        {
            return Ok(());
        }
        // Renamed first: a cut removal must not leave half a generation under its number.
        let gone = format!("generations/{number}.gone");
        state.rename(&folder, &gone)?;
        state.sync_folder("generations")?;
        state.remove_folder(&gone)?;
        return Ok(state.sync_folder("generations")?);
    }
    for name in state.list(&folder)? {
        let path = format!("{folder}/{}", name.name);
        match name.name.as_str() {
            "manifest.json" | "evidence" => {}
            _ if name.is_folder => state.remove_folder(&path)?,
            _ => state.remove(&path)?,
        }
    }
    Ok(state.sync_folder(&folder)?)
}
