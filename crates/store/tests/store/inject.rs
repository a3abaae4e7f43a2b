//! Every system call that writes fails once, and kills once: whatever an operation was at, the store is
//! sound afterwards, names are old or new, and the same operation done again succeeds.
//!
//! A work does everything in one thread, so that strace(1), which counts calls thread by thread, can make each one of
//! them fail. Each call fails in one way, in turns; with `ELEA_INJECT_ALL` in every way.

use crate::works::{Expected, below, command, copy, damage, is_leftover, prepare};
use elea_store::Finding;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The calls that change something, or wait for something to be durable.
const CALLS: &str = "openat,write,pwrite64,rename,renameat,renameat2,mkdir,mkdirat,symlink,symlinkat,\
    unlink,unlinkat,rmdir,fsync,fdatasync,syncfs,chmod,fchmod,fchmodat,ftruncate,ioctl,flock,copy_file_range";

/// The ways in which a call fails.
const WAYS: [&str; 3] = ["error=EIO", "error=ENOSPC", "signal=KILL"];

/// A call of a run: the how manieth of its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    number: usize,
}

/// Runs a work under strace; none if strace is not there or may not trace. True if it succeeded.
fn run(place: &Path, work: &str, expression: Option<&str>) -> Option<(bool, String)> {
    let trace = place.join("trace");
    let _ = fs::remove_file(&trace);
    let program = command(place, work);
    let mut strace = Command::new("strace");
    strace
        // With it, strace is asked about these calls alone; it then sends no signals.
        .args((!expression.is_some_and(|e| e.contains("signal"))).then_some("--seccomp-bpf"))
        .args(["-f", "-y", "-qq", "-o"])
        .arg(&trace)
        .args(["-e", &format!("trace={CALLS}"), "-e", "signal=none"])
        .args(expression.map_or(vec![], |expression| vec!["-e", expression]))
        .arg(program.get_program())
        .args(program.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in program.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let status = strace.status().ok()?;
    let trace = fs::read_to_string(trace).ok()?;
    Some((status.success(), trace))
}

/// The calls of a trace that touch the store, and are not only for reading. None if they were made by
/// several threads.
fn points(trace: &str) -> Option<BTreeSet<Point>> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut points = BTreeSet::new();
    let mut threads = BTreeSet::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
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
            threads.insert(thread);
            points.insert(Point {
                call: call.to_owned(),
                number: *number,
            });
        }
    }
    (threads.len() <= 1).then_some(points)
}

/// How each point is tried.
fn plan(points: &BTreeSet<Point>, all: bool) -> Vec<(&Point, &'static str)> {
    let ways = |(turn, point)| {
        let one = turn % WAYS.len();
        let ways = if all { &WAYS[..] } else { &WAYS[one..=one] };
        ways.iter().map(move |way| (point, *way))
    };
    points.iter().enumerate().flat_map(ways).collect()
}

/// Every call of a work, each failing for want of room, by a broken disk, and with a death.
fn every_call(work: &'static str) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let base = dir.path().join("base");
    fs::create_dir(&base).unwrap();
    prepare(&base);
    let damaged = if work == "repair" {
        damage(&base)
    } else {
        Vec::new()
    };
    let done = dir.path().join("done");
    copy(&base, &done);
    let Some((true, trace)) = run(&done, work, None) else {
        println!("skipped: no strace, or it may not trace here");
        return;
    };
    let expected = Expected::new(work, &[&base, &done]);
    let points = points(&trace).expect("one thread alone");
    assert!(points.len() > 3, "{trace}");
    let plan = plan(&points, std::env::var_os("ELEA_INJECT_ALL").is_some());
    let place = dir.path().join("place");
    for (turn, (Point { call, number }, way)) in plan.iter().enumerate() {
        let _ = fs::remove_dir_all(&place);
        copy(&base, &place);
        let expression = format!("inject={call}:{way}:when={number}");
        let context = format!("{work}, {expression}");
        let (good, trace) = run(&place, work, Some(&expression)).unwrap();
        let killed = way.starts_with("signal") && !good;
        assert!(killed || trace.contains("(INJECTED)"), "{context}: {trace}");
        let may_be = |f: &Finding| is_leftover(f) || damaged.contains(&below(&f.path, &place));
        expected.check(&place, may_be, turn, &context);
    }
    println!("{work}: {} calls, {} runs", points.len(), plan.len());
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

#[test]
fn a_repair_survives_every_call() {
    every_call("repair");
}

/// What the store is not asked for is no part of this.
#[test]
fn points_are_the_calls_that_change_the_store() {
    let trace = r#"7 openat(AT_FDCWD</>, "/x/store/meta.json", O_RDONLY) = 3
7 write(1</dev/null>, "a", 1) = 1
7 write(3</x/store/tmp/1>, "a", 1) = 1
7 fsync(3</x/other>) = 0
"#;
    let write = Point {
        call: "write".into(),
        number: 2,
    };
    assert_eq!(points(trace), Some(BTreeSet::from([write])));
    let other = "8 write(4</x/store/tmp/2>, \"a\", 1 <unfinished ...>\n";
    assert_eq!(points(&format!("{trace}{other}")), None);
}
