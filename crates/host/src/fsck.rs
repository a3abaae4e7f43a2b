//! Checks a machine's invariants (`docs/state-machine.md`) without changing anything.

use crate::apply::{self, is_whole};
use crate::entries::{entry, rescue_entry};
use crate::view::{Disks, State, View};
use elea_formats::bls::{Entry, Owner};
use elea_formats::generation::{Generation, Payload};
use elea_formats::oplog::{Event, Record};
use serde::Serialize;
use std::collections::BTreeMap;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.machine-check/1";

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A leftover; the next change clears it.
    Note,
    /// `repair` or the next boot puts it right.
    Repairable,
    /// An invariant does not hold.
    Broken,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The invariant's number, 1 to 10; 0 for leftovers.
    pub invariant: u8,
    /// How bad it is.
    pub severity: Severity,
    /// What, where, and what to do.
    pub what: String,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Everything found, in the order of the invariants.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether all invariants hold.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|f| f.severity == Severity::Note)
    }
}

/// Checks everything that the disks can show, reading each payload whole.
pub fn check(view: &View, disks: Disks<'_>) -> Result<Report, apply::Error> {
    let mut checker = Checker {
        view,
        disks,
        whole: BTreeMap::new(),
        findings: Vec::new(),
    };
    checker.entries()?;
    checker.good()?;
    checker.rescue()?;
    checker.log();
    checker.leftovers();
    let mut findings = checker.findings;
    findings.sort_by_key(|f| f.invariant);
    Ok(Report {
        schema: SCHEMA,
        findings,
    })
}

struct Checker<'a> {
    view: &'a View,
    disks: Disks<'a>,
    whole: BTreeMap<String, bool>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    fn find(&mut self, invariant: u8, severity: Severity, what: String) {
        self.findings.push(Finding {
            invariant,
            severity,
            what,
        });
    }

    fn is_whole(&mut self, payload: &Payload) -> Result<bool, apply::Error> {
        let key = payload.sha256.to_string();
        if let Some(known) = self.whole.get(&key) {
            return Ok(*known);
        }
        let whole = is_whole(self.disks.boot, payload)?;
        self.whole.insert(key, whole);
        Ok(whole)
    }

    fn all_whole(&mut self, generation: &Generation) -> Result<bool, apply::Error> {
        let mut whole = true;
        for payload in generation.payloads() {
            whole &= self.is_whole(payload)?;
        }
        Ok(whole)
    }

    /// Invariants 3 and 5: an entry names what is there, whole, and says what its manifest says.
    fn entries(&mut self) -> Result<(), apply::Error> {
        let view = self.view;
        for (number, own) in view.entries.generations() {
            let Some(generation) = view.manifest(number) else {
                let what = format!(
                    "the entry of generation {number} has no manifest in /elea/generations/{number}"
                );
                self.find(3, Severity::Broken, what);
                continue;
            };
            if Entry::parse(&own.text).ok().as_ref() != Some(&entry(generation)) {
                let what = format!(
                    "the entry of generation {number} says something else than its manifest"
                );
                self.find(3, Severity::Broken, what);
            }
            for payload in generation.payloads() {
                if !self.is_whole(payload)? {
                    let what = format!(
                        "{} of generation {number} is missing or damaged on the boot partition",
                        apply::path_of(payload)
                    );
                    self.find(3, Severity::Broken, what);
                }
            }
        }
        Ok(())
    }

    /// Invariant 1: something good and whole is there.
    fn good(&mut self) -> Result<(), apply::Error> {
        let view = self.view;
        let mut has_good = false;
        for number in view.entries.good() {
            if let Some(generation) = view.manifest(number) {
                has_good |= self.all_whole(generation)?;
            }
        }
        if view.has_committed() && !has_good {
            let what = "no good generation is whole on the boot partition".to_owned();
            self.find(1, Severity::Broken, what);
        }
        Ok(())
    }

    /// Invariant 10: the last resort is there.
    fn rescue(&mut self) -> Result<(), apply::Error> {
        let view = self.view;
        let Some(own) = view.entries.own.get(&Owner::Rescue) else {
            if view.entries.generations().next().is_some() {
                let what = "there is no rescue entry; the next commit makes one".to_owned();
                self.find(10, Severity::Repairable, what);
            }
            return Ok(());
        };
        let rescue = Entry::parse(&own.text).ok();
        let matches = |g: &&Generation| Some(rescue_entry(g)) == rescue;
        let mut manifests = view
            .generations
            .values()
            .filter_map(|f| f.manifest.as_ref());
        let whole = match manifests.find(matches) {
            Some(generation) => self.all_whole(generation)?,
            None => false,
        };
        if !whole {
            let what =
                "the rescue entry's kernel or initrd is missing, damaged or unknown".to_owned();
            self.find(10, Severity::Broken, what);
        }
        Ok(())
    }

    /// Invariant 6: the log explains the entries.
    fn log(&mut self) {
        let view = self.view;
        if let Some(damage) = &view.log_damage {
            self.find(6, Severity::Repairable, damage.clone());
        }
        if view.log_torn {
            let what = "the log's last record was cut off by a power cut".to_owned();
            self.find(6, Severity::Note, what);
        }
        for (number, own) in view.entries.generations() {
            let armed = |r: &Record| matches!(r.event, Event::Armed { number: n } | Event::Committed { number: n } if n == number);
            if !view.log.iter().any(armed) {
                let what = format!("the log does not say that generation {number} was armed");
                self.find(6, Severity::Repairable, what);
            }
            let healthy = view
                .log
                .iter()
                .any(|r| r.event == Event::Healthy { number });
            if own.counter.is_none() && healthy && !view.was_committed(number) {
                let what = format!("the log does not say that generation {number} was committed");
                self.find(6, Severity::Repairable, what);
            }
        }
        for number in view.numbers() {
            if view.state(number, None) == State::Vanished {
                let what =
                    format!("the entry of generation {number} is gone, and nothing took it away");
                self.find(6, Severity::Repairable, what);
            }
        }
    }

    fn leftovers(&mut self) {
        let view = self.view;
        let debris = view
            .entries
            .debris
            .iter()
            .map(|n| format!("loader/entries/{n}"));
        let folders = view
            .leftovers
            .iter()
            .map(|n| format!("/elea/generations/{n}"));
        let all: Vec<String> = debris
            .chain(folders)
            .chain(view.partial_payloads.iter().cloned())
            .collect();
        for path in all {
            self.find(0, Severity::Note, format!("{path} is a leftover"));
        }
    }
}
