//! What runs.

use std::collections::{BTreeMap, BTreeSet};

/// A unit that the manager has loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Active {
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, ….
    pub active: String,
    /// `running`, `exited`, `auto-restart`, ….
    pub sub: String,
    /// Its file; empty if it has none.
    pub fragment: String,
    /// `enabled`, `static`, `generated`, `transient`, ….
    pub file_state: String,
    /// Whether its files are newer than what the manager read.
    pub needs_daemon_reload: bool,
    /// `success`, `exit-code`, `timeout`, ….
    pub result: String,
    /// The exit status of its main process.
    pub status: i32,
    /// Its main process; 0 if it has none.
    pub main: u32,
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
        self.active == "failed" || (self.sub == "auto-restart" && self.status != 0)
    }
}

/// What runs, as values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// All loaded units, by the name under which the manager knows them.
    pub units: BTreeMap<String, Active>,
    /// The units that this program runs in: its own, and those of the session that started it.
    pub own: BTreeSet<String>,
    /// The program of each service that has a process: as its unit names it, and as the file that runs.
    pub programs: BTreeMap<String, BTreeSet<String>>,
}

/// The properties that [`Live::parse`] reads.
pub const PROPERTIES: &str = "Id,ActiveState,SubState,FragmentPath,UnitFileState,NeedDaemonReload,Result,ExecMainStatus,MainPID";

impl Live {
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
                    "FragmentPath" => value.clone_into(&mut unit.fragment),
                    "UnitFileState" => value.clone_into(&mut unit.file_state),
                    "NeedDaemonReload" => unit.needs_daemon_reload = value == "yes",
                    "Result" => value.clone_into(&mut unit.result),
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
