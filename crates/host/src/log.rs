//! The operation log, and the evidence that failed boots left: `elea log`, `elea log show N`.

use crate::error::Error;
use crate::machine::Machine;
use crate::view::{State, View, number_of};
use elea_formats::generation::Generation;
use elea_formats::oplog::{Event, Record};
use elea_sys::disk::Disk as _;
use serde::Serialize;

/// The value of `schema` of the log.
pub const SCHEMA: &str = "elea.log-list/1";
/// The value of `schema` of the evidence.
pub const EVIDENCE_SCHEMA: &str = "elea.evidence/1";
/// The most that is shown of one file, in bytes: its end, which tells why it ends.
const MAX_FILE: usize = 256 << 10;
/// The largest file that is opened.
const MAX_READ: u64 = 16 << 20;
/// The most files that are shown.
const MAX_FILES: usize = 64;

/// The log.
#[derive(Debug, Clone, Serialize)]
pub struct Log {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// All records, oldest first.
    pub records: Vec<Record>,
    /// What is wrong with the file.
    pub damage: Option<String>,
}

/// One generation's history.
#[derive(Debug, Clone, Serialize)]
pub struct History {
    /// [`EVIDENCE_SCHEMA`].
    pub schema: &'static str,
    /// The generation.
    pub number: u64,
    /// How it stands.
    pub state: State,
    /// Why it failed.
    pub reason: Option<String>,
    /// Its manifest.
    pub generation: Option<Generation>,
    /// The records about it.
    pub records: Vec<Record>,
    /// What its failed boots left, by file name.
    pub evidence: Vec<Evidence>,
}

/// One file of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The kernel's id of the boot.
    pub boot: String,
    /// `verdict.json`, `journal.txt`, `units.txt`, `checks.txt`, `panic.txt`, `initrd.txt`.
    pub name: String,
    /// Its path in the running system.
    pub path: String,
    /// Its text, or the end of it.
    pub text: String,
    /// Whether the beginning is left out.
    pub cut: bool,
}

/// The whole log.
pub fn log(machine: &Machine) -> Result<Log, Error> {
    let view = machine.view()?;
    Ok(Log {
        schema: SCHEMA,
        records: view.log,
        damage: view.log_damage,
    })
}

/// The history and the evidence of one generation.
pub fn show(machine: &Machine, number: u64) -> Result<History, Error> {
    let view = machine.view()?;
    if !view.numbers().contains(&number) {
        return Err(Error::Unknown(number));
    }
    Ok(History {
        schema: EVIDENCE_SCHEMA,
        number,
        state: view.state(number, machine.number()),
        reason: view.failure(number).map(str::to_owned),
        generation: view.manifest(number).cloned(),
        records: about(&view, number),
        evidence: evidence(machine, number)?,
    })
}

fn about(view: &View, number: u64) -> Vec<Record> {
    let is_about = |event: &Event| match event {
        Event::Collected { numbers } => numbers.contains(&number),
        Event::Staging { replaces, .. } if replaces.contains(&number) => true,
        event => number_of(event) == Some(number),
    };
    let records = view.log.iter().filter(|r| is_about(&r.event));
    records.cloned().collect()
}

/// Reads the files of `evidence/`: those of the running system in a folder for each boot, and
/// the initrd's beside them.
pub(crate) fn evidence(machine: &Machine, number: u64) -> Result<Vec<Evidence>, Error> {
    let state = machine.state();
    let base = format!("generations/{number}/evidence");
    let mut found = Vec::new();
    for name in state.list(&base)? {
        if name.is_folder {
            let folder = format!("{base}/{}", name.name);
            for file in state.list(&folder)?.into_iter().filter(|f| !f.is_folder) {
                found.push((
                    name.name.clone(),
                    file.name.clone(),
                    format!("{folder}/{}", file.name),
                ));
            }
        } else if let Some(boot) = initrd_boot(&name.name) {
            let path = format!("{base}/{}", name.name);
            found.push((boot.to_owned(), "initrd.txt".to_owned(), path));
        }
    }
    let shown = found.into_iter().take(MAX_FILES).map(|(boot, name, path)| {
        let content = state.read(&path, MAX_READ)?;
        let cut = content.len() > MAX_FILE;
        let tail = &content[content.len().saturating_sub(MAX_FILE)..];
        Ok(Evidence {
            boot,
            name,
            path: format!("/elea/{path}"),
            text: String::from_utf8_lossy(tail).into_owned(),
            cut,
        })
    });
    shown.collect()
}

/// The boot of `initrd-<boot id>.txt`.
pub(crate) fn initrd_boot(name: &str) -> Option<&str> {
    name.strip_prefix("initrd-")?.strip_suffix(".txt")
}
