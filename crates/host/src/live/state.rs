//! What runs.

use crate::bus::{Bus, Listed, Property};
use elea_formats::unit::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a unit's finer state is while it waits to be restarted by itself.
const AUTO_RESTART: &str = "auto-restart";

/// A unit that the manager has loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, ….
    pub active: String,
    /// `running`, `exited`, `auto-restart`, ….
    pub sub: String,
    /// Whether its file is of no configuration: a generator's, or somebody's for the moment.
    pub passing: bool,
    /// The exit status of its main process, if it waits to be restarted by itself.
    pub status: i32,
    /// Its main process; 0 if it has none.
    pub main: u32,
}

/// Folders of unit files that belong to no configuration, in `/run/systemd`, in `/etc/systemd`, and in a user's
/// `$XDG_RUNTIME_DIR/systemd` (`systemd.unit(5)`, "Unit File Load Path").
const PASSING: [&str; 7] = [
    "transient",
    "generator",
    "generator.early",
    "generator.late",
    "system.attached",
    "system.control",
    "user.control",
];
/// Folders that do where they are in `/run`.
const PASSING_IN_RUN: [&str; 2] = ["system", "user"];

/// The names in those folders.
fn passing_names(user: bool) -> BTreeSet<String> {
    let run = if user {
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(PathBuf::new, PathBuf::from)
    } else {
        PathBuf::from("/run")
    };
    let run = run.join("systemd");
    let in_run = PASSING.iter().chain(&PASSING_IN_RUN);
    let folders = in_run.map(|name| run.join(name));
    let folders = folders.chain(PASSING.map(|name| Path::new("/etc/systemd").join(name)));
    // A folder that is not there has none.
    let entries = folders.filter_map(|folder| fs::read_dir(folder).ok());
    let names = entries.flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}

/// Whether a unit's file is in one of them.
fn is_passing(path: &str) -> bool {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let name = folder.rsplit('/').next().unwrap_or_default();
    PASSING.contains(&name) || folder.starts_with("/run/") && PASSING_IN_RUN.contains(&name)
}

impl Active {
    /// Whether it runs, or is about to.
    pub fn runs(&self) -> bool {
        matches!(
            &*self.active,
            "active" | "activating" | "reloading" | "refreshing"
        )
    }

    /// Whether it counts as failed after a switch, as NixOS counts: it failed, or it waits to
    /// be restarted by itself after an exit that was no success.
    pub fn failed(&self) -> bool {
        self.active == "failed" || (self.sub == AUTO_RESTART && self.status != 0)
    }
}

/// What runs, as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// All loaded units but inactive ones, by the name under which the manager knows them.
    pub units: BTreeMap<String, Active>,
    /// The units that this program runs in: its own, and those of the session that started it.
    pub own: BTreeSet<String>,
    /// The program of each service that has a process: as its unit names it, and as the file that runs.
    pub programs: BTreeMap<String, BTreeSet<String>>,
    /// Generators of the manager of which it is not known what they read: it may be any file of `/etc`.
    pub generators: BTreeSet<String>,
}

/// What is asked of each unit: for many of them that takes longer than all of their states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// Its state.
    States,
    /// Whether its file is passing, too.
    Files,
    /// Its main process, too.
    Programs,
}

/// The properties that [`Live::parse`] reads.
pub const PROPERTIES: &str = "Id,ActiveState,SubState,FragmentPath,ExecMainStatus,MainPID";

impl Live {
    /// Asks the manager that is process 1, or that of the user, over D-Bus: which units are loaded, of which files
    /// they are, and how those ended that are to be restarted.
    pub fn load(user: bool) -> zbus::Result<Self> {
        Self::read(&Bus::connect(user)?, user, Asked::Programs)
    }

    /// The same of a manager that is connected, as far as it is wanted.
    pub(super) fn read(bus: &Bus, user: bool, asked: Asked) -> zbus::Result<Self> {
        let mut listed = bus.units()?;
        // Those are loaded because others name them; `systemctl` leaves them out, too.
        listed.retain(|unit| unit.active != "inactive");
        // The manager has read them; where none has the name, the file is of a configuration, or there is none.
        let passing = match asked {
            Asked::States => BTreeSet::new(),
            _ => passing_names(user),
        };
        let may_pass = |unit: &&Listed| {
            let template = Name::parse(&unit.name).ok().and_then(|n| n.template());
            passing.contains(&unit.name)
                || template.is_some_and(|template| passing.contains(template.as_str()))
        };
        let restarts = |unit: &&Listed| unit.sub == AUTO_RESTART;
        let is_service =
            |unit: &&Listed| asked >= Asked::Programs && unit.name.ends_with(".service");
        let of = |property: Property, wanted: &dyn Fn(&&Listed) -> bool| {
            let some = || listed.iter().filter(wanted);
            let paths: Vec<String> = some().map(|unit| unit.path.clone()).collect();
            let values = bus.properties(&paths, &[property])?;
            let named = some().zip(values).filter_map(|(unit, mut of)| {
                let value = of.remove(property.1)?;
                Some((unit.name.clone(), value))
            });
            Ok::<BTreeMap<String, String>, zbus::Error>(named.collect())
        };
        let fragments = of(("Unit", "FragmentPath"), &may_pass)?;
        let statuses = of(("Service", "ExecMainStatus"), &restarts)?;
        let mains = of(("Service", "MainPID"), &is_service)?;
        let units = listed.into_iter().map(|unit| {
            let status = statuses.get(&unit.name).and_then(|s| s.parse().ok());
            let main = mains.get(&unit.name).and_then(|main| main.parse().ok());
            let active = Active {
                passing: fragments.get(&unit.name).is_some_and(|f| is_passing(f)),
                active: unit.active,
                sub: unit.sub,
                status: status.unwrap_or(0),
                main: main.unwrap_or(0),
            };
            (unit.name, active)
        });
        Ok(Self {
            units: units.collect(),
            ..Self::default()
        })
    }

    /// Reads what `systemctl show --property=… '*'` says: a block of `key=value` lines for each
    /// unit, an empty line between them.
    pub fn parse(said: &str) -> Self {
        let mut live = Self::default();
        for block in said.split("\n\n") {
            let mut unit = Active::default();
            let mut id = "";
            for (key, value) in block.lines().filter_map(|line| line.split_once('=')) {
                match key {
                    "Id" => id = value,
                    "ActiveState" => value.clone_into(&mut unit.active),
                    "SubState" => value.clone_into(&mut unit.sub),
                    "FragmentPath" => unit.passing = is_passing(value),
                    "MainPID" => unit.main = value.parse().unwrap_or(0),
                    "ExecMainStatus" => unit.status = value.parse().unwrap_or(0),
                    _ => {}
                }
            }
            if !id.is_empty() {
                live.units.insert(id.to_owned(), unit);
            }
        }
        live
    }

    /// The services whose program is one of these files, with the file.
    pub(super) fn runs_from(&self, files: &BTreeSet<String>) -> BTreeMap<String, String> {
        let named = self.programs.iter().filter_map(|(unit, programs)| {
            let program = programs.iter().find(|program| files.contains(*program))?;
            Some((unit.clone(), program.clone()))
        });
        named.collect()
    }

    /// Whether a unit runs.
    pub fn runs(&self, name: &str) -> bool {
        self.units.get(name).is_some_and(Active::runs)
    }

    /// The units that run, by name.
    pub fn running(&self) -> impl Iterator<Item = (&str, &Active)> {
        let units = self.units.iter().filter(|(_, unit)| unit.runs());
        units.map(|(name, unit)| (name.as_str(), unit))
    }

    /// The units of the control groups of a process (`/proc/<pid>/cgroup`): services and scopes,
    /// and the manager of the user whose session it is.
    pub fn own_units(cgroup: &str) -> BTreeSet<String> {
        let paths = cgroup.lines().filter_map(|line| line.rsplit_once(':'));
        let parts = paths.flat_map(|(_, path)| path.split('/'));
        let ends = |part: &&str| part.ends_with(".service") || part.ends_with(".scope");
        parts.filter(ends).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_generator_or_somebody_made_for_the_moment_is_told_from_a_configuration() {
        for path in [
            "/run/systemd/generator/a.mount",
            "/run/systemd/generator.late/a.service",
            "/run/systemd/transient/a.service",
            "/run/systemd/system/a.service",
            "/run/user/7/systemd/user/a.service",
            "/run/user/7/systemd/transient/a.service",
            "/etc/systemd/system.attached/a.service",
        ] {
            assert!(is_passing(path), "{path}");
        }
        for path in [
            "",
            "/etc/systemd/system/a.service",
            "/usr/lib/systemd/system/a.service",
            "/usr/lib/systemd/user/a.service",
            "/usr/local/lib/systemd/system/generator.service",
        ] {
            assert!(!is_passing(path), "{path}");
        }
    }
}
