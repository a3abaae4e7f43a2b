//! `/usr`: what the plan says of it, and the mounts of a real machine's images.

use super::etc::{boot, generation, import, inside, put, read, service, switch};
use super::plans::{self, change};
use super::{live, nothing_runs, said, units};
use crate::live::generation::GenerationEtc;
use crate::live::prepare::{Between, prepare};
use crate::live::system::Etc as _;
use crate::live::usr::{half, of_init};
use crate::live::verbs::open_images;
use crate::live::*;
use crate::machine::Machine;
use crate::view::View;
use elea_formats::digest::{Digest, Sha256};
use elea_store::{Change, Kind};
use elea_sys::disk::{Disk as _, Folder};
use elea_sys::mount::{self, Attributes, Filesystem};
use elea_sys::namespace::Namespace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn digest(name: &str) -> Digest {
    Digest::from(Sha256::of(name.as_bytes()))
}

fn over(keeps_modules: bool) -> Over {
    Over {
        from: digest("old"),
        to: digest("new"),
        keeps_modules,
    }
}

/// A small change of everything that a live switch can do, `/usr` among it.
pub(crate) fn sample() -> (Side, Side, Differences, Live) {
    let (old, new, mut differences, mut live) = plans::sample();
    differences.over = Some(over(false));
    differences.files.extend([
        change(Kind::Changed, "/usr/bin/l"),
        change(Kind::Removed, "/usr/bin/r"),
        change(Kind::Added, "/usr/bin/new"),
    ]);
    live.programs = programs(&[("l.service", "/usr/bin/l"), ("r.service", "/usr/bin/r")]);
    (old, new, differences, live)
}

fn programs(of: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let of = of
        .iter()
        .map(|(unit, path)| ((*unit).to_owned(), BTreeSet::from([(*path).to_owned()])));
    of.collect()
}

#[test]
fn a_plan_says_what_becomes_of_usr() {
    let (old, new, differences, live) = sample();
    let plan = plan(&old, &new, differences, &live).unwrap();
    let usr = serde_json::to_value(plan.usr.as_ref().unwrap()).unwrap();
    let expected = serde_json::json!({
        "image": digest("new"), "added": 1, "removed": 1, "changed": 1, "keeps_modules": false,
    });
    assert_eq!(usr, expected);
    assert!(
        plan.to_string()
            .contains("usr      1 paths come, 1 go, 1 change\n"),
        "{plan}"
    );
    let (from, to) = (digest("old"), digest("new"));
    let steps = plan.steps.clone();
    let at = steps
        .iter()
        .position(|step| *step == Step::Usr { from, to })
        .unwrap();
    assert_eq!(steps[at + 1], Step::Files);
    // What changed its text, too, goes the way of that; what would be reloaded starts anew for its program.
    let unit = |unit: &str, verb| Step::Unit {
        unit: unit.into(),
        verb,
    };
    for (step, before) in [
        (unit("a.service", Verb::Stop), true),
        (unit("l.service", Verb::Restart), false),
        (unit("r.service", Verb::Restart), false),
        (unit("new.service", Verb::Start), false),
    ] {
        let place = steps.iter().position(|one| *one == step).unwrap();
        assert_eq!(place < at, before, "{step:?}");
    }
    let text = serde_json::to_string(&steps[at]).unwrap();
    assert_eq!(
        text,
        format!(r#"{{"step":"usr","from":"{from}","to":"{to}"}}"#)
    );
    assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), steps[at]);
    // The way back has it before all that starts again, wherever the way forth was cut off.
    for begun in at + 1..=steps.len() {
        let back = undo(&steps[..begun]);
        let place = back.iter().position(|step| *step == steps[at]).unwrap();
        let starts = |step: &Step| matches!(step, Step::Unit { verb, .. } if *verb != Verb::Stop);
        assert!(!back[..place].iter().any(starts), "{back:?}");
        assert_eq!(back.contains(&Step::Files), begun > at + 1);
    }
}

#[test]
fn what_usr_needs_depends_on_whether_it_is_exchanged() {
    let side = |kernel: &str| Side {
        boot: Boot {
            kernel: Some(Sha256::of(kernel.as_bytes())),
            ..Boot::default()
        },
        ..Side::default()
    };
    let found = |path: &str, kernel: &str, over: Option<Over>| {
        let differences = Differences {
            files: vec![change(Kind::Changed, path)],
            over,
            ..Differences::default()
        };
        plan(&side("a"), &side(kernel), differences, &Live::default()).unwrap()
    };
    let rows = [
        ("/usr/bin/a", "a", Need::Reboot, 0, Need::Nothing, 3),
        // Another kernel waits, and its programs do not.
        ("/usr/bin/a", "b", Need::Reboot, 0, Need::Reboot, 3),
        (
            "/usr/lib/systemd/systemd",
            "a",
            Need::Reboot,
            0,
            Need::SoftReboot,
            3,
        ),
        (
            "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-core-257.so",
            "a",
            Need::Reboot,
            0,
            Need::SoftReboot,
            3,
        ),
        (
            "/usr/lib/elea/trust.d/a.pub",
            "a",
            Need::Reboot,
            0,
            Need::Reboot,
            3,
        ),
        (
            "/usr/lib/elea/release.json",
            "a",
            Need::Nothing,
            0,
            Need::Nothing,
            3,
        ),
        (
            "/usr/share/factory/var/lib/x",
            "a",
            Need::Reboot,
            0,
            Need::Nothing,
            3,
        ),
        // Made by its list.
        (
            "/usr/lib/tmpfiles.d/elea-var.conf",
            "a",
            Need::Reboot,
            0,
            Need::Nothing,
            4,
        ),
        // Neither of /usr nor of /etc: nothing is done.
        ("/opt/a", "a", Need::Reboot, 0, Need::Reboot, 0),
        ("/usrx", "a", Need::Reboot, 0, Need::Reboot, 0),
    ];
    for (path, kernel, needs, steps, live_needs, live_steps) in rows {
        let without = found(path, kernel, None);
        assert_eq!(
            (without.needs, without.steps.len()),
            (needs, steps),
            "{path}"
        );
        assert_eq!(without.usr, None);
        let with = found(path, kernel, Some(over(false)));
        assert_eq!(
            (with.needs, with.steps.len()),
            (live_needs, live_steps),
            "{path}: {:?}",
            with.reasons
        );
        assert_eq!(with.usr.is_some(), live_steps > 0);
    }
    let hint = found("/usr/bin/a", "a", None).to_string();
    assert!(
        hint.contains("`--live-usr` switches /usr now, too"),
        "{hint}"
    );
    let kept = found("/usr/bin/a", "b", Some(over(true))).to_string();
    assert!(
        kept.contains("/usr/lib/modules stays that of the kernel that runs"),
        "{kept}"
    );
}

#[test]
fn a_manager_that_is_another_one_is_not_started_anew() {
    let of = |paths: &[&str]| {
        let differences = Differences {
            files: paths
                .iter()
                .map(|path| change(Kind::Changed, path))
                .collect(),
            over: Some(over(false)),
            ..Differences::default()
        };
        plan(
            &Side::default(),
            &Side::default(),
            differences,
            &Live::default(),
        )
        .unwrap()
        .steps
    };
    let conf = "/usr/lib/systemd/system.conf.d/a.conf";
    assert!(of(&[conf]).contains(&Step::DaemonReexec));
    assert!(!of(&[conf, "/usr/lib/systemd/systemd"]).contains(&Step::DaemonReexec));
}

#[test]
fn a_service_whose_program_is_another_one() {
    let plain = "== a.service\n[Service]\nExecStart=/usr/bin/a\n";
    let with = |line: &str| format!("{plain}{line}\n");
    let rows: Vec<(String, String, &str, &str)> = [
        (plain, "a.service", "restart a.service"),
        (plain, "", ""),
        (
            &with("X-RestartIfChanged=false"),
            "a.service",
            "skip a.service",
        ),
        (
            &with("[Unit]\nRefuseManualStop=yes"),
            "a.service",
            "skip a.service",
        ),
        // A reload does not bring another program.
        (
            &with("ExecReload=/r\nX-ReloadIfChanged=true"),
            "a.service",
            "restart a.service",
        ),
        // Its socket goes on.
        (
            &with("== a.socket\n[Socket]\nListenStream=1"),
            "a.service a.socket",
            "restart a.service",
        ),
        (
            &plain.replace("a.service", "dbus.service"),
            "dbus.service",
            "skip dbus.service",
        ),
        (
            &plain.replace("a.service", "getty@tty1.service"),
            "getty@tty1.service",
            "skip getty@tty1.service",
        ),
    ]
    .into_iter()
    .map(|(text, running, expected)| (text.to_owned(), text.to_owned(), running, expected))
    .chain([
        (
            plain.into(),
            with("A=1"),
            "a.service",
            "stop a.service | start a.service",
        ),
        (
            plain.into(),
            with("Description=x"),
            "a.service",
            "stop a.service | start a.service",
        ),
        (plain.into(), String::new(), "a.service", "stop a.service"),
    ])
    .collect();
    for (old, new, running, expected) in rows {
        // Something that runs wants it.
        let name = running.split(' ').next().unwrap();
        let target = format!("== multi-user.target\n[Unit]\nWants={name}\n");
        let (old, new) = (units(&(target.clone() + &old)), units(&(target + &new)));
        let live = live(&format!("multi-user.target {running}"));
        let replaced = BTreeMap::from([(name.to_owned(), "/usr/bin/a".to_owned())]);
        let actions = plan_units(&old, &new, &live, &replaced, &[]).unwrap();
        assert_eq!(said(&actions), expected);
        if let [one] = &actions[..]
            && one.verb != Verb::Stop
        {
            assert!(
                one.why.starts_with("its program /usr/bin/a differs"),
                "{}",
                one.why
            );
        }
    }
}

#[test]
fn the_bus_reads_its_files_again_though_its_program_stays() {
    let text = "== dbus.service\n[Service]\nExecReload=/r\n== polkit.service\n[Service]\n";
    let side = || Side {
        units: units(text),
        ..Side::default()
    };
    let mut live = live("dbus.service polkit.service");
    live.programs = programs(&[("dbus.service", "/usr/bin/dbus-daemon")]);
    let differences = Differences {
        files: vec![
            change(Kind::Changed, "/usr/bin/dbus-daemon"),
            change(Kind::Added, "/usr/share/dbus-1/system.d/new.conf"),
            change(Kind::Added, "/usr/share/polkit-1/actions/new.policy"),
        ],
        over: Some(over(false)),
        ..Differences::default()
    };
    let plan = plan(&side(), &side(), differences, &live).unwrap();
    let expected = "reload dbus.service | restart polkit.service | skip dbus.service";
    assert_eq!(said(&plan.units), expected);
    assert_eq!(plan.needs, Need::SoftReboot);
}

/// The kernel that runs, as images name its modules.
fn modules(file: &str) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    format!("usr/lib/modules/{}/{file}", release.trim())
}

#[test]
fn usr_of_another_image_shows_and_goes_back() {
    let Some(dir) = inside("live::tests::usr::usr_of_another_image_shows_and_goes_back") else {
        return;
    };
    let (kernel, module) = (modules("vmlinuz"), modules("a.ko"));
    let old = [
        ("usr/bin/tool", "old"),
        ("usr/bin/elea", "x"),
        ("usr/share/place/x", "x"),
        (&*kernel, "kernel"),
        (&*module, "module"),
    ];
    let new = [
        ("usr/bin/tool", "new"),
        ("usr/bin/added", "new"),
        ("usr/bin/elea", "x"),
        ("usr/share/place/x", "x"),
        ("usr/lib/modules/7.0-other/vmlinuz", "other kernel"),
    ];
    let images = boot(&dir, [&old, &new]);
    std::thread::spawn(move || story(images)).join().unwrap();
}

/// The mounts at `/usr` that process 1 sees.
fn at_usr() -> usize {
    let text = fs::read_to_string("/proc/1/mountinfo").unwrap();
    let mounts = elea_formats::mountinfo::parse(&text);
    elea_formats::mountinfo::stack(&mounts, "/usr").len()
}

#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn story(images: [Digest; 2]) {
    let outside = Namespace::of_init().unwrap();
    let service = service();
    let see = |path: &str| outside.run(|| read(path)).unwrap();
    let module = format!("/{}", modules("a.ko"));
    put(Path::new("/usr/local/own"), "mine");
    let machine = Machine::open(Path::new("/"), "test").unwrap();
    let [old, new] = images;
    assert_eq!((machine.usr_image(), of_init()), (Some(old), None));

    let (first, second) = (generation(1, old), generation(2, new));
    let between = Between {
        booted: &first,
        shown: &first,
        usr: old,
        live_usr: false,
        new: &second,
        packages: [&[], &[]],
    };
    let plan = |between| prepare(&machine, between, nothing_runs()).map(|(plan, _)| plan);
    let without = plan(between).unwrap();
    assert_eq!((without.steps, without.needs), (vec![], Need::Reboot));
    let live = Between {
        live_usr: true,
        ..between
    };
    let with = plan(live).unwrap();
    let exchange = Step::Usr { from: old, to: new };
    assert_eq!(with.steps, [exchange, Step::Files, Step::DaemonReload]);
    assert!(with.usr.unwrap().keeps_modules);
    assert_eq!(at_usr(), 0, "a plan mounts nothing");

    let mut etc = GenerationEtc::new(&machine, &switch(1, 2)).unwrap();
    for _ in 0..2 {
        etc.show_usr(&new).unwrap();
        assert_eq!(
            (see("/usr/bin/tool"), see("/usr/bin/added")),
            ("new".into(), "new".into())
        );
        assert_eq!(
            see(&module),
            "module",
            "the modules of the kernel that runs"
        );
        assert!(see("/usr/lib/modules/7.0-other/vmlinuz").contains("No such file"));
        assert_eq!(see("/usr/local/own"), "mine");
        assert_eq!(service.run(|| read("/usr/bin/tool")).unwrap(), "new");
        assert_eq!(service.run(|| read(&module)).unwrap(), "module");
        assert_eq!(
            (of_init(), machine.usr_image(), at_usr()),
            (Some(new), Some(new), 1)
        );
        let written = outside.run(|| fs::write("/usr/bin/tool", "x")).unwrap();
        assert_eq!(
            written.unwrap_err().kind(),
            std::io::ErrorKind::ReadOnlyFilesystem
        );
        assert_eq!(see("/etc/conf"), "old\n", "/etc is a step of its own");
    }
    // While the switch has not ended, both images are needed, and afterwards what shows.
    let disk = Folder::new("/sysroot/elea/state");
    let open = || open_images(&machine, &View::default()).unwrap();
    let begin = |record: &str| {
        let line = elea_formats::oplog::seal(record.to_owned());
        disk.mkdir("live").unwrap();
        fs::write("/sysroot/elea/state/live/journal.jsonl", line).unwrap();
    };
    let steps = format!(r#"[{{"step":"usr","from":"{old}","to":"{new}"}}]"#);
    begin(&format!(
        r#"{{"record":"begin","schema":"elea.live-journal/1","boot":"boot","old":1,"new":2,"confirm":true,"test":false,"steps":{steps}}}"#
    ));
    assert_eq!(open(), [old, new]);
    begin(r#"{"record":"kept"}"#);
    assert_eq!(open(), []);
    outside
        .run(|| fs::write("/usr/local/own", "mine still"))
        .unwrap()
        .unwrap();
    let later = || Filesystem::new("tmpfs").mount(Path::new("/usr/share/place"));
    outside.run(later).unwrap().unwrap();

    // Another on top: a kernel as the one that runs, with a module more.
    let store = machine.store().unwrap();
    let (kernel, more) = (modules("vmlinuz"), modules("b.ko"));
    let files = [
        ("usr/bin/tool", "third"),
        ("usr/share/place/x", "x"),
        (&*kernel, "kernel"),
        (&*more, "more"),
    ];
    let third = import(&store, Path::new("/tmp/tree"), &files);
    let third_generation = generation(3, third);
    let again = Between {
        usr: new,
        new: &third_generation,
        ..live
    };
    let found = plan(again).unwrap();
    let paths = |change: &Change| ["/usr/bin/tool", "/usr/bin/added"].contains(&&*change.path);
    assert!(!found.etc.iter().any(paths));
    let usr = found.usr.unwrap();
    assert!(
        usr.replaced.contains("/usr/bin/added"),
        "it is compared with what shows: {usr:?}"
    );
    assert!(!usr.keeps_modules);
    etc.show_usr(&third).unwrap();
    assert_eq!((see("/usr/bin/tool"), at_usr()), ("third".into(), 1));
    assert_eq!(see(&format!("/{more}")), "more");
    assert!(see(&module).contains("No such file"), "its own modules");
    assert_eq!(see("/usr/local/own"), "mine still");
    assert!(
        see("/usr/share/place/x").contains("No such file"),
        "what was mounted since goes along"
    );
    // What was booted again: nothing is left over it.
    etc.show_usr(&old).unwrap();
    assert_eq!(
        (see("/usr/bin/tool"), of_init(), at_usr()),
        ("old".into(), None, 0)
    );
    assert_eq!(
        (see("/usr/local/own"), see(&module)),
        ("mine still".into(), "module".into())
    );
    assert!(see("/usr/share/place/x").contains("No such file"));
    assert_eq!(service.run(|| read("/usr/bin/tool")).unwrap(), "old");
    let places = fs::read_to_string("/proc/1/mountinfo").unwrap();
    assert_eq!(places.matches(" /usr/local ").count(), 1, "{places}");

    // Cut off between the two halves, whoever comes goes on, or back.
    for wanted in [new, third, old] {
        etc.show_usr(&new).unwrap();
        half(&machine, &third).unwrap();
        assert_eq!(at_usr(), 2);
        let mut other = GenerationEtc::new(&machine, &switch(1, 2)).unwrap();
        other.show_usr(&wanted).unwrap();
        assert_eq!(machine.usr_image(), Some(wanted));
        assert_eq!(at_usr(), usize::from(wanted != old));
    }

    // Another kernel, and no place for the modules of the one that runs.
    let bare = import(&store, Path::new("/tmp/tree"), &[("usr/bin/tool", "bare")]);
    let bare = generation(4, bare);
    let bare = Between { new: &bare, ..live };
    let error = plan(bare).unwrap_err().to_string();
    assert!(error.contains("no folder /usr/lib/modules"), "{error}");
    // What others mounted there is left.
    let foreign = || mount::bind(Path::new("/tmp"), Path::new("/usr"), Attributes::NONE);
    outside.run(foreign).unwrap().unwrap();
    let error = etc.show_usr(&new).unwrap_err();
    assert!(error.contains("/usr is not"), "{error}");
    assert_eq!(at_usr(), 1);
}
