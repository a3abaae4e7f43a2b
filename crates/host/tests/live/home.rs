//! Units of a home with a real user manager.

use crate::{User, command_of, inside};
use elea_host::home::declared::{Home, Unit};
use elea_host::home::plan::HomePlan;
use elea_host::home::{self, Options, no_profile};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

fn unit(name: &str, text: &str) -> Unit {
    let text =
        format!("[Unit]\nDefaultDependencies=no\n{text}\n[Install]\nWantedBy=default.target\n");
    Unit {
        name: name.into(),
        text,
        enable: true,
    }
}

fn apply(folder: &Path, units: Vec<Unit>) -> HomePlan {
    let home = home::Home::open(folder, &folder.join(".local/share"), true).unwrap();
    let wanted = Home {
        units,
        ..Home::default()
    };
    let never = AtomicBool::new(false);
    home.apply(
        &wanted.wanted().unwrap(),
        Options::default(),
        &mut no_profile,
        &never,
    )
    .unwrap()
}

fn state(unit: &str) -> String {
    let mut command = Command::new("systemctl");
    let shown = command
        .args(["--user", "is-active", unit])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_manager_starts_restarts_and_stops_and_failures_are_told() {
    if !inside("home::a_manager_starts_restarts_and_stops_and_failures_are_told") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("units");
    std::fs::create_dir(&units).unwrap();
    for name in ["basic", "sysinit", "shutdown", "default"] {
        let path = units.join(format!("{name}.target"));
        std::fs::write(path, "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    let folder = dir.path().join("home");
    std::fs::create_dir_all(folder.join(".config/systemd/user")).unwrap();
    let paths = format!(
        "{}:{}",
        folder.join(".config/systemd/user").display(),
        units.display()
    );
    let _user = User::with_units(&paths);
    let good = |seconds: u32| {
        unit(
            "good.service",
            &format!("[Service]\nExecStart=sleep {seconds}"),
        )
    };
    let plan = apply(&folder, vec![good(1000)]);
    assert_eq!((plan.failed.len(), plan.notes.len()), (0, 0), "{plan:?}");
    let first = command_of("good.service");
    assert!(first.ends_with("sleep 1000"), "{first}");
    // The same again touches nothing.
    apply(&folder, vec![good(1000)]);
    assert_eq!(command_of("good.service"), first);
    // A changed one runs anew; those that cannot start, or end at once, are named.
    let bad = unit("bad.service", "[Service]\nExecStart=false");
    let worse = unit(
        "worse.service",
        "[Service]\nType=oneshot\nExecStart=/nowhere",
    );
    let plan = apply(&folder, vec![good(2000), bad, worse]);
    assert_eq!(plan.failed, ["bad.service", "worse.service"], "{plan:?}");
    assert!(command_of("good.service").ends_with("sleep 2000"));
    // What failed is mended.
    let mended = unit("bad.service", "[Service]\nExecStart=sleep 3000");
    let plan = apply(&folder, vec![good(2000), mended]);
    assert_eq!(plan.failed, [""; 0], "{plan:?}");
    assert_eq!(state("bad.service"), "active");
    // Not enabled any more, and gone.
    let mut other = good(2000);
    other.enable = false;
    apply(&folder, vec![other]);
    assert_eq!(state("good.service"), "inactive");
    apply(&folder, vec![good(2000)]);
    assert_eq!(state("good.service"), "active");
    apply(&folder, Vec::new());
    assert_eq!(state("good.service"), "inactive");
}
