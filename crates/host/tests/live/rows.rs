//! The rows of the table of decisions, all in one switch of a real manager.

use crate::{Links, OLD, User, inside, switch, tree};
use elea_host::live::{
    Differences, Etc as _, FOLDERS, Files, Outcome, Side, System, Units, Which, execute, plan,
};
use elea_store::{Change, Kind};
use elea_sys::disk::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use table::{ROWS, Row, changed_files};

#[path = "../../src/live/tests/table.rs"]
mod table;

/// The root of the file system is no unit that a test may restart.
const LEFT_OUT: [&str; 2] = ["the root's options", "a name that is a dash"];

/// What systemd does by itself, because of what is decided: a unit stops with one that it requires.
const DRAGGED: [(&str, &str); 2] = [
    ("the same, B refuses to be started", "b.service"),
    ("its requirement is gone for good", "b.service"),
];

const KINDS: [&str; 7] = [
    ".service", ".socket", ".target", ".timer", ".path", ".slice", ".mount",
];

/// Every unit of a text by a name that no other row has (a mount's is its place), and every file of `/etc`.
fn named(row: usize, text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive([' ', ';', '=', '/']) {
        if part.contains(".mount") {
            write!(out, "run-r{row}").unwrap();
        } else if KINDS.iter().any(|kind| part.contains(kind)) {
            write!(out, "r{row}").unwrap();
        }
        out.push_str(part);
    }
    out.replace("/etc/", &format!("/etc/r{row}/"))
}

/// A file of a row as systemd can run it.
fn real(row: usize, name: &str, text: &str, fails: bool) -> String {
    let mut text = text
        .replace("A=", "Environment=A=")
        .replace("B=", "Environment=B=")
        .replace(
            "ExecReload=/r",
            "ExecReload=/bin/sh -c 'echo %n >> %t/reloaded'",
        )
        .replace("ListenStream=/", &format!("ListenStream=%t/r{row}-"))
        .replace("PathExists=/", "PathExists=%t/none-")
        .replace("OnCalendar=a", "OnCalendar=2099-01-01")
        .replace("OnCalendar=b", "OnCalendar=2099-01-02")
        .replace("MemoryMax=1", "MemoryMax=1G")
        .replace("MemoryMax=2", "MemoryMax=2G")
        .replace(';', "\n");
    text.push('\n');
    if name.contains(".d/") {
        return text;
    }
    text.push_str("[Unit]\nDefaultDependencies=no\n");
    if name.ends_with(".service") {
        let program = if fails { "false" } else { "sleep infinity" };
        write!(text, "[Service]\nExecStart={program}\n").unwrap();
    }
    if name.ends_with(".socket") && !text.contains("Listen") {
        write!(text, "[Socket]\nListenStream=%t/{name}\n").unwrap();
    }
    if let Some(place) = name.strip_suffix(".mount") {
        let place = place.replace('-', "/");
        write!(text, "[Mount]\nWhere=/{place}\nType=tmpfs\n").unwrap();
    }
    text
}

/// Writes the units of a row; those of these names fail. Gives the names of the units.
fn write(root: &Path, row: usize, text: &str, fail: &BTreeSet<String>) -> BTreeSet<String> {
    let folder = root.join(&FOLDERS[0][1..]);
    let mut names = BTreeSet::new();
    for part in named(row, text).split("== ").skip(1) {
        let (head, body) = part.split_once(';').unwrap_or((part, ""));
        let (name, target) = match head.split_once(" -> ") {
            Some((name, target)) => (name, Some(target.trim())),
            None => (head, None),
        };
        let name = name.trim().trim_start_matches("/usr/lib/systemd/system/");
        if name.starts_with("/etc/") {
            continue;
        }
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match target {
            Some("/dev/null") => symlink("/dev/null", &path).unwrap(),
            Some(target) => symlink(format!("../{target}"), &path).unwrap(),
            None => fs::write(&path, real(row, name, body, fail.contains(name))).unwrap(),
        }
        if !name.contains('/') && !name.contains("@.") {
            names.insert(name.to_owned());
        }
        // What these start must be there.
        for kind in [".timer", ".path", ".socket"] {
            let Some(stem) = name.strip_suffix(kind) else {
                continue;
            };
            let path = folder.join(format!("{stem}.service"));
            if !path.exists() && !text.contains("s@.service") {
                fs::write(path, real(row, "x.service", "", false)).unwrap();
            }
        }
    }
    names
}

/// Whether a unit is active, and what tells this run of it from others.
type State = (bool, String);

fn states(names: &BTreeSet<String>) -> BTreeMap<String, State> {
    let shown = Command::new("systemctl")
        .args([
            "--user",
            "show",
            "--property=ActiveState,InvocationID",
            "--",
        ])
        .args(names)
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    let of = |block: &str| {
        let value = |key: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(key));
            line.unwrap_or_default().to_owned()
        };
        (value("ActiveState=") == "active", value("InvocationID="))
    };
    let states: Vec<State> = text.split("\n\n").map(of).collect();
    assert_eq!(states.len(), names.len(), "{text}");
    names.iter().cloned().zip(states).collect()
}

/// The units of a row that are said to be like this.
fn which(running: &str, wanted: &str) -> BTreeSet<String> {
    let words = running.split_whitespace();
    let named = words.map(|word| word.split_once('=').unwrap_or((word, "active")));
    named
        .filter(|(_, state)| *state == wanted)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// What is wrong with a unit after the switch.
fn judge(row: &Row, number: usize, unit: &str, before: &State, after: &State) -> Option<String> {
    let expected = named(number, row.4);
    let verbs: BTreeSet<&str> = expected
        .split(" | ")
        .filter(|part| part.split_whitespace().any(|word| word == unit))
        .filter_map(|part| part.split_whitespace().next())
        .collect();
    let is_dragged = |(what, name): &(&str, &str)| row.0 == *what && named(number, name) == unit;
    let new = after.0 && (!before.0 || after.1 != before.1);
    let (holds, wanted) = if verbs.contains("start") || verbs.contains("restart") {
        (new, "run anew")
    } else if verbs.contains("stop") || DRAGGED.iter().any(is_dragged) {
        (!after.0, "have stopped")
    } else {
        let same = before.0 == after.0 && (!before.0 || before.1 == after.1);
        (same, "be as it was")
    };
    (!holds).then(|| {
        format!(
            "{}: {unit} should {wanted}: {before:?} became {after:?}",
            row.0
        )
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn every_row_comes_true() {
    if !inside("rows::every_row_comes_true") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (old, new) = (root.join("old"), root.join("new"));
    for side in [&old, &new] {
        let needed =
            |(name, _): &&(&str, &str)| name.starts_with("dbus") || name.ends_with("target");
        let mut units: Vec<(&str, &str)> = OLD.iter().filter(needed).copied().collect();
        units.retain(|(name, _)| *name != "default.target");
        units.push(("default.target", "[Unit]\nWants=dbus.service\n"));
        tree(side, &units);
    }
    let rows = || {
        let rows = ROWS.iter().enumerate();
        rows.filter(|(_, row)| !LEFT_OUT.contains(&row.0))
    };
    let (mut names, mut first, mut then) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut failing = BTreeSet::new();
    for (number, row) in rows() {
        let running = named(number, row.3);
        let fail = which(&running, "failed");
        let mut units = write(&old, number, row.1, &fail);
        units.extend(write(&new, number, row.2, &BTreeSet::new()));
        let active = which(&running, "active");
        units.extend(active.iter().cloned());
        for unit in active.iter().chain(&fail) {
            // A socket is refused while its service runs.
            let sockets = unit.ends_with(".socket");
            // What no file describes is there all the same.
            if row.1.is_empty() {
                continue;
            }
            if sockets { &mut first } else { &mut then }.push(unit.clone());
        }
        failing.extend(fail);
        names.insert(number, units);
    }
    for (name, units) in [("first.target", &first), ("then.target", &then)] {
        let text = format!(
            "[Unit]\nDefaultDependencies=no\nWants={}\n",
            units.join(" ")
        );
        tree(&old, &[(name, &*text)]);
        tree(&new, &[(name, &*text)]);
    }
    let mut links = Links(root.to_owned());
    links.show(Which::Old).unwrap();
    let _user = User::start(root);
    let systemctl = |arguments: &[&str]| {
        let mut command = Command::new("systemctl");
        assert!(
            command
                .arg("--user")
                .args(arguments)
                .status()
                .unwrap()
                .success()
        );
    };
    systemctl(&["start", "dbus.service"]);
    systemctl(&["start", "first.target"]);
    systemctl(&["start", "then.target"]);
    // They were a way to start what refuses a person's word; a target that runs has its units started.
    systemctl(&["stop", "first.target", "then.target"]);
    for (number, row) in rows().filter(|(_, row)| row.1.is_empty()) {
        for unit in which(&named(number, row.3), "active") {
            let mut run = Command::new("systemd-run");
            let run = run.args(["--user", "--unit", &unit, "sleep", "infinity"]);
            assert!(run.status().unwrap().success());
        }
    }
    let all: BTreeSet<String> = names.values().flatten().cloned().collect();
    let before = states(&all);
    for (number, row) in rows() {
        for unit in which(&named(number, row.3), "active") {
            assert!(before[&unit].0, "{}: {unit} does not run", row.0);
        }
    }

    fs::create_dir(root.join("state")).unwrap();
    let disk = Folder::new(root.join("state"));
    let mut system = System::new(links, true);
    let side = |path: &Path| Side {
        units: Units::new(Files::load(path).unwrap()),
        ..Side::default()
    };
    let live = system.live().unwrap();
    let files = rows().flat_map(|(number, row)| {
        let [old, new] = [row.1, row.2].map(|text| named(number, text));
        changed_files(&old, &new)
    });
    let files = files.map(|path| Change {
        path,
        kind: Kind::Added,
        fields: vec![],
    });
    let differences = Differences {
        files: files.collect(),
        ..Differences::default()
    };
    let steps = plan(&side(&old), &side(&new), differences, &live)
        .unwrap()
        .steps;
    let outcome = execute(&steps, &switch(false), &disk, &mut system).unwrap();
    assert_eq!(outcome, Outcome::Kept);

    let after = states(&all);
    let mut wrong = Vec::new();
    for (number, row) in rows() {
        for unit in &names[&number] {
            wrong.extend(judge(row, number, unit, &before[unit], &after[unit]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Those that were to be read anew were, once.
    let reloaded = fs::read_to_string("/run/u/reloaded").unwrap_or_default();
    let mut reloaded: Vec<&str> = reloaded.lines().collect();
    reloaded.sort_unstable();
    let mut wanted: Vec<String> = rows()
        .flat_map(|(number, row)| {
            let expected = named(number, row.4);
            let parts = expected
                .split(" | ")
                .filter_map(|part| part.strip_prefix("reload "));
            parts
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|unit| unit.ends_with(".service"))
        .collect();
    wanted.sort_unstable();
    assert_eq!(reloaded, wanted);
}
