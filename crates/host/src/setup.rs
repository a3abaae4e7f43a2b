//! What a boot needs before its services, a part of `elea agent boot`: early, once in each boot.

mod ssh;

use crate::apply::{NoPayloads, is_whole};
use crate::error::Error;
use crate::install::firstboot::{self, Grown, Sealed};
use crate::machine::Machine;
use crate::view::View;
use crate::{live, plan, systemd};
use elea_formats::oplog::Event;
use elea_sys::progress::Progress;
use serde::Serialize;
use std::path::Path;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.setup/1";

/// What was done. One thing that fails does not keep the others from being done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Setup {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// ssh host keys that were made.
    pub ssh_keys: Vec<String>,
    /// How a live switch ended that the last boot left.
    pub ended: Option<live::Ended>,
    /// What was brought together of log and boot entries.
    pub repaired: Vec<String>,
    /// What grew at a first boot.
    pub grown: Option<Grown>,
    /// What was sealed at a first boot.
    pub sealed: Option<Sealed>,
    /// What failed.
    pub failures: Vec<String>,
}

/// Does it all, and tells systemd in between that the service is ready.
pub fn setup(progress: &dyn Progress) -> Setup {
    let mut done = Setup {
        schema: SCHEMA,
        ..Setup::default()
    };
    let opened = Machine::open(Path::new("/"), "elea agent boot");
    match &opened {
        Ok(machine) => prepare(machine, &mut done),
        Err(e) => done.failures.push(e.to_string()),
    }
    systemd::ready();
    // This may take long, and nothing waits for it.
    if let Ok(machine) = opened.as_ref().map(Machine::on_disk)
        && let Some(machine) = machine
    {
        match firstboot::seal(machine.state().root(), progress) {
            Ok(sealed) => done.sealed = sealed,
            Err(e) => done.failures.push(format!("sealing the objects: {e}")),
        }
    }
    done
}

/// What others wait for.
fn prepare(machine: &Machine, done: &mut Setup) {
    match ssh::host_keys(&machine.state().root().join("state")) {
        Ok(made) => done.ssh_keys = made,
        Err(e) => done.failures.push(format!("ssh host keys: {e}")),
    }
    match live::close(machine) {
        Ok(ended) => done.ended = ended,
        Err(e) => done.failures.push(format!("the last live switch: {e}")),
    }
    let Some(machine) = machine.on_disk() else {
        return;
    };
    match repair(machine) {
        Ok(repaired) => done.repaired = repaired,
        Err(e) => done.failures.push(format!("boot entries: {e}")),
    }
    let elea = machine.state().root();
    let physical = elea.parent().unwrap_or(Path::new("/"));
    let device = machine.booted().map(|b| b.device.as_str());
    match firstboot::grow(physical, device) {
        Ok(grown) if grown != Grown::default() => done.grown = Some(grown),
        Ok(_) => {}
        Err(e) => done.failures.push(format!("growing the root: {e}")),
    }
}

/// Brings the log and the boot entries together (invariant 6).
fn repair(machine: &Machine) -> Result<Vec<String>, Error> {
    let _locked = machine.lock()?;
    let view = machine.view()?;
    let boot = machine.boot()?;
    let whole = |number| all_whole(&view, number, boot);
    let plan = plan::repair(&view, &whole);
    machine.apply(&plan, &NoPayloads)?;
    let said = plan.steps.iter().filter_map(|step| match step {
        plan::Step::Record { event } => Some(describe(event)),
        _ => None,
    });
    Ok(said.collect())
}

fn all_whole(view: &View, number: u64, boot: &elea_sys::disk::Folder) -> bool {
    view.manifest(number)
        .is_some_and(|g| g.payloads().all(|p| is_whole(boot, p).unwrap_or(false)))
}

fn describe(event: &Event) -> String {
    match event {
        Event::Repaired { what } => what.clone(),
        Event::Armed { number } => format!("wrote down that generation {number} was armed"),
        Event::Committed { number } => format!("wrote down that generation {number} is good"),
        other => format!("{other:?}"),
    }
}
