//! Gathers what a status says.

use super::drift::{self, Drift};
use super::loader::loader;
use super::{
    EtcStatus, LastCheck, Refused, Running, SCHEMA, Sealing, Space, Status, Usr, VerdictNow,
};
use crate::error::Error;
use crate::firmware::Firmware;
use crate::install::firstboot::SEALING;
use crate::machine::Machine;
use crate::state::{reset, versions};
use crate::upgrade::{LAST_CHECK, followed};
use crate::verdict::{self, Verdict};
use crate::view::{State, View};
use crate::{entries, etc, generations};
use elea_formats::bls::Entry;
use elea_formats::booted::{Booted, rfc3339};
use elea_sys::At as _;
use elea_sys::disk::Disk as _;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The largest small file of state.
const MAX_FILE: u64 = 1 << 20;

/// Reads how the machine stands. Changes nothing.
pub fn status(machine: &Machine) -> Result<Status, Error> {
    let view = machine.view()?;
    let booted = machine.booted();
    let number = machine.number();
    let mut warnings: Vec<String> = booted.map(|b| b.warnings.clone()).unwrap_or_default();
    // What another boot wrote is not this one's.
    let verdict = verdict::now().filter(|v| booted.is_some_and(|b| b.boot_id == v.boot_id));
    warnings.extend(verdict.iter().flat_map(|v| v.warnings.clone()));
    warnings.extend(broken(machine, &view)?);
    warnings.extend(crate::live::warning(machine));
    if booted.is_some() {
        match versions::offers(machine, None) {
            Ok(offers) => warnings.extend(offers.iter().map(ToString::to_string)),
            Err(e) => warnings.push(format!("the versions of the state are not known: {e}")),
        }
    }
    if reset::is_asked(machine) {
        warnings.push(
            "a factory reset was asked for: the next boot does it (`elea state reset --cancel`)"
                .into(),
        );
    }
    let firmware = booted.map(|_| Firmware::load());
    let config = machine.boot()?.read("loader/loader.conf", MAX_FILE);
    let config = String::from_utf8_lossy(&config.unwrap_or_default()).into_owned();
    let watchdog = booted.and_then(watchdog);
    let base = number.or_else(|| view.entries.good().next_back());
    let base = base.and_then(|n| view.manifest(n));
    Ok(Status {
        schema: SCHEMA,
        running: booted.map(|b| Running {
            applied: machine.etc_number().filter(|n| Some(*n) != number),
            usr: usr(machine, &view, b),
            ..running(&view, b, verdict.as_ref(), watchdog.clone())
        }),
        next: generations::next(&view),
        generations: generations::lines(&view, number),
        refused: refused(&view, number),
        etc: edits(machine, &view, &mut warnings),
        drift: drift(machine),
        loader: loader(firmware.as_ref(), &config, watchdog.as_deref()),
        foreign: firmware.map(|f| f.foreign_choices()).unwrap_or_default(),
        space: space(machine)?,
        sealing: sealing(machine)?,
        follows: base.and_then(|b| followed(&view, b)).map(|s| s.reference),
        last_check: last_check(machine),
        warnings,
    })
}

fn running(
    view: &View,
    booted: &Booted,
    verdict: Option<&Verdict>,
    watchdog: Option<String>,
) -> Running {
    let number = booted.generation;
    let manifest = view.manifest(number);
    Running {
        number,
        title: manifest.map(|m| m.title.clone()),
        version: manifest.map(|m| m.version.clone()),
        image: booted.image,
        since: since(),
        verdict: match verdict {
            None => VerdictNow::Waiting,
            Some(v) if v.committed => VerdictNow::Committed,
            Some(v) if v.healthy => VerdictNow::Healthy,
            Some(v) => VerdictNow::Unhealthy {
                reason: v.reason.clone().unwrap_or_default(),
            },
        },
        verity: booted.verity,
        etc: booted.etc.clone(),
        applied: None,
        usr: None,
        watchdog,
        rescue: booted.rescue,
        boot_id: booted.boot_id.clone(),
    }
}

/// The `/usr` of another image than the booted one, if it shows.
fn usr(machine: &Machine, view: &View, booted: &Booted) -> Option<Usr> {
    let image = machine.usr_image().filter(|image| *image != booted.image)?;
    let has = |number: &u64| view.manifest(*number).map(|m| m.image) == Some(image);
    let shown = machine.etc_number().filter(has);
    let generation = shown.or_else(|| view.generations.keys().rev().copied().find(has));
    Some(Usr { image, generation })
}

/// When the kernel started, by the clock of now.
fn since() -> Option<String> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|l| l.strip_prefix("btime "))?;
    Some(rfc3339(seconds.trim().parse().ok()?))
}

/// The watchdog that runs: the one that the initrd left, or one that systemd has found.
fn watchdog(booted: &Booted) -> Option<String> {
    booted.watchdog.clone().or_else(|| {
        let folders = fs::read_dir("/sys/class/watchdog").ok()?;
        folders.flatten().find_map(|entry| {
            let read = |name: &str| fs::read_to_string(entry.path().join(name));
            let active = read("state").is_ok_and(|s| s.trim() == "active");
            let identity = read("identity").ok().filter(|_| active)?;
            Some(identity.trim().to_owned())
        })
    })
}

/// Invariants that do not hold. Payloads are not read here, only looked at.
fn broken(machine: &Machine, view: &View) -> Result<Vec<String>, Error> {
    let boot = machine.boot()?;
    let mut found: Vec<String> = view.log_damage.clone().into_iter().collect();
    for (number, own) in view.entries.generations() {
        if !own.may_boot() {
            continue;
        }
        // What the loader reads first, then what Elea wrote.
        let entry = Entry::parse(&own.text).unwrap_or_default();
        if let Some((what, path)) = entries::missing(boot, &entry)? {
            found.push(format!(
                "generation {number} cannot boot: its {what} {path} is missing on the boot partition"
            ));
            continue;
        }
        for payload in view.manifest(number).iter().flat_map(|m| m.payloads()) {
            let path = crate::apply::path_of(payload);
            if boot.size(&path)? != Some(payload.size) {
                found.push(format!(
                    "generation {number} cannot boot: {path} on the boot partition is missing or cut short"
                ));
            }
        }
    }
    if view.has_committed() && view.entries.good().next().is_none() {
        found.push("no good generation is left; the rescue entry boots next".into());
    }
    Ok(found)
}

/// Failed identities that are not offered again, oldest first; the last failure of each.
fn refused(view: &View, booted: Option<u64>) -> Vec<Refused> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (&number, folder) in view.generations.iter().rev() {
        let Some(manifest) = &folder.manifest else {
            continue;
        };
        let identity = manifest.identity();
        if let Some((failed, reason)) = view.refused(&identity)
            && seen.insert(identity)
        {
            let version = Some(manifest.version.clone());
            found.push(Refused {
                number: failed,
                version,
                reason: reason.to_owned(),
            });
        } else if Some(number) != booted
            && view.state(number, booted) == State::Vanished
            && !seen.contains(&identity)
        {
            // Not refused, but gone without a boot: a person should know.
            seen.insert(identity);
            found.push(Refused {
                number,
                version: Some(manifest.version.clone()),
                reason: "its boot entry is gone".into(),
            });
        }
    }
    found.reverse();
    found
}

fn edits(machine: &Machine, view: &View, warnings: &mut Vec<String>) -> Option<EtcStatus> {
    let number = machine.number()?;
    let diff = match etc::diff(machine) {
        Ok(diff) => diff,
        Err(e) => {
            warnings.push(format!("the edits of /etc cannot be listed: {e}"));
            return None;
        }
    };
    let report = diff.report.unwrap_or_default();
    // A failed generation that ran after this one may hold edits that were made in it.
    let failed = view.generations.keys().rev().copied();
    let offered = failed
        .filter(|&n| n > number && view.state(n, Some(number)) == State::Failed)
        .find(|&n| machine.generation(n).join("etc/upper").is_dir());
    Some(EtcStatus {
        edits: diff.edits.len(),
        conflicts: report.conflicts,
        clashes: report.clashes,
        offered,
    })
}

/// What is not as in the image; nothing of a system that does not run.
fn drift(machine: &Machine) -> Option<Drift> {
    let image = machine.lower().ok()?;
    let edits = etc::diff(machine).map(|diff| diff.edits);
    Some(drift::look(image, &edits.unwrap_or_default()))
}

fn space(machine: &Machine) -> Result<Vec<Space>, Error> {
    let places = [
        ("root", machine.state().root()),
        ("boot", machine.boot()?.root()),
    ];
    let one = |(place, path): (&'static str, &Path)| {
        let stat = rustix::fs::statvfs(path).at("ask for the free space of", path)?;
        Ok(Space {
            place,
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    };
    places.into_iter().map(one).collect()
}

/// How far sealing is; counted only while it lasts.
fn sealing(machine: &Machine) -> Result<Option<Sealing>, Error> {
    let elea = machine.state().root();
    if !elea.join(SEALING).exists() {
        return Ok(None);
    }
    let mut sealing = Sealing { done: 0, total: 0 };
    let objects = elea.join("store/objects");
    for folder in fs::read_dir(&objects).at("list", &objects)? {
        let folder = folder.at("list", &objects)?.path();
        for object in fs::read_dir(&folder).into_iter().flatten().flatten() {
            sealing.total += 1;
            let sealed = fs::File::open(object.path())
                .is_ok_and(|file| elea_sys::verity::measure(&file).is_ok());
            sealing.done += u64::from(sealed);
        }
    }
    Ok(Some(sealing))
}

fn last_check(machine: &Machine) -> Option<LastCheck> {
    let text = machine.state().read(LAST_CHECK, MAX_FILE).ok()?;
    serde_json::from_slice(&text).ok()
}
