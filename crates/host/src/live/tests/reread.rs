//! When the manager reads its units again.

use super::plans::change;
use super::{live, units};
use crate::live::*;
use elea_store::Kind;
use proptest::prelude::*;

/// The steps of a switch, with these paths changed.
fn steps(old: &Units, new: &Units, paths: &[&str], live: &Live) -> Vec<Step> {
    let side = |units: &Units| Side {
        units: units.clone(),
        ..Side::default()
    };
    let differences = Differences {
        files: paths
            .iter()
            .map(|path| change(Kind::Changed, path))
            .collect(),
        ..Differences::default()
    };
    plan(&side(old), &side(new), differences, live)
        .unwrap()
        .steps
}

fn reads(steps: &[Step]) -> bool {
    steps.contains(&Step::DaemonReload)
}

#[test]
fn a_file_of_a_service_is_taken_without_the_manager_and_goes_back_without_it() {
    let units = units("== s.service\n[Unit]\nX-Reload-On=/etc/hello\n[Service]\nExecReload=/r\n");
    let live = live("s.service");
    // What is done to all of /etc is nothing that it reads.
    assert_eq!(steps(&units, &units, &["/etc"], &live), [Step::Files]);
    let steps = steps(&units, &units, &["/etc/hello/conf"], &live);
    let reload = Step::Unit {
        unit: "s.service".into(),
        verb: Verb::Reload,
    };
    let expected = [Step::Files, reload];
    assert_eq!(steps, expected);
    assert_eq!(undo(&steps), expected);
    // Nobody knows what would have followed.
    assert_eq!(undo(&steps[..1]), [Step::Files, Step::DaemonReload]);
}

#[test]
fn what_the_manager_reads_has_it_read_again() {
    let none = units("");
    for (path, expected) in [
        ("/etc/hello.conf", false),
        ("/etc/systemd/network/x.network", false),
        ("/etc/systemd/system/s.service.d", true),
        ("/etc/fstab", true),
        ("/etc/localtime", true),
    ] {
        let steps = steps(&none, &none, &[path], &Live::default());
        assert_eq!(reads(&steps), expected, "{path}");
    }
    // A time alone is no change, but for systemd.
    for (path, expected) in [
        ("/etc/hello.conf", None),
        ("/etc/systemd/system", None),
        ("/etc/systemd/system/s.service", Some(Step::DaemonReload)),
    ] {
        let mut dated = change(Kind::Changed, path);
        dated.fields = vec!["mtime"];
        let differences = Differences {
            files: vec![dated, change(Kind::Added, "/etc/x")],
            ..Differences::default()
        };
        let side = Side::default;
        let plan = plan(&side(), &side(), differences, &Live::default()).unwrap();
        let expected: Vec<Step> = [Step::Files].into_iter().chain(expected).collect();
        assert_eq!(plan.steps, expected, "{path}");
    }
    // A generator of somebody else may read anything.
    let mut other = Live::default();
    other.generators.insert("other".into());
    assert!(reads(&steps(&none, &none, &["/etc/hello.conf"], &other)));
}

#[test]
fn what_links_of_units_lead_to_is_read_again() {
    let text = |n: u8| {
        let (file, link) = ("/opt/s.service", "/etc/systemd/system/s.service");
        let mut files = Files::new();
        files.insert(link, Entry::Link(file.into()));
        files.insert(file, Entry::File(format!("[Service]\nA={n}\n").into()));
        Units::new(files)
    };
    let live = Live::default();
    // The file is of /opt, and what differs is told by another path.
    assert!(reads(&steps(&text(1), &text(2), &["/etc/x"], &live)));
    assert!(!reads(&steps(&text(1), &text(1), &["/etc/x"], &live)));
}

#[test]
fn what_the_manager_watches_for_a_path_is_looked_for_anew() {
    for (setting, expected) in [
        ("PathChanged=/etc/hello.conf", true),
        ("PathExists=/run/x\nDirectoryNotEmpty=/usr/x", true),
        ("PathExistsGlob=%t/x", true),
        ("PathExists=/run/x", false),
        ("PathModified=/var/lib/x", false),
    ] {
        let units = units(&format!("== p.path\n[Path]\n{setting}\n"));
        for (running, expected) in [("p.path", expected), ("p.path=inactive", false)] {
            let live = live(running);
            let steps = steps(&units, &units, &["/etc/x"], &live);
            assert_eq!(reads(&steps), expected, "{setting} {running}");
        }
    }
    // One whose file is not known.
    let none = units("");
    let live = live("p.path");
    assert!(reads(&steps(&none, &none, &["/etc/x"], &live)));
}

/// A unit's file, a drop-in or a link, of few names so that many are alike.
fn part() -> impl Strategy<Value = String> {
    let names = [
        "a.service",
        "b.socket",
        "a.service.d/x.conf",
        "t@.service",
        "m.target.wants/a.service",
        "/usr/lib/systemd/system/a.service",
    ];
    let texts = [
        "\n[Unit]\nDescription=a\n",
        "\n[Unit]\nX-Reload-On=/etc/x\n",
        "\n[Service]\nA=1\n",
        "\n",
        " -> a.service",
        " -> /dev/null",
    ];
    (
        prop::sample::select(names.to_vec()),
        prop::sample::select(texts.to_vec()),
    )
        .prop_map(|(name, text)| format!("== {name}{text}\n"))
}

proptest! {
    /// Whatever differs in units, and wherever it is said to have changed, the manager reads it before a unit starts by it.
    #[test]
    fn no_unit_starts_by_what_the_manager_has_not_read(
        old in prop::collection::vec(part(), 0..6),
        new in prop::collection::vec(part(), 0..6),
        path in prop::sample::select(vec!["/etc/x", "/etc/systemd/system/a.service"]),
    ) {
        let (old, new) = (units(&old.concat()), units(&new.concat()));
        let live = live("a.service b.socket t@1.service m.target");
        let differ = ["a.service", "b.socket", "t@1.service", "m.target"].iter().any(|unit| {
            old.get(unit) != new.get(unit) || old.linked(unit) != new.linked(unit)
        });
        let steps = steps(&old, &new, &[path], &live);
        if differ {
            prop_assert!(reads(&steps));
        }
        // The units say the same, and the manager reads nothing else.
        if old.are(&new) && path == "/etc/x" {
            prop_assert!(!reads(&steps), "{steps:?}");
        }
        let files = steps.iter().position(|step| *step == Step::Files);
        let read = steps.iter().position(|step| *step == Step::DaemonReload);
        prop_assert!(read.is_none_or(|read| Some(read) == files.map(|files| files + 1)));
    }
}
