//! The whole plan.

use super::{live, units};
use crate::diff::Packages;
use crate::live::*;
use elea_formats::digest::Sha256;
use elea_formats::release::Package;
use elea_store::{Change, Kind};

pub(crate) fn change(kind: Kind, path: &str) -> Change {
    let fields = if kind == Kind::Changed {
        vec!["content"]
    } else {
        vec![]
    };
    Change {
        path: path.into(),
        kind,
        fields,
    }
}

/// A small change of everything that a live switch can do.
pub(crate) fn sample() -> (Side, Side, Differences, Live) {
    let old_units = "== multi-user.target\n[Unit]\n== a.service\n[Service]\nA=1\n== gone.service\n[Service]\n\
        == r.service\n[Service]\nX-StopIfChanged=no\nA=1\n== l.service\n[Unit]\nX-Reload-Triggers=1\n[Service]\nPrivateTmp=yes\nExecReload=/r\n\
        == dbus.service\n[Service]\nA=1\n";
    let new_units = "== multi-user.target\n[Unit]\nWants=new.service\n== a.service\n[Service]\nA=2\n== new.service\n[Service]\n\
        == r.service\n[Service]\nX-StopIfChanged=no\nA=2\n== l.service\n[Unit]\nX-Reload-Triggers=2\n[Service]\nPrivateTmp=yes\nExecReload=/r\n\
        == dbus.service\n[Service]\nA=2\n";
    let side = |text: &str, passwd: &str, fstab: &str| Side {
        units: units(text),
        passwd: passwd.into(),
        fstab: fstab.into(),
        ..Side::default()
    };
    let old = side(
        old_units,
        "root:x:0:0\nold:x:1:1\nsame:x:2:2\n",
        "/dev/a /mnt ext4 ro\n/dev/s none swap sw\n/dev/g /gone ext4 ro\n",
    );
    let new = side(
        new_units,
        "root:x:0:0\nnew:x:3:3\nsame:x:2:9\n",
        "/dev/a /mnt ext4 rw\n/dev/n /new ext4 ro\n",
    );
    let live = live(
        "multi-user.target a.service gone.service r.service l.service dbus.service mnt.mount gone.mount systemd-journald.service",
    );
    let mut edited = change(Kind::Changed, "/etc/hosts");
    edited.fields = vec!["mtime"];
    let differences = Differences {
        files: vec![
            change(Kind::Changed, "/etc/fstab"),
            edited,
            change(Kind::Changed, "/etc/passwd"),
            change(Kind::Added, "/etc/sysctl.d/10-x.conf"),
            change(Kind::Changed, "/etc/systemd/journald.conf.d/x.conf"),
            change(Kind::Changed, "/etc/systemd/system/a.service"),
            change(Kind::Added, "/etc/tmpfiles.d/x.conf"),
        ],
        packages: Packages::default(),
        bytes: 4711,
        over: None,
    };
    (old, new, differences, live)
}

/// The published shape: what once was written must be read for ever.
#[test]
fn a_plan_is_the_golden_file() {
    let (old, new, differences, live) = sample();
    let plan = plan(&old, &new, differences, &live).unwrap();
    let json = serde_json::to_string_pretty(&plan).unwrap() + "\n";
    let golden = include_str!("golden/live-plan-1.json");
    assert_eq!(json, golden);
    let value: serde_json::Value = serde_json::from_str(golden).unwrap();
    let steps: Vec<Step> = serde_json::from_value(value["steps"].clone()).unwrap();
    assert_eq!(steps, plan.steps);
    assert_eq!(plan.to_string(), include_str!("golden/live-plan-1.txt"));
}

#[test]
fn what_stops_with_another_is_started_on_the_way_back_too() {
    let text = "== a.service\n[Service]\nA=1\n== b.service\n[Unit]\nRequires=a.service\n";
    let side = |text: &str| Side {
        units: units(text),
        ..Side::default()
    };
    let (old, new) = (side(text), side(&text.replace("A=1", "A=2")));
    let live = live("a.service b.service");
    let differences = Differences {
        files: vec![change(Kind::Changed, "/etc/systemd/system/a.service")],
        ..Differences::default()
    };
    let plan = plan(&old, &new, differences, &live).unwrap();
    let step = |verb, unit: &str| Step::Unit {
        unit: unit.into(),
        verb,
    };
    let [a, b] = ["a.service", "b.service"];
    let stops = [step(Verb::Stop, b), step(Verb::Stop, a)];
    let starts = [step(Verb::Start, a), step(Verb::Start, b)];
    let files = [Step::Files, Step::DaemonReload];
    let all = [&stops[..], &files, &starts].concat();
    assert_eq!(plan.steps, all);
    // There and back is the same, and half the way there needs only half the way back.
    assert_eq!(undo(&plan.steps), all);
    assert_eq!(undo(&plan.steps[..2]), starts);
    assert_eq!(undo(&plan.steps[..1]), starts[1..]);
}

#[test]
fn what_boots_and_usr_wait_for_a_restart() {
    let live = Live::default();
    let plan_of = |old: Side, new: Side, files: Vec<Change>| {
        let differences = Differences {
            files,
            ..Differences::default()
        };
        plan(&old, &new, differences, &live).unwrap()
    };
    let side = |kernel: &str, arguments: &str| Side {
        boot: Boot {
            kernel: Some(Sha256::of(kernel.as_bytes())),
            initrds: vec![],
            arguments: arguments.into(),
        },
        ..Side::default()
    };
    let etc = change(Kind::Added, "/etc/sysctl.conf");
    let usr = change(Kind::Changed, "/usr/lib/systemd/systemd");
    let found = plan_of(side("a", "quiet"), side("a", "quiet"), vec![etc.clone()]);
    let helper = Helper::Sysctl;
    assert_eq!(found.needs, Need::Nothing);
    assert_eq!(found.steps, [Step::Files, Step::Helper { helper }]);
    let found = plan_of(
        side("a", "quiet"),
        side("a", "quiet"),
        vec![etc.clone(), usr.clone()],
    );
    assert_eq!(
        (found.needs, found.steps.len(), found.others),
        (Need::Reboot, 0, 1)
    );
    let found = plan_of(side("a", "quiet"), side("b", "loud"), vec![etc, usr]);
    let needs: Vec<_> = found.reasons.iter().map(|reason| reason.needs).collect();
    assert_eq!(needs, [Need::Reboot, Need::Reboot, Need::Reboot]);
    assert!(
        found
            .to_string()
            .contains("All of it needs a reboot:\n  the kernel differs")
    );
    let found = plan_of(side("a", ""), side("a", ""), vec![]);
    assert_eq!(
        (found.to_string(), found.steps.len()),
        ("Nothing changes.\n".into(), 0)
    );
    // What nobody who runs reads hinders nothing.
    for (path, needs, steps) in [
        ("/usr/lib/elea/release.json", Need::Nothing, 1),
        (
            "/usr/lib/systemd/system-preset/00-elea.preset",
            Need::Nothing,
            1,
        ),
        ("/usr/lib/elea/trust.d/a.pub", Need::Reboot, 1),
        ("/usr/share/factory/var/lib/x", Need::Reboot, 1),
        ("/usr/lib/elea/source/elea.json", Need::Nothing, 1),
        ("/usr/lib/eleanor", Need::Reboot, 0),
    ] {
        let files = vec![change(Kind::Changed, "/etc/a"), change(Kind::Changed, path)];
        let found = plan_of(side("a", ""), side("a", ""), files);
        assert_eq!((found.needs, found.steps.len()), (needs, steps), "{path}");
        let later = found.at_boot();
        assert_eq!((later.needs, later.steps.len()), (Need::Reboot, 0));
    }
    let manager = change(Kind::Added, "/etc/systemd/system.conf.d/a.conf");
    let found = plan_of(side("a", ""), side("a", ""), vec![manager]);
    assert_eq!(found.steps, [Step::Files, Step::DaemonReexec]);
}

#[test]
fn packages_are_shown() {
    let (old, new, mut differences, live) = sample();
    differences.packages.added.push(Package {
        name: "nginx".into(),
        version: "1.2".into(),
        architecture: "amd64".into(),
    });
    let shown = plan(&old, &new, differences, &live).unwrap().to_string();
    assert!(shown.starts_with("package  + nginx 1.2\n"), "{shown}");
}
