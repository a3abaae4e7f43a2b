//! Every system call that writes fails once, and kills once: whatever an operation was at, the store is
//! sound afterwards, names are old or new, and the same operation done again succeeds.
//!
//! strace(1) lists the calls of a run, and then makes the one of that thread, name and number fail.

use crate::sample::{import, origin};
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_store::repair::{Plan, Repair};
use elea_store::{Damage, Store};
use elea_sys::progress::Silent;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const PLACE: &str = "ELEA_STORE_INJECT";
const WORK: &str = "ELEA_STORE_INJECT_WORK";

/// The calls that change something, or wait for something to be durable.
const CALLS: &str = "openat,write,pwrite64,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,\
    unlink,unlinkat,rmdir,fsync,fdatasync,syncfs,chmod,fchmod,fchmodat,ftruncate,ioctl,flock,copy_file_range";

/// What is done to the store, under the name by which a child knows it.
type Work = fn(&Path);

const WORKS: [(&str, Work); 4] = [
    ("import", import_and_name),
    ("pull", layer_and_name),
    ("gc", collect),
    ("names", rename),
];

/// Not a test by itself: what the others start.
#[test]
fn child() {
    let (Some(place), Ok(name)) = (std::env::var_os(PLACE), std::env::var(WORK)) else {
        return;
    };
    let (_, work) = WORKS.iter().find(|(known, _)| *known == name).unwrap();
    work(Path::new(&place));
}

fn store(place: &Path) -> Store {
    Store::open(&place.join("store")).unwrap()
}

fn import_and_name(place: &Path) {
    let store = store(place);
    let _lease = store.lease("import").unwrap();
    let tree = import(&store, &place.join("new"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("it", &image).unwrap();
}

/// What a pull does once a layer's bytes have come.
fn layer_and_name(place: &Path) {
    let store = store(place);
    let _lease = store.lease("pull").unwrap();
    let bytes = fs::read(place.join("layer.tar")).unwrap();
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let layer = store
        .import_layer(&Digest::sha256(&bytes), media_type, &bytes[..], &Silent)
        .unwrap();
    let mut origin = origin();
    origin.layers.push(layer.blob);
    let tree = store.assemble(&[layer]).unwrap();
    let image = store.seal(tree, Form::Os1, &origin).unwrap().image;
    store.set_ref("it", &image).unwrap();
}

fn collect(place: &Path) {
    store(place).gc(&[], false, &Silent).unwrap();
}

fn rename(place: &Path) {
    let store = store(place);
    let other = store.refs().unwrap()["other"];
    store.set_ref("it", &other).unwrap();
    store.remove_ref("gone").unwrap();
}

/// A place with a store: an image named `it`, another named `other` and `gone`, and one that nothing
/// names; a folder and a layer to bring in.
fn prepare(place: &Path) {
    let write = |folder: &str, seed: u8| {
        fs::create_dir(place.join(folder)).unwrap();
        for number in 0..4 {
            let content = [seed + number; 5000];
            fs::write(place.join(folder).join(number.to_string()), content).unwrap();
        }
    };
    let store = Store::init(&place.join("store")).unwrap();
    for (folder, seed, names) in [
        ("old", 0, &["it"][..]),
        ("another", 2, &["other", "gone"]),
        ("unnamed", 50, &[]),
        ("new", 3, &[]),
    ] {
        write(folder, seed);
        let from = place.join(folder);
        if folder == "new" {
            let tar = Command::new("tar")
                .args(["-cf", "../layer.tar", "."])
                .current_dir(from)
                .status();
            assert!(tar.unwrap().success());
            continue;
        }
        let tree = import(&store, &from);
        let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
        for name in names {
            store.set_ref(name, &image).unwrap();
        }
    }
}

/// A call of a run: the how manieth of its name in its thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    /// Whether it is the thread that the program begins with.
    first: bool,
    call: String,
    number: usize,
}

/// Runs a work under strace; none if strace is not there or may not trace. True if it succeeded.
fn run(place: &Path, work: &str, threads: bool, expression: &str) -> Option<(bool, String)> {
    let trace = place.join("trace");
    let _ = fs::remove_file(&trace);
    let status = Command::new("strace")
        .args(threads.then_some("-f"))
        .args(["-y", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={CALLS}"), "-e", "signal=none"])
        .args(
            (!expression.is_empty())
                .then_some(["-e", expression])
                .iter()
                .flatten(),
        )
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "inject::child", "--test-threads=1"])
        .env(PLACE, place)
        .env(WORK, work)
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok()?;
    let trace = fs::read_to_string(trace).ok()?;
    Some((status.success(), trace))
}

/// The calls of a trace that touch the store, and are not only for reading.
fn points(trace: &str) -> BTreeSet<Point> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut points = BTreeSet::new();
    let mut main = None;
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let main = *main.get_or_insert(thread);
        let Some((call, arguments)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if !CALLS.split(',').any(|known| known == call) {
            continue;
        }
        let number = counts.entry((thread, call)).or_default();
        *number += 1;
        let reads = call == "openat" && !arguments.contains("O_CREAT");
        if arguments.contains("/store") && !reads {
            points.insert(Point {
                first: thread == main,
                call: call.to_owned(),
                number: *number,
            });
        }
    }
    points
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// What names may say: each one's images, and none where it may be absent.
type Allowed = BTreeMap<&'static str, Vec<Option<Digest>>>;

fn check(place: &Path, name: &str, allowed: &Allowed, by_repair: bool, context: &str) {
    let store = store(place);
    let refs = store.refs().unwrap();
    for (name, images) in allowed {
        let is = refs.get(*name).copied();
        assert!(images.contains(&is), "{context}: {name} is {is:?}");
    }
    assert!(refs.keys().all(|name| allowed.contains_key(name.as_str())));
    let check = store.fsck(&Silent).unwrap();
    let leftovers = check.findings.iter().all(|f| f.damage == Damage::Leftover);
    assert!(leftovers, "{context}: {:?}", check.findings);
    if by_repair {
        let mut repair = Repair::new(&store, Plan::new(&check)).unwrap();
        repair.tidy().unwrap();
        assert_eq!(repair.failed, [], "{context}");
    } else {
        store.gc(&[], false, &Silent).unwrap();
        let left = fs::read_dir(store.path().join("tmp")).unwrap().count();
        assert_eq!(left, 0, "{context}");
        assert!(
            fs::read_dir(store.path().join("leases"))
                .unwrap()
                .next()
                .is_none()
        );
    }
    assert_eq!(store.fsck(&Silent).unwrap().findings, [], "{context}");
    let (_, work) = WORKS.iter().find(|(known, _)| *known == name).unwrap();
    work(place);
    let refs = store.refs().unwrap();
    for (name, images) in allowed {
        let last = images.last().unwrap();
        assert_eq!(refs.get(*name), last.as_ref(), "{context}: {name}");
    }
    assert_eq!(store.fsck(&Silent).unwrap().findings, [], "{context}");
}

/// Every call of a work, each failing for want of room, by a broken disk, and with a death.
fn every_call(name: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    prepare(&base);
    let before = store(&base).refs().unwrap();
    let place = dir.path().join("place");
    copy(&base, &place);
    let Some((true, trace)) = run(&place, name, true, "") else {
        println!("skipped: no strace, or it may not trace here");
        return;
    };
    let after = store(&place).refs().unwrap();
    let allowed: Allowed = ["it", "other", "gone"]
        .map(|name| {
            let (old, new) = (before.get(name).copied(), after.get(name).copied());
            (name, vec![old, new])
        })
        .into();
    let points = points(&trace);
    assert!(points.len() > 3, "{trace}");
    let mut hit: BTreeSet<(bool, &str)> = BTreeSet::new();
    let mut wanted = BTreeSet::new();
    for (count, point) in points.iter().enumerate() {
        let Point {
            first,
            call,
            number,
        } = point;
        wanted.insert((*first, call.as_str()));
        for (turn, how) in ["error=EIO", "error=ENOSPC", "signal=KILL"]
            .iter()
            .enumerate()
        {
            fs::remove_dir_all(&place).unwrap();
            copy(&base, &place);
            let expression = format!("inject={call}:{how}:when={number}");
            let context = format!("{name}, {expression}, first thread: {first}");
            // The counter is each thread's own, so others are not traced where it is the first's.
            let (good, trace) = run(&place, name, !first, &expression).unwrap();
            let failed = trace.contains("(INJECTED)") || (turn == 2 && !good);
            if failed {
                hit.insert((*first, call.as_str()));
            } else {
                assert!(good && !first, "{context}: {trace}");
            }
            check(&place, name, &allowed, (count + turn) % 2 == 1, &context);
        }
    }
    assert_eq!(hit, wanted);
    println!("{name}: {} calls", points.len());
}

#[test]
fn an_import_and_seal_survives_every_call() {
    every_call("import");
}

#[test]
fn a_pull_survives_every_call() {
    every_call("pull");
}

#[test]
fn a_collection_survives_every_call() {
    every_call("gc");
}

#[test]
fn changes_of_names_survive_every_call() {
    every_call("names");
}

/// What the store is not asked for is no part of this.
#[test]
fn points_are_the_calls_that_change_the_store() {
    let trace = r#"7 openat(AT_FDCWD</>, "/x/store/meta.json", O_RDONLY) = 3
7 write(3</x/store/tmp/1>, "a", 1) = 1
8 write(1</dev/null>, "a", 1) = 1
8 write(4</x/store/tmp/2>, "a", 1 <unfinished ...>
7 fsync(3</x/other>) = 0
8 <... write resumed>) = 1
"#;
    let point = |first, number| Point {
        first,
        call: "write".into(),
        number,
    };
    assert_eq!(
        points(trace),
        BTreeSet::from([point(true, 1), point(false, 2)])
    );
}
