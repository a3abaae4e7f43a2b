//! The table of decisions, row by row.

mod crashes;
mod etc;
mod files;
mod plans;
mod reread;
mod rows;
mod table;
mod usr;

use super::target::Running;
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;

/// The units of a text: `== NAME` begins a file of /etc/systemd/system, `-> TARGET` behind it
/// makes it a link, `/…` is a path of its own.
pub(super) fn units(text: &str) -> Units {
    let mut files = Files::new();
    for part in text.split("== ").skip(1) {
        let (head, body) = part.split_once('\n').unwrap_or((part, ""));
        let (name, target) = match head.split_once(" -> ") {
            Some((name, target)) => (name, Some(target)),
            None => (head, None),
        };
        let path = if name.starts_with('/') {
            name.trim().to_owned()
        } else {
            format!("{}/{}", FOLDERS[0], name.trim())
        };
        let entry = match target {
            Some("/dev/null") => Entry::Link("/dev/null".into()),
            Some(target) => Entry::Link(format!("{}/{}", FOLDERS[0], target.trim())),
            None => Entry::File(body.as_bytes().to_vec()),
        };
        files.insert(&path, entry);
    }
    Units::new(files)
}

/// These run.
pub(super) fn live(running: &str) -> Live {
    let mut live = Live::default();
    for word in running.split_whitespace() {
        let (name, active) = word.split_once('=').unwrap_or((word, "active"));
        let active = Active {
            active: active.into(),
            ..Active::default()
        };
        live.units.insert(name.into(), active);
    }
    live
}

/// What is found out of a system on which nothing runs.
pub(super) fn nothing_runs() -> Running {
    Running {
        files: thread::spawn(|| Files::load(Path::new("/"))),
        live: thread::spawn(|| Ok(Live::default())),
    }
}

/// What is decided: "stop a b | start a".
pub(super) fn said(actions: &[UnitAction]) -> String {
    let verbs = [
        (Verb::Stop, "stop"),
        (Verb::Reload, "reload"),
        (Verb::Restart, "restart"),
        (Verb::Start, "start"),
        (Verb::Skip, "skip"),
    ];
    let mut parts = Vec::new();
    for (verb, word) in verbs {
        let mine = actions.iter().filter(|action| action.verb == verb);
        let names: Vec<_> = mine.map(|action| action.unit.as_str()).collect();
        if !names.is_empty() {
            parts.push(format!("{word} {}", names.join(" ")));
        }
    }
    parts.join(" | ")
}

pub(super) fn decide(old: &str, new: &str, running: &str) -> Vec<UnitAction> {
    let files = table::changed_files(old, new);
    let paths: Vec<&str> = files.iter().map(String::as_str).collect();
    let (old, new) = (units(old), units(new));
    let live = live(running);
    plan_units(&old, &new, &live, &BTreeMap::new(), &paths).unwrap()
}

#[test]
fn what_must_not_be_touched_says_what_it_takes() {
    let text = |what: &str| {
        let names = [
            "dbus.service",
            "dbus.socket",
            "systemd-logind.service",
            "gdm.service",
            "user@1000.service",
            "getty@tty1.service",
            "var.mount",
            "own.service",
            "ssh@1.service",
            "job.service",
        ];
        let bodies = names.iter().map(|name| {
            let kind = if *name == "job.service" {
                "Type=oneshot\n"
            } else {
                ""
            };
            format!("== {name}\n[Service]\n{kind}A={what}\n")
        });
        bodies.collect::<String>()
    };
    let (old, new) = (units(&text("1")), units(&text("2")));
    let mut live = live(
        "dbus.service dbus.socket systemd-logind.service gdm.service user@1000.service getty@tty1.service var.mount own.service ssh@1.service job.service",
    );
    live.own = [
        "own.service".into(),
        "ssh@1.service".into(),
        "job.service".into(),
    ]
    .into();
    let actions = plan_units(&old, &new, &live, &BTreeMap::new(), &[]).unwrap();
    assert!(actions.iter().all(|action| action.verb == Verb::Skip));
    let of = |unit: &str| actions.iter().find(|a| a.unit == unit).unwrap().needs;
    assert_eq!(of("dbus.service"), Need::SoftReboot);
    assert_eq!(of("dbus.socket"), Need::SoftReboot);
    assert_eq!(of("systemd-logind.service"), Need::SoftReboot);
    assert_eq!(of("gdm.service"), Need::SoftReboot);
    assert_eq!(of("user@1000.service"), Need::Relogin);
    assert_eq!(of("getty@tty1.service"), Need::Relogin);
    assert_eq!(of("var.mount"), Need::Reboot);
    assert_eq!(of("own.service"), Need::Relogin);
    assert_eq!(of("ssh@1.service"), Need::Relogin);
    assert_eq!(of("job.service"), Need::Nothing);
}

#[test]
fn what_a_generator_or_somebody_made_for_the_moment_is_left_alone() {
    let text =
        |a: &str| format!("== a.service\n[Service]\nA={a}\n== b.service\n[Service]\nA={a}\n");
    let (old, new) = (units(&text("1")), units(&text("2")));
    let mut live = live("a.service b.service");
    live.units.get_mut("a.service").unwrap().passing = true;
    let actions = plan_units(&old, &new, &live, &BTreeMap::new(), &[]).unwrap();
    assert_eq!(said(&actions), "stop b.service | start b.service");
}

#[test]
fn a_protected_unit_is_reloaded_for_its_files_and_never_restarted() {
    let text = |content: &str| {
        format!(
            "== /etc/x\n{content}\n== /etc/y\n{content}\n== dbus.service\n[Unit]\nX-Reload-On=/etc/x\n[Service]\nExecReload=/r\n\
             == systemd-logind.service\n[Unit]\nX-Restart-On=/etc/y\n[Service]\nExecReload=/r\n"
        )
    };
    let actions = decide(
        &text("1"),
        &text("2"),
        "dbus.service systemd-logind.service",
    );
    assert_eq!(
        said(&actions),
        "reload dbus.service | skip systemd-logind.service"
    );
    assert_eq!(actions[0].why, "it reads /etc/x, which changed");
    assert_eq!(
        (actions[1].needs, &*actions[1].why),
        (
            Need::SoftReboot,
            "it reads /etc/y, which changed, but all sessions hang on it"
        )
    );
}

#[test]
fn what_would_drag_down_a_protected_unit_is_left() {
    let old =
        "== a.service\n[Service]\nA=1\n== systemd-logind.service\n[Unit]\nRequires=a.service\n";
    let new = old.replace("A=1", "A=2");
    let actions = decide(old, &new, "a.service systemd-logind.service");
    assert_eq!(said(&actions), "skip a.service");
    assert_eq!(actions[0].needs, Need::SoftReboot);
}

#[test]
fn a_display_manager_is_known_by_its_other_name() {
    let old = "== other.service\n[Service]\nA=1\n== display-manager.service -> other.service";
    let new = old.replace("A=1", "A=2");
    let actions = decide(old, &new, "other.service");
    assert_eq!(said(&actions), "skip other.service");
}

#[test]
fn starts_follow_after_and_stops_go_the_other_way() {
    let file =
        |name: &str, rest: &str, n: u8| format!("== {name}\n[Unit]\n{rest}\n[Service]\nA={n}\n");
    let text = |n| {
        [
            // a waits for m only through something that does not change.
            file("a.service", "After=between.target", n),
            "== between.target\n[Unit]\nAfter=m.service\n".into(),
            file("m.service", "Requires=z.service", n),
            file("b.service", "", n),
            file("NetworkManager.service", "", n),
            // A cycle, and one that waits for it.
            file("x.service", "After=y.service", n),
            file("y.service", "After=x.service", n),
            file("c.service", "After=x.service", n),
            file("z.service", "Before=b.service", n),
        ]
        .concat()
    };
    let running = "a.service m.service b.service NetworkManager.service x.service y.service c.service z.service";
    let forward = "x.service y.service c.service z.service b.service m.service a.service NetworkManager.service";
    let back: Vec<&str> = forward.split(' ').rev().collect();
    let actions = decide(&text(1), &text(2), running);
    assert_eq!(
        said(&actions),
        format!("stop {} | start {forward}", back.join(" "))
    );
}

#[test]
fn a_new_unit_that_would_not_load_is_refused_and_a_broken_old_one_is_mended() {
    let good = units("== a.service\n[Service]\nA=1\n");
    let bad = units("== a.service\n[Service\nA=1\n");
    let live = live("a.service");
    let error = plan_units(&good, &bad, &live, &BTreeMap::new(), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/etc/systemd/system/a.service: line 1"),
        "{error}"
    );
    let actions = plan_units(&bad, &good, &live, &BTreeMap::new(), &[]).unwrap();
    assert_eq!(said(&actions), "stop a.service | start a.service");
}

#[test]
fn folders_links_masks_and_drop_ins_are_counted_in() {
    let text = "== /usr/lib/systemd/system/a-b.service\n[Service]\nA=usr\n\
        == /usr/lib/systemd/system/a-b.service.d/10-x.conf\n[Service]\nA=own-usr\n\
        == /usr/lib/systemd/system/service.d/05-z.conf\n[Service]\nA=kind\n\
        == a-.service.d/10-x.conf\n[Service]\nA=prefix-etc\n\
        == a-b.service.d/20-y.conf -> /dev/null\n\
        == /usr/lib/systemd/system/a-b.service.d/20-y.conf\n[Service]\nA=masked\n\
        == alias.service -> a-b.service\n\
        == m.service -> /dev/null\n== /usr/lib/systemd/system/m.service\n[Service]\nA=1\n\
        == empty.service\n\
        == t@.service\n[Service]\nA=t\n== t@x.service.d/a.conf\n[Service]\nA=x\n\
        == w.target\n[Unit]\nWants=alias.service\n\
        == w.target.wants/t@x.service -> t@.service\n\
        == w.target.wants/gone.service -> /dev/null\n\
        == /usr/lib/systemd/system/w.target.wants/gone.service\n[Unit]\n";
    let units = units(text);
    let values = |name: &str| units.unit(name).unwrap().values("Service", "A").to_vec();
    assert_eq!(values("a-b.service"), ["usr", "kind", "prefix-etc"]);
    assert_eq!(values("alias.service"), ["usr", "kind", "prefix-etc"]);
    assert_eq!(units.get("m.service").unwrap(), Found::Masked);
    assert_eq!(units.get("empty.service").unwrap(), Found::Masked);
    assert_eq!(units.get("none.service").unwrap(), Found::Missing);
    assert_eq!(values("t@x.service"), ["t", "kind", "x"]);
    let wants: Vec<_> = units.wants("w.target").into_iter().collect();
    assert_eq!(wants, ["a-b.service", "t@x.service"]);
}

#[test]
fn what_runs_is_read_from_systemctl() {
    let said = "Id=a.service\nActiveState=active\nSubState=running\nFragmentPath=/lib/systemd/system/a.service\n\
        ExecMainStatus=0\n\nId=b.service\nActiveState=activating\n\
        SubState=auto-restart\nExecMainStatus=3\n\nId=c.service\nActiveState=activating\nSubState=auto-restart\nExecMainStatus=0\n";
    let live = Live::parse(said);
    let failed: Vec<_> = live
        .units
        .iter()
        .filter(|(_, u)| u.failed())
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(failed, ["b.service"]);
    assert!(live.runs("a.service"));
    assert!(!live.units["a.service"].passing);
    let own =
        Live::own_units("0::/user.slice/user-1000.slice/user@1000.service/app.slice/t.scope\n");
    let expected: BTreeSet<String> = ["user@1000.service".into(), "t.scope".into()].into();
    assert_eq!(own, expected);
}

#[test]
fn the_units_of_a_folder_are_read_and_no_link_leads_out() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    std::fs::write(dir.path().join("secret.service"), "[Service]\nA=secret\n").unwrap();
    for folder in [
        "etc/systemd/system/w.target.wants",
        "usr/lib/systemd/system",
        "opt",
    ] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let put = |path: &str, text: &str| std::fs::write(root.join(path), text).unwrap();
    put("usr/lib/systemd/system/a.service", "[Service]\nA=1\n");
    put("opt/linked.service", "[Service]\nA=2\n");
    let etc = root.join("etc/systemd/system");
    symlink(
        "/lib/systemd/system/a.service",
        etc.join("w.target.wants/a.service"),
    )
    .unwrap();
    symlink("/opt/linked.service", etc.join("linked.service")).unwrap();
    symlink("../../../../secret.service", etc.join("secret.service")).unwrap();
    symlink("loop.service", etc.join("loop.service")).unwrap();
    symlink("/dev/null", etc.join("masked.service")).unwrap();
    let units = Units::new(Files::load(&root).unwrap());
    assert_eq!(
        units.unit("a.service").unwrap().value("Service", "A"),
        Some("1")
    );
    assert_eq!(
        units.unit("linked.service").unwrap().value("Service", "A"),
        Some("2")
    );
    assert_eq!(units.get("secret.service").unwrap(), Found::Missing);
    assert_eq!(units.get("loop.service").unwrap(), Found::Missing);
    assert_eq!(units.get("masked.service").unwrap(), Found::Masked);
    assert_eq!(units.wants("w.target"), ["a.service".to_owned()].into());
}
