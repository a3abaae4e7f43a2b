//! The verdict on a boot, and the evidence that a failed one leaves: `evidence/<boot id>/`
//! beside the generation, and `/run/elea/verdict.json` for this boot.

use crate::error::Error;
use crate::machine::Machine;
use crate::systemd::{self, Unit};
use elea_formats::oplog::Cause;
use elea_sys::{At as _, PathError, durable};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The value of `schema`.
pub(crate) const SCHEMA: &str = "elea.verdict/1";
/// Where the verdict on the boot that runs is.
const NOW: &str = "/run/elea/verdict.json";
/// Lines of the journal that are kept.
const LINES: u32 = 5000;
/// Bytes of the journal that are kept: its end.
const MAX_JOURNAL: usize = 2 << 20;
/// Bytes of each other file.
const MAX_TEXT: usize = 512 << 10;
/// Boots of a generation whose evidence is kept.
const BOOTS: usize = 8;
/// The largest verdict that is read.
const MAX_VERDICT: u64 = 4 << 20;

/// One check program, and what it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The program.
    pub path: PathBuf,
    /// Whether its failure fails the boot.
    pub required: bool,
    /// Whether it passed.
    pub passed: bool,
    /// "exit status: 1", "no end after 60 s".
    pub ended: String,
    /// How long it took.
    pub seconds: f64,
    /// What it said, or the end of it.
    pub output: String,
}

/// The verdict on a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// [`SCHEMA`].
    pub schema: String,
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// The generation.
    pub generation: u64,
    /// When, RFC 3339 in UTC.
    pub time: String,
    /// Whether the boot is healthy.
    pub healthy: bool,
    /// Whether the generation is good because of it.
    pub committed: bool,
    /// Why not, as a kind.
    pub cause: Option<Cause>,
    /// Why not, for people.
    pub reason: Option<String>,
    /// The units that had to be active.
    pub units: Vec<Unit>,
    /// All units that had failed.
    pub failed_units: Vec<String>,
    /// The check programs.
    pub checks: Vec<CheckResult>,
    /// What is not well and did not fail the boot.
    pub warnings: Vec<String>,
}

impl Verdict {
    /// A verdict of which nothing is known yet.
    pub(crate) fn new(boot_id: &str, generation: u64) -> Self {
        Self {
            schema: SCHEMA.into(),
            boot_id: boot_id.to_owned(),
            generation,
            time: crate::machine::now(),
            healthy: false,
            committed: false,
            cause: None,
            reason: None,
            units: Vec::new(),
            failed_units: Vec::new(),
            checks: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Not healthy, and why.
    #[must_use]
    pub(crate) fn failed(mut self, cause: Cause, reason: impl Into<String>) -> Self {
        self.healthy = false;
        self.cause = Some(cause);
        self.reason = Some(reason.into());
        self
    }

    /// Tells the rest of this boot.
    pub(crate) fn leave_word(&self) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        Ok(durable::write(Path::new(NOW), &text)?)
    }
}

/// The verdict on the boot that runs, if there is one.
pub(crate) fn now() -> Option<Verdict> {
    load(Path::new(NOW))
}

/// Reads a verdict.
pub(crate) fn load(path: &Path) -> Option<Verdict> {
    if fs::metadata(path).ok()?.len() > MAX_VERDICT {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Keeps what is known of this boot beside its generation, durably: verdict, journal, units,
/// and what the checks said.
pub(crate) fn keep(machine: &Machine, verdict: &Verdict) -> Result<PathBuf, Error> {
    systemd::flush_journal();
    let mut files = vec![
        (
            "verdict.json",
            serde_json::to_string_pretty(verdict).unwrap_or_default(),
        ),
        ("journal.txt", systemd::journal(None, LINES)),
        ("units.txt", units(verdict)),
    ];
    let checks: String = verdict.checks.iter().map(describe).collect();
    if !checks.is_empty() {
        files.push(("checks.txt", checks));
    }
    let evidence = machine.generation(verdict.generation).join("evidence");
    let folder = write(&evidence, &verdict.boot_id, &files)?;
    prune(&evidence)?;
    Ok(folder)
}

/// Writes files of evidence whole: `evidence/<boot>/<name>`. What is there stays.
pub(crate) fn write(
    evidence: &Path,
    boot: &str,
    files: &[(&str, String)],
) -> Result<PathBuf, PathError> {
    let folder = evidence.join(boot);
    fs::create_dir_all(&folder).at("create", &folder)?;
    for (name, text) in files {
        let limit = if *name == "journal.txt" {
            MAX_JOURNAL
        } else {
            MAX_TEXT
        };
        // A verdict must stay whole to be read; its parts are bounded where they are made.
        let text = if *name == "verdict.json" {
            text
        } else {
            tail(text, limit)
        };
        if !text.is_empty() {
            durable::write_private(&folder.join(name), text.as_bytes())?;
        }
    }
    durable::sync_folder(evidence)?;
    if let Some(generation) = evidence.parent() {
        durable::sync_folder(generation)?;
    }
    Ok(folder)
}

/// The end of a text, at most `limit` bytes, from the beginning of a line.
pub(crate) fn tail(text: &str, limit: usize) -> &str {
    let Some(cut) = text.len().checked_sub(limit).filter(|cut| *cut > 0) else {
        return text;
    };
    let from = text.as_bytes()[cut..].iter().position(|b| *b == b'\n');
    from.map_or("", |line| &text[cut + line + 1..])
}

fn units(verdict: &Verdict) -> String {
    let mut text = String::new();
    let not_active = verdict.units.iter().filter(|u| u.active != "active");
    let failed = verdict.failed_units.iter();
    let mut names: Vec<&str> = not_active
        .map(|u| u.name.as_str())
        .chain(failed.map(String::as_str))
        .collect();
    names.dedup();
    let jobs = systemd::jobs();
    if !jobs.is_empty() {
        text = format!("jobs:\n{}\n\n", jobs.join("\n"));
    }
    for name in names.into_iter().take(20) {
        text.push_str(&systemd::unit_report(name));
        text.push('\n');
    }
    text
}

fn describe(check: &CheckResult) -> String {
    let verdict = match (check.passed, check.required) {
        (true, _) => "passed",
        (false, true) => "FAILED",
        (false, false) => "failed (wanted only)",
    };
    format!(
        "{} {verdict}: {} after {:.1} s\n{}\n",
        check.path.display(),
        check.ended,
        check.seconds,
        check.output
    )
}

/// The oldest evidence goes, so that a machine that fails for ever does not fill its disk.
fn prune(evidence: &Path) -> Result<(), PathError> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(evidence).at("list", evidence)? {
        let entry = entry.at("list", evidence)?;
        let metadata = entry.metadata().at("look at", entry.path())?;
        if metadata.is_dir() {
            folders.push((metadata.modified().ok(), entry.path()));
        }
    }
    folders.sort();
    let surplus = folders.len().saturating_sub(BOOTS);
    for (_, folder) in folders.into_iter().take(surplus) {
        fs::remove_dir_all(&folder).at("remove", &folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_bounded_and_keeps_the_end() {
        assert_eq!(tail("one\ntwo\nthree\n", 100), "one\ntwo\nthree\n");
        assert_eq!(tail("one\ntwo\nthree\n", 8), "three\n");
        assert_eq!(tail("ä\nö", 3), "ö");
        assert_eq!(tail("long line", 3), "");
        let dir = tempfile::tempdir().unwrap();
        for i in 0..12 {
            let boot = format!("boot-{i:02}");
            let files = [
                ("journal.txt", format!("{i}\n")),
                ("units.txt", String::new()),
            ];
            let folder = write(dir.path(), &boot, &files).unwrap();
            assert!(folder.join("journal.txt").exists() && !folder.join("units.txt").exists());
            let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(i);
            fs::File::open(&folder).unwrap().set_modified(past).unwrap();
        }
        prune(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!((left.len(), &*left[0]), (BOOTS, "boot-04"));
    }
}
