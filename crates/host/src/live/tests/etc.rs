//! `/etc` of a real machine: images of a real store as real mounts, in namespaces of their own.

use super::super::generation::GenerationEtc;
use super::super::journal::Switch;
use super::super::overlay::{of_init, overlay};
use super::super::prepare::{Between, prepare};
use super::super::system::Etc as _;
use super::super::{Need, Step, Which};
use super::nothing_runs;
use crate::machine::Machine;
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::generation::Generation;
use elea_store::{Backing, Origin, Store};
use elea_sys::mount::{self, Attributes, Filesystem};
use elea_sys::namespace::Namespace;
use elea_sys::progress::Silent;
use rustix::mount::MountPropagationFlags as Propagation;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const INSIDE: &str = "ELEA_TEST_INSIDE";

/// Runs a test again as process 1 of its own namespaces; gives a folder for it there, which is gone afterwards.
pub(super) fn inside(test: &str) -> Option<std::path::PathBuf> {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return Some(dir.into());
    }
    // Overlays do not nest on every file system; a tmpfs carries one everywhere.
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]);
        command
    };
    let able = unshare().arg("true").stderr(Stdio::null()).status();
    if !able.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no namespaces");
        return None;
    }
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, dir.path())
        .status();
    assert!(status.unwrap().success());
    None
}

pub(super) fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_760_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

pub(super) fn import(store: &Store, folder: &Path, files: &[(&str, &str)]) -> Digest {
    let _ = fs::remove_dir_all(folder);
    for name in ["run", "sysroot", "proc", "dev", "tmp", "usr/local", "var"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    put(&folder.join("etc/long"), &"the same ".repeat(100));
    for (path, text) in files {
        put(&folder.join(path), text);
    }
    let tree = store.import_dir(folder, &Silent).unwrap();
    let manifest = store.seal(tree, Form::Os1, &Origin::default()).unwrap();
    manifest.image
}

pub(super) fn generation(number: u64, image: Digest) -> Generation {
    let text = include_str!("../../../../formats/tests/golden/generation-1.json");
    let first: Generation = serde_json::from_str(text).unwrap();
    let mut generation = first.repeated(number, String::new());
    generation.image = image;
    generation.options = format!("composefs.digest={image} elea.generation={number} ro");
    generation
}

/// Makes a machine that was booted as generation 1 the root of this process; gives its images, which have these files
/// beside others.
pub(super) fn boot(dir: &Path, more: [&[(&str, &str)]; 2]) -> [Digest; 2] {
    let physical = dir.join("physical");
    let elea = physical.join("elea");
    for name in ["state/usr-local", "generations/1/etc/work", "log"] {
        fs::create_dir_all(elea.join(name)).unwrap();
    }
    let store = Store::init(&elea.join("store")).unwrap();
    let passwd = "root:x:0:0::/root:/bin/sh\n";
    let old = [
        ("etc/passwd", passwd),
        ("etc/conf", "old\n"),
        ("etc/both", "old\n"),
        ("etc/issue", "old\n"),
        ("etc/gone", "old\n"),
        ("usr/lib/systemd/system-preset/00-elea.preset", "#"),
    ];
    let new = [
        (
            "etc/passwd",
            "root:x:0:0::/root:/bin/sh\nnew:x:990:990::/:/bin/false\n",
        ),
        ("etc/conf", "new\n"),
        ("etc/both", "new\n"),
        ("etc/issue", "old\n"),
        ("etc/added/conf", "new\n"),
        ("usr/lib/systemd/system-preset/00-elea.preset", "enable a"),
    ];
    let images = [
        import(&store, &dir.join("tree"), &[&old[..], more[0]].concat()),
        import(&store, &dir.join("tree"), &[&new[..], more[1]].concat()),
    ];
    for (number, image) in (1..).zip(images) {
        let folder = elea.join(format!("generations/{number}"));
        let text = serde_json::to_string_pretty(&generation(number, image)).unwrap();
        put(&folder.join("manifest.json"), &text);
    }
    put(&elea.join("state/last-run"), "1\n");
    // Edits of the time before.
    let upper = elea.join("generations/1/etc/upper");
    put(&upper.join("both"), "mine\n");
    put(&upper.join("own"), "mine\n");
    put(&upper.join("machine-id"), "0123\n");
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    store.mount_by(&images[0], &root, Backing::Loop).unwrap();
    let etc = root.join("etc");
    let lower = mount::tree(&root, false).unwrap();
    let below = dir.join("below");
    fs::create_dir(&below).unwrap();
    lower.attach(&below).unwrap();
    overlay(&below.join("etc"), &upper, &upper.with_file_name("work"))
        .mount(&etc)
        .unwrap();
    mount::bind(&physical, &root.join("sysroot"), Attributes::READ_ONLY).unwrap();
    mount::bind(
        &elea.join("state/usr-local"),
        &root.join("usr/local"),
        Attributes::NONE,
    )
    .unwrap();
    mount::bind(Path::new("/dev"), &root.join("dev"), Attributes::NONE).unwrap();
    Filesystem::new("tmpfs").mount(&root.join("run")).unwrap();
    Filesystem::new("proc").mount(&root.join("proc")).unwrap();
    std::env::set_current_dir(&root).unwrap();
    rustix::process::pivot_root(".", "tmp").unwrap();
    std::env::set_current_dir("/").unwrap();
    mount::detach(Path::new("/tmp")).unwrap();
    Filesystem::new("tmpfs").mount(Path::new("/tmp")).unwrap();
    // As systemd has it: what is mounted shows in the namespaces of services too.
    let shared = Propagation::SHARED | Propagation::REC;
    rustix::mount::mount_change("/", shared).unwrap();
    let booted = serde_json::json!({
        "schema": "elea.booted/1", "boot_id": "boot", "generation": 1, "image": images[0],
        "device": "7:0", "device_name": "x", "root_uuid": "x", "root_kind": "ext4", "try_file": null,
        "initrd_seconds": 0.1, "verity": "unsealed", "rescue": false, "etc": {"state": "kept"},
        "watchdog": null, "warnings": [],
    });
    put(Path::new("/run/elea/booted"), &booted.to_string());
    images
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| format!("{e}"))
}

/// A namespace as systemd makes for a service with mounts of its own: what the system mounts shows in it.
pub(super) fn service() -> Namespace {
    #[expect(deprecated, reason = "the thread ends; only `sys` has unsafe code")]
    let slave = || {
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).unwrap();
        let slave = Propagation::DOWNSTREAM | Propagation::REC;
        rustix::mount::mount_change("/", slave).unwrap();
        Namespace::own().unwrap()
    };
    std::thread::spawn(slave).join().unwrap()
}

pub(super) fn switch(old: u64, new: u64) -> Switch {
    Switch {
        boot: "boot".into(),
        old,
        new,
        confirm: false,
        test: false,
    }
}

fn held() -> Vec<String> {
    let text = fs::read_to_string("/proc/1/mountinfo").unwrap();
    let mounts = elea_formats::mountinfo::parse(&text);
    let held = mounts
        .into_iter()
        .filter(|m| m.at.starts_with("/run/elea/etc/"));
    held.map(|m| m.at).collect()
}

#[test]
fn etc_of_another_generation_shows_and_goes_back() {
    let Some(dir) = inside("live::tests::etc::etc_of_another_generation_shows_and_goes_back")
    else {
        return;
    };
    let images = boot(&dir, [&[], &[]]);
    // The thread of the machine gets mounts of its own; process 1 keeps those of the system.
    std::thread::spawn(move || story(images)).join().unwrap();
}

#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn story(images: [Digest; 2]) {
    let outside = Namespace::of_init().unwrap();
    let service = service();
    let see = |path: &str| outside.run(|| read(path)).unwrap();
    let bind = || {
        mount::bind(
            Path::new("/run/elea/booted"),
            Path::new("/etc/long"),
            Attributes::NONE,
        )
    };
    outside.run(bind).unwrap().unwrap();
    let machine = Machine::open(Path::new("/"), "test").unwrap();
    assert_eq!((machine.etc_number(), of_init()), (Some(1), Some(1)));

    let (first, second) = (generation(1, images[0]), generation(2, images[1]));
    let between = Between {
        booted: &first,
        shown: &first,
        usr: images[0],
        live_usr: false,
        new: &second,
        packages: [&[], &[]],
    };
    let (plan, report) = prepare(&machine, between, nothing_runs()).unwrap();
    let paths: Vec<&str> = plan.etc.iter().map(|change| change.path.as_str()).collect();
    let expected = [
        "/etc/added",
        "/etc/added/conf",
        "/etc/conf",
        "/etc/gone",
        "/etc/passwd",
    ];
    assert_eq!(paths, expected);
    assert_eq!(plan.accounts[0].name, "new");
    assert_eq!(
        (plan.others, plan.needs),
        (1, Need::Nothing),
        "{:?}",
        plan.reasons
    );
    // No unit differs, and nothing else that the manager reads.
    assert_eq!(plan.steps, [Step::Files]);
    assert_eq!(report.conflicts.len(), 1, "{report:?}");
    assert!(
        !Path::new("/sysroot/elea/generations/2/etc").exists(),
        "a plan writes nothing"
    );

    let mut etc = GenerationEtc::new(&machine, &switch(1, 2)).unwrap();
    for again in [false, true] {
        etc.show(Which::New).unwrap();
        assert_eq!(
            (see("/etc/conf"), see("/etc/added/conf")),
            ("new\n".into(), "new\n".into())
        );
        assert_eq!(
            (see("/etc/both"), see("/etc/own")),
            ("mine\n".into(), "mine\n".into())
        );
        assert_eq!(
            (see("/etc/issue"), see("/etc/machine-id")),
            ("old\n".into(), "0123\n".into())
        );
        assert!(see("/etc/passwd").contains("new:x:990"));
        assert!(see("/etc/gone").contains("No such file"));
        assert!(
            see("/etc/long").contains("elea.booted"),
            "a mount below goes along"
        );
        assert_eq!(service.run(|| read("/etc/conf")).unwrap(), "new\n");
        assert_eq!(
            (machine.etc_number(), read("/sysroot/elea/state/last-run")),
            (Some(2), "2\n".into())
        );
        let edit = "/sysroot/elea/generations/2/etc/upper/edit";
        assert_eq!(Path::new(edit).exists(), again, "it is not made anew");
        outside
            .run(|| fs::write("/etc/edit", "x"))
            .unwrap()
            .unwrap();
        assert!(Path::new(edit).exists());
    }
    etc.show(Which::Old).unwrap();
    assert_eq!(
        (see("/etc/conf"), see("/etc/gone")),
        ("old\n".into(), "old\n".into())
    );
    assert!(see("/etc/edit").contains("No such file") && see("/etc/long").contains("elea.booted"));
    assert_eq!(
        (of_init(), read("/sysroot/elea/state/last-run")),
        (Some(1), "1\n".into())
    );
    assert_eq!(service.run(|| read("/etc/conf")).unwrap(), "old\n");
    // Forth again, with the same overlay.
    etc.show(Which::New).unwrap();
    assert_eq!(see("/etc/edit"), "x");
    etc.show(Which::Old).unwrap();

    // Cut off between the two halves, whoever comes goes on, or back.
    for (which, number) in [(Which::Old, 1), (Which::New, 2)] {
        etc.show(Which::Old).unwrap();
        etc.half().unwrap();
        assert_eq!(of_init(), Some(1));
        let mut other = GenerationEtc::new(&machine, &switch(1, 2)).unwrap();
        other.show(which).unwrap();
        assert_eq!(of_init(), Some(number));
        let text = fs::read_to_string("/proc/1/mountinfo").unwrap();
        assert_eq!(
            text.lines()
                .filter(|line| line.contains(" /etc rw"))
                .count(),
            1,
            "{text}"
        );
    }
    assert_eq!(held().len(), 2);
    super::super::overlay::release();
    assert_eq!(held(), [""; 0]);
    // The edits of now go on to the next one, whose lower is that of another image.
    let folder = "/sysroot/elea/generations/3";
    fs::create_dir(folder).unwrap();
    let third = serde_json::to_string_pretty(&generation(3, images[0])).unwrap();
    fs::write(format!("{folder}/manifest.json"), third).unwrap();
    let mut next = GenerationEtc::new(&machine, &switch(2, 3)).unwrap();
    next.show(Which::New).unwrap();
    assert_eq!(
        (see("/etc/conf"), see("/etc/edit"), see("/etc/both")),
        ("old\n".into(), "x".into(), "mine\n".into())
    );
    next.show(Which::Old).unwrap();
    assert_eq!((see("/etc/conf"), of_init()), ("new\n".into(), Some(2)));
    // A plan is made from what shows now, not from what showed when the command began.
    let between = Between {
        shown: &second,
        ..between
    };
    let (plan, report) = prepare(&machine, between, nothing_runs()).unwrap();
    assert_eq!((plan.etc, plan.steps), (vec![], vec![]), "{report:?}");
}
