//! A switch that is cut off at every operation of the disk and of the machine.

use super::usr::sample;
use crate::live::*;
use elea_sys::PathError;
use elea_sys::disk::{Disk, Folder, Name};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Operations until the process dies; then nothing has any effect.
#[derive(Clone)]
struct Life(Rc<Cell<usize>>, bool);

impl Life {
    fn new(operations: usize, last_counts: bool) -> Self {
        Self(Rc::new(Cell::new(operations)), last_counts)
    }

    /// Does an operation; the last one has its effect or not, and its end is not seen.
    fn act<T>(&self, act: impl FnOnce() -> T) -> Result<T, &'static str> {
        match self.0.get() {
            0 => Err("dead"),
            1 => {
                self.0.set(0);
                if self.1 {
                    act();
                }
                Err("dead")
            }
            left => {
                self.0.set(left - 1);
                Ok(act())
            }
        }
    }
}

fn switch(confirm: bool) -> Switch {
    Switch {
        boot: "boot".into(),
        old: 1,
        new: 2,
        confirm,
        test: false,
    }
}

struct Dying<'a>(&'a Folder, Life);

fn dead<T>(result: Result<Result<T, PathError>, &'static str>) -> Result<T, PathError> {
    use elea_sys::At as _;
    result.unwrap_or_else(|why| Err(std::io::Error::other(why)).at("write", "journal"))
}

impl Disk for Dying<'_> {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        self.0.read(path, limit)
    }
    fn read_back(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        self.0.read_back(path, limit)
    }
    fn write_new(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        dead(self.1.act(|| self.0.write_new(path, content)))
    }
    fn append(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        // A dying one leaves half a line.
        if self.1.0.get() == 1 && !self.1.1 {
            let _ = self.0.append(path, &content[..content.len() / 2]);
        }
        dead(self.1.act(|| self.0.append(path, content)))
    }
    fn rename(&self, from: &str, to: &str) -> Result<(), PathError> {
        dead(self.1.act(|| self.0.rename(from, to)))
    }
    fn exchange(&self, a: &str, b: &str) -> Result<(), PathError> {
        self.0.exchange(a, b)
    }
    fn remove(&self, path: &str) -> Result<(), PathError> {
        dead(self.1.act(|| self.0.remove(path)))
    }
    fn remove_folder(&self, path: &str) -> Result<(), PathError> {
        self.0.remove_folder(path)
    }
    fn mkdir(&self, path: &str) -> Result<(), PathError> {
        dead(self.1.act(|| self.0.mkdir(path)))
    }
    fn list(&self, path: &str) -> Result<Vec<Name>, PathError> {
        self.0.list(path)
    }
    fn size(&self, path: &str) -> Result<Option<u64>, PathError> {
        self.0.size(path)
    }
    fn sync_folder(&self, path: &str) -> Result<(), PathError> {
        dead(self.1.act(|| self.0.sync_folder(path)))
    }
    fn sync_all(&self) -> Result<(), PathError> {
        self.0.sync_all()
    }
    fn free(&self) -> Result<u64, PathError> {
        self.0.free()
    }
}

/// What a manager would have: which version each unit runs in.
#[derive(Clone, PartialEq, Debug)]
struct World {
    usr: Which,
    /// Of the running system, and of the next boot.
    files: Which,
    next: Which,
    /// What the manager has read.
    read: Which,
    /// The text that each unit was started by, and the `/usr` that its program is of.
    running: BTreeMap<String, (Which, Which)>,
}

struct Model {
    world: World,
    life: Life,
    fails: Option<Step>,
    sick: bool,
}

impl World {
    fn step(&mut self, step: &Step, which: Which) {
        let now = (self.read, self.usr);
        match step {
            Step::Usr { .. } => self.usr = which,
            Step::Files => self.files = which,
            Step::DaemonReload | Step::DaemonReexec => self.read = self.files,
            Step::Unit { unit, verb } => match verb {
                Verb::Stop => drop(self.running.remove(unit)),
                // Who runs already is not started in another version.
                Verb::Start => drop(self.running.entry(unit.clone()).or_insert(now)),
                _ => drop(self.running.insert(unit.clone(), now)),
            },
            Step::SwapOff { .. } | Step::Helper { .. } => {}
        }
    }
}

impl Machine for Model {
    fn step(&mut self, step: &Step, which: Which) -> Result<(), String> {
        if which == Which::New && self.fails.as_ref() == Some(step) {
            return Err("it does not start".into());
        }
        let world = &mut self.world;
        Ok(self.life.act(|| world.step(step, which))?)
    }
    fn check(&mut self) -> Result<(), String> {
        if self.sick {
            Err("a check failed".into())
        } else {
            Ok(())
        }
    }
    fn keep(&mut self) -> Result<(), String> {
        let world = &mut self.world;
        Ok(self.life.act(|| world.next = Which::New)?)
    }
    fn is_kept(&self) -> Result<bool, String> {
        Ok(self.world.next == Which::New)
    }
}

fn old_world() -> World {
    let units = [
        "a.service",
        "gone.service",
        "r.service",
        "l.service",
        "mnt.mount",
        "gone.mount",
        "systemd-journald.service",
        "swap.target",
    ];
    World {
        usr: Which::Old,
        files: Which::Old,
        next: Which::Old,
        read: Which::Old,
        running: units
            .iter()
            .map(|u| ((*u).to_owned(), (Which::Old, Which::Old)))
            .collect(),
    }
}

fn new_world(steps: &[Step]) -> World {
    let mut world = old_world();
    for step in steps {
        world.step(step, Which::New);
    }
    World {
        next: Which::New,
        ..world
    }
}

fn steps() -> Vec<Step> {
    let (old, new, differences, live) = sample();
    plan(&old, &new, differences, &live).unwrap().steps
}

fn model(world: World, life: Life) -> Model {
    Model {
        world,
        life,
        fails: None,
        sick: false,
    }
}

const ALIVE: usize = 100_000;

/// One life after another, each cut off after `cut` operations, then one that ends.
fn cut_off(cut: usize, again: usize, last_counts: bool, policy: Policy, power: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let steps = steps();
    let life = Life::new(cut, last_counts);
    let mut machine = model(old_world(), life.clone());
    let disk = Dying(&folder, life.clone());
    let ended = execute(&steps, &switch(false), &disk, &mut machine).is_ok();
    let mut world = machine.world;
    let mut boot = "boot";
    if power {
        // The next boot starts everything by the files that were kept.
        world = if world.next == Which::New {
            new_world(&steps)
        } else {
            old_world()
        };
        boot = "next";
    }
    let life = Life::new(again, last_counts);
    let mut machine = model(world, life.clone());
    let _ = recover(policy, boot, &Dying(&folder, life), &mut machine);
    let mut machine = model(machine.world, Life::new(ALIVE, false));
    recover(policy, boot, &folder, &mut machine).unwrap();
    let expected = if machine.world.next == Which::New {
        new_world(&steps)
    } else {
        old_world()
    };
    assert_eq!(
        machine.world, expected,
        "cut after {cut}, then after {again}, {policy:?}"
    );
    assert!(Journal::load(&folder, "boot").unwrap().state().is_over());
    ended
}

#[test]
fn a_cut_at_any_operation_leads_to_all_of_the_old_or_all_of_the_new() {
    let mut tried = 0;
    for last_counts in [false, true] {
        for policy in [Policy::Revert, Policy::Resume] {
            for power in [false, true] {
                for cut in 1.. {
                    tried += 1;
                    if cut_off(cut, ALIVE, last_counts, policy, power) {
                        break;
                    }
                }
            }
        }
    }
    // Each step is three operations: two records and the deed.
    assert!(tried > 8 * 3 * steps().len(), "{tried}");
}

#[test]
fn a_cut_on_the_way_back_leads_back_too() {
    for cut in [20, 40] {
        for again in 1..48 {
            cut_off(cut, again, again % 2 == 0, Policy::Revert, false);
        }
    }
}

#[test]
fn a_step_that_fails_and_a_check_that_fails_lead_back() {
    let steps = steps();
    for fails in steps.iter().map(Some).chain([None]) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let mut machine = model(old_world(), Life::new(ALIVE, false));
        machine.fails = fails.cloned();
        machine.sick = fails.is_none();
        let outcome = execute(&steps, &switch(false), &folder, &mut machine).unwrap();
        assert!(
            matches!(outcome, Outcome::Reverted { ref missed, .. } if missed.is_empty()),
            "{outcome:?}"
        );
        assert_eq!(machine.world, old_world(), "{fails:?}");
        // What ended does not stand in the way of the next.
        (machine.fails, machine.sick) = (None, false);
        let outcome = execute(&steps, &switch(false), &folder, &mut machine).unwrap();
        assert_eq!((outcome, machine.world), (Outcome::Kept, new_world(&steps)));
    }
}

#[test]
fn what_waits_is_confirmed_or_goes_back() {
    let steps = steps();
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let mut machine = model(old_world(), Life::new(ALIVE, false));
    let go = |machine: &mut Model| execute(&steps, &switch(true), &folder, machine);
    assert!(matches!(
        confirm("boot", &folder, &mut machine),
        Err(ExecuteError::NotWaiting)
    ));
    assert_eq!(go(&mut machine).unwrap(), Outcome::Waiting);
    assert_eq!(machine.world.next, Which::Old);
    assert!(matches!(go(&mut machine), Err(ExecuteError::Busy)));
    // Whoever looks meanwhile leaves it.
    let seen = recover(Policy::Revert, "boot", &folder, &mut machine).unwrap();
    assert_eq!(seen, Outcome::Waiting);
    let outcome = revert("nobody confirmed", "boot", &folder, &mut machine).unwrap();
    assert!(matches!(outcome, Outcome::Reverted { why, .. } if why == "nobody confirmed"));
    assert_eq!(machine.world, old_world());
    assert!(matches!(
        confirm("boot", &folder, &mut machine),
        Err(ExecuteError::NotWaiting)
    ));
    assert_eq!(go(&mut machine).unwrap(), Outcome::Waiting);
    // After a restart nothing of it runs that could be confirmed.
    let late = confirm("next", &folder, &mut machine);
    assert!(matches!(late, Err(ExecuteError::NotWaiting)));
    assert_eq!(
        confirm("boot", &folder, &mut machine).unwrap(),
        Outcome::Kept
    );
    // The timer that comes too late changes nothing.
    let late = revert("nobody confirmed", "boot", &folder, &mut machine).unwrap();
    assert_eq!((late, machine.world), (Outcome::Nothing, new_world(&steps)));
}

#[test]
fn damage_in_the_middle_is_told_and_not_guessed_about() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let mut machine = model(old_world(), Life::new(ALIVE, false));
    execute(&steps(), &switch(true), &folder, &mut machine).unwrap();
    let path = dir.path().join("live/journal.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = Journal::load(&folder, "boot").unwrap_err().to_string();
    assert!(error.starts_with("line 1 of"), "{error}");
}

/// A journal of `begin` and other lines, sealed.
fn written(folder: &Folder, lines: &[&str]) -> Vec<u8> {
    let seal = |line: &&str| elea_formats::oplog::seal((*line).to_owned());
    let text: String = lines.iter().map(seal).collect();
    folder.mkdir("live").unwrap();
    std::fs::write(folder.root().join("live/journal.jsonl"), &text).unwrap();
    text.into_bytes()
}

/// A first line with a schema's version, and a step.
fn begin(version: u32, step: &str) -> String {
    format!(
        r#"{{"record":"begin","schema":"elea.live-journal/{version}","boot":"boot","old":1,"new":2,"confirm":true,"test":false,"later":1,"steps":[{step}]}}"#
    )
}

#[test]
fn a_newer_journal_is_refused_whole_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let files = r#"{"step":"files","later":true}"#;
    let doing = r#"{"record":"doing","step":0}"#;
    let step = begin(1, r#"{"step":"portable","name":"a"}"#);
    let verb = begin(1, r#"{"step":"unit","unit":"a.service","verb":"freeze"}"#);
    let version = begin(2, files);
    for (lines, line) in [
        (&[&step[..], doing][..], 1),
        (&[&verb], 1),
        (&[&version, doing, r#"{"record":"waiting"}"#], 1),
        // As the last line it is no torn one.
        (&[&begin(1, files), r#"{"record":"paused"}"#], 2),
    ] {
        let text = written(&folder, lines);
        let mut machine = model(old_world(), Life::new(ALIVE, false));
        for result in [
            execute(&steps(), &switch(true), &folder, &mut machine),
            recover(Policy::Revert, "boot", &folder, &mut machine),
            confirm("boot", &folder, &mut machine),
            revert("late", "boot", &folder, &mut machine),
        ] {
            let said = result.unwrap_err().to_string();
            assert!(
                said.contains("newer elea")
                    && said.contains(&format!("line {line} of"))
                    && said.contains("reboot"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read(dir.path().join(JOURNAL)).unwrap(), text);
        assert_eq!(machine.world, old_world());
        // In another boot there is nothing left of it, and it stays beside the next one.
        let outcome = recover(Policy::Revert, "other", &folder, &mut machine).unwrap();
        assert_eq!(outcome, Outcome::Nothing);
        assert_eq!(std::fs::read(dir.path().join(JOURNAL)).unwrap(), text);
        let other = Switch {
            boot: "other".into(),
            ..switch(false)
        };
        execute(&steps(), &other, &folder, &mut machine).unwrap();
        assert_eq!(std::fs::read(dir.path().join(BEFORE)).unwrap(), text);
    }
    // One that ended is no concern of an older Elea's.
    let text = written(&folder, &[&step, doing, r#"{"record":"kept"}"#]);
    assert!(Journal::load(&folder, "boot").unwrap().state().is_over());
    assert_eq!(std::fs::read(dir.path().join(JOURNAL)).unwrap(), text);
}

#[test]
fn members_that_are_not_known_are_ignored_and_other_objects_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let known = begin(1, r#"{"step":"files","later":true}"#);
    written(
        &folder,
        &[&known, r#"{"record":"done","step":0,"later":[]}"#],
    );
    let state = Journal::load(&folder, "boot").unwrap().state();
    assert!(
        matches!(&state, State::Forward { steps, done: 1, .. } if steps[..] == [Step::Files]),
        "{state:?}"
    );
    written(&folder, &[&known, r#"{"a":1}"#, r#"{"record":"kept"}"#]);
    let error = Journal::load(&folder, "boot").unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { line: 2, .. }),
        "{error}"
    );
    // Another boot has nothing to do with it; one that does not say whose it is is put away when a boot begins.
    let other = Journal::load(&folder, "other").unwrap();
    assert!(other.state().is_over());
    let text = written(&folder, &[r#"{"a":1}"#, r#"{"record":"kept"}"#]);
    let error = Journal::load(&folder, "other").unwrap_err();
    assert!(
        matches!(error, JournalError::Damaged { line: 1, .. }),
        "{error}"
    );
    Journal::put_away(&folder).unwrap();
    assert!(Journal::load(&folder, "other").unwrap().state().is_over());
    assert_eq!(std::fs::read(dir.path().join(BEFORE)).unwrap(), text);
}
