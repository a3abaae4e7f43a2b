//! The power is cut after every system call: whatever the file system kept of what was not synced, the
//! store opens, names are old or new with all that they name, nothing is wrong but what nobody
//! names, and the same operation done again succeeds.
//!
//! `ELEA_POWER_STATES` is how many torn states are tried for each step, six times as many before a sync (1 if it is not
//! set).

use crate::works::{Expected, below, command, damage, is_leftover, prepare};
use elea_store::{Damage, Finding};
use elea_testkit::power::{Cut, Record};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// Where nothing waits for a disk, if there is such a place.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn torn() -> u64 {
    let states = std::env::var("ELEA_POWER_STATES");
    states.map_or(1, |states| states.parse().unwrap())
}

/// What a power cut may leave: what a death may, and objects that nobody names, with any content.
fn may_be(finding: &Finding) -> bool {
    is_leftover(finding) || finding.damage == Damage::Content && finding.images.is_empty()
}

struct Scene {
    dir: tempfile::TempDir,
    base: PathBuf,
    /// What is wrong from the beginning.
    damaged: Vec<PathBuf>,
}

impl Scene {
    fn new(work: &str) -> Self {
        let dir = folder();
        let base = dir.path().join("base");
        fs::create_dir(&base).unwrap();
        prepare(&base);
        let mut damaged = Vec::new();
        match work {
            "first" => fs::remove_dir_all(base.join("store")).unwrap(),
            "repair" => damaged = damage(&base),
            _ => {}
        }
        Self { dir, base, damaged }
    }

    /// A place like the first one, whose store is elsewhere or not there yet.
    fn place(&self, name: &str) -> PathBuf {
        let place = self.dir.path().join(name);
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).unwrap();
        for name in ["old", "another", "new", "layer.tar", "spare"] {
            symlink(self.base.join(name), place.join(name)).unwrap();
        }
        place
    }
}

/// Does a work and records it; none if strace may not trace here.
fn recorded(scene: &Scene, work: &'static str) -> Option<(Record, Expected)> {
    let place = scene.place("done");
    if scene.base.join("store").exists() {
        crate::works::copy(&scene.base.join("store"), &place.join("store"));
    }
    let mut record = Record::begin(&place.join("store")).unwrap();
    let Some(good) = record.run(&command(&place, work)).unwrap() else {
        println!("skipped: no strace, or it may not trace here");
        return None;
    };
    assert!(good, "{work}");
    Some((record, Expected::new(work, &[&scene.base, &place])))
}

/// Every state that is tried after so many steps, each once.
fn states(
    record: &Record,
    steps: usize,
    torn: u64,
    seen: &mut HashSet<u64>,
) -> Vec<(Cut, elea_testkit::power::State)> {
    // Before a sync most is at stake.
    let times = if record.is_sync(steps) { 6 } else { 1 };
    let seeds = (0..torn * times).map(|seed| Cut::Torn(steps as u64 * 1000 + seed));
    [Cut::Nothing, Cut::Everything]
        .into_iter()
        .chain(seeds)
        .map(|cut| (cut, record.state(steps, cut)))
        .filter(|(_, state)| seen.insert(state.key()))
        .collect()
}

fn every_step(work: &'static str) {
    let scene = Scene::new(work);
    let Some((record, expected)) = recorded(&scene, work) else {
        return;
    };
    assert!(record.len() > 4, "{work}");
    let states = cut_everywhere(&scene, &record, 0, &expected, work);
    println!("{work}: {} steps, {states} states", record.len());
}

/// Cuts the power after every step of a work from one on, and after it; how many states were tried.
fn cut_everywhere(
    scene: &Scene,
    record: &Record,
    from: usize,
    expected: &Expected,
    work: &str,
) -> usize {
    let mut seen = HashSet::new();
    for steps in from..=record.len() {
        for (cut, state) in states(record, steps, torn(), &mut seen) {
            let place = scene.place("cut");
            state.write(&place.join("store")).unwrap();
            let context = format!(
                "{work}, {steps} steps, then {}, {cut:?}",
                record.step(steps)
            );
            let may_be = |f: &Finding| may_be(f) || scene.damaged.contains(&below(&f.path, &place));
            expected.check(&place, may_be, steps, &context);
        }
    }
    // What an operation that is over has done is durable.
    let seeds = (1..=torn() * 4).map(Cut::Torn);
    for cut in [Cut::Nothing].into_iter().chain(seeds) {
        let place = scene.place("cut");
        let state = record.state(record.len(), cut);
        state.write(&place.join("store")).unwrap();
        let context = format!("{work}, done, {cut:?}");
        expected.is_named(&place, &context);
        expected.check(&place, may_be, 0, &context);
    }
    seen.len()
}

/// Each sync is needed: if it were not there, a power cut would do harm. So this also says that the tests
/// above would see it missing.
#[test]
fn no_sync_can_be_left_out() {
    let mut idle = Vec::new();
    let all = ["import", "first", "pull", "gc", "names", "repair"];
    let works = if std::env::var_os("ELEA_POWER_STATES").is_some() {
        &all[..]
    } else {
        &all[..1]
    };
    for work in works.iter().copied() {
        let scene = Scene::new(work);
        let Some((record, expected)) = recorded(&scene, work) else {
            return;
        };
        for sync in (0..record.len()).filter(|step| record.is_sync(*step)) {
            let without = record.without(sync);
            let cut = || cut_everywhere(&scene, &without, sync, &expected, work);
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(cut)).is_ok() {
                idle.push(format!("{work}: {}", record.told(sync)));
            }
        }
    }
    println!("{idle:#?}");
    // The folder of images is synced when an image gets its link and when a reference is made to it: here either
    // would do.
    idle.retain(|told| told.starts_with("import"));
    assert_eq!(idle, ["import: images", "import: images"]);
}

#[test]
fn a_power_cut_in_the_first_import() {
    every_step("first");
}

#[test]
fn a_power_cut_in_an_import() {
    every_step("import");
}

#[test]
fn a_power_cut_in_an_import_of_what_did_not_change() {
    every_step("known");
}

#[test]
fn a_power_cut_in_a_pull() {
    every_step("pull");
}

#[test]
fn a_power_cut_in_a_collection() {
    every_step("gc");
}

#[test]
fn a_power_cut_in_changes_of_names() {
    every_step("names");
}

#[test]
fn a_power_cut_in_a_repair() {
    every_step("repair");
}

/// A process is killed, another one goes on from what it left and did not sync, and then the power is
/// cut.
#[test]
fn a_power_cut_after_a_death() {
    let pairs = [
        ("first", "first"),
        ("import", "import"),
        ("pull", "pull"),
        ("import", "pull"),
        ("names", "names"),
        ("names", "gc"),
        ("gc", "import"),
    ];
    for (number, (before, after)) in pairs.into_iter().enumerate() {
        let scene = Scene::new(before);
        let Some((record, _)) = recorded(&scene, before) else {
            return;
        };
        // The last steps before a sync leave the most that is not durable.
        let is_death = |step: &usize| record.is_sync(*step) || *step == record.len();
        let deaths: Vec<usize> = (0..=record.len()).filter(is_death).collect();
        let mut seen = HashSet::new();
        let stride = (deaths.len() / usize::try_from(torn()).unwrap().max(1)).max(1);
        for death in deaths.into_iter().skip(number % stride).step_by(stride) {
            let place = scene.place("goes on");
            let mut record = record.killed(death, &place.join("store")).unwrap();
            let then = scene.place("then");
            record
                .state(death, Cut::Everything)
                .write(&then.join("store"))
                .unwrap();
            assert_eq!(record.run(&command(&place, after)).unwrap(), Some(true));
            let expected = Expected::new(after, &[&scene.base, &then, &place]);
            for steps in death..=record.len() {
                for (cut, state) in states(&record, steps, torn(), &mut seen) {
                    let place = scene.place("cut");
                    state.write(&place.join("store")).unwrap();
                    let context = format!(
                        "{before} killed after {death} steps, {after}, {steps} steps, then {}, {cut:?}",
                        record.step(steps)
                    );
                    if steps == record.len() && after != "gc" {
                        expected.is_named(&place, &context);
                    }
                    expected.check(&place, may_be, steps, &context);
                }
            }
        }
        println!("{before}, {after}: {} states", seen.len());
    }
}
