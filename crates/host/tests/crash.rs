//! The transaction code on disks that lose power, in random histories of a machine: after every
//! step and every power cut the invariants hold and something right boots.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/machine.rs"]
mod machine;

use disk::Kind;
use elea_host::view::State;
use machine::{Machine, Outcome, PowerCut};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Stage(u8),
    Specialise(u8),
    Pick(Outcome),
    Rollback(Option<u64>),
    Retry(u64),
    Pin(u64, bool),
    Unstage,
    Boot(Outcome),
    LoseEntry(bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6u8).prop_map(Act::Stage),
        3 => (0..6u8).prop_map(Act::Specialise),
        2 => Just(Act::Pick(Outcome::Healthy)),
        1 => any::<bool>().prop_map(|c| Act::Pick(Outcome::Unhealthy(c))),
        2 => proptest::option::of(1..8u64).prop_map(Act::Rollback),
        1 => (1..10u64).prop_map(Act::Retry),
        1 => (1..8u64, any::<bool>()).prop_map(|(n, p)| Act::Pin(n, p)),
        1 => Just(Act::Unstage),
        6 => Just(Act::Boot(Outcome::Healthy)),
        3 => any::<bool>().prop_map(|c| Act::Boot(Outcome::Unhealthy(c))),
        2 => any::<bool>().prop_map(|c| Act::Boot(Outcome::Panic(c))),
        1 => any::<bool>().prop_map(Act::LoseEntry),
    ]
}

/// An act, and after how many operations the power is cut during it.
fn step() -> impl Strategy<Value = (Act, Option<usize>)> {
    (act(), proptest::option::weighted(0.5, 0..60usize))
}

fn perform(machine: &mut Machine, act: &Act) -> Result<(), PowerCut> {
    match act {
        Act::Stage(release) => machine.stage(*release),
        Act::Specialise(release) => machine.specialise(*release),
        Act::Pick(outcome) => machine.pick(*outcome),
        Act::Rollback(to) => machine.rollback(*to),
        Act::Retry(number) => machine.retry(*number),
        Act::Pin(number, pinned) => machine.pin(*number, *pinned),
        Act::Unstage => machine.unstage(),
        Act::Boot(outcome) => machine.boot(*outcome),
        Act::LoseEntry(_) => Ok(()),
    }
}

fn history(kind: Kind, seed: u64, steps: &[(Act, Option<usize>)]) {
    let mut machine = Machine::new(kind, seed);
    machine.boot(Outcome::Healthy).unwrap();
    for (act, cut) in steps {
        let before = machine.good();
        if let Act::LoseEntry(to_8_3) = act {
            machine.lose_entry(*to_8_3);
            machine.repaired_is_clean();
            continue;
        }
        // The loader and the initrd have their own power cuts (the firmware's renames); here the
        // cut falls into Elea's own work, which begins after both.
        let is_boot = matches!(act, Act::Boot(_) | Act::Pick(_));
        machine
            .power
            .set(cut.map(|c| if is_boot { c + 12 } else { c }));
        if perform(&mut machine, act) == Err(PowerCut) {
            machine.restore_power();
            machine.check(&before);
            machine.boot(Outcome::Healthy).unwrap();
        }
        machine.power.set(None);
        machine.check(&before);
    }
    machine.repaired_is_clean();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_through_power_cuts(
        kind in prop_oneof![Just(Kind::Fat), Just(Kind::OldFat), Just(Kind::Ext4)],
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..25),
    ) {
        history(kind, seed, &steps);
    }
}

/// Every single operation of an upgrade, its boot and its commit is cut once.
#[test]
fn an_upgrade_cut_at_each_operation_boots_the_old_or_the_new() {
    for kind in [Kind::Fat, Kind::OldFat, Kind::Ext4] {
        for cut in 0..400 {
            let mut machine = Machine::new(kind, cut + 7);
            machine.boot(Outcome::Healthy).unwrap();
            machine.power.set(Some(usize::try_from(cut).unwrap()));
            let done = machine.stage(1);
            if done.is_ok() {
                machine.power.set(None);
                machine.boot(Outcome::Healthy).unwrap();
                assert_eq!(machine.good(), [1, 2]);
                break;
            }
            machine.restore_power();
            machine.check(&[1]);
            machine.boot(Outcome::Healthy).unwrap();
            machine.check(&[1]);
            assert!(cut < 399, "the upgrade never ended");
        }
    }
}

#[test]
fn a_failing_release_gives_way_after_three_tries_and_is_not_offered_again() {
    let mut machine = Machine::new(Kind::Fat, 1);
    machine.boot(Outcome::Healthy).unwrap();
    machine.stage(3).unwrap();
    for _ in 0..3 {
        machine.boot(Outcome::Unhealthy(false)).unwrap();
        assert_eq!(machine.booted, Some(2));
    }
    machine.boot(Outcome::Healthy).unwrap();
    assert_eq!(machine.booted, Some(1));
    assert_eq!(machine.view().state(2, Some(1)), State::Failed);
    assert!(machine.refused.contains(&3));
    machine.stage(3).unwrap();
    machine.check(&[1]);
    machine.retry(2).unwrap();
    machine.boot(Outcome::Healthy).unwrap();
    assert_eq!(machine.booted, Some(3));
}

#[test]
fn a_good_release_that_fails_twice_gives_way_to_the_older_and_then_to_rescue() {
    let mut machine = Machine::new(Kind::Fat, 1);
    machine.boot(Outcome::Healthy).unwrap();
    machine.stage(1).unwrap();
    machine.boot(Outcome::Healthy).unwrap();
    assert_eq!(machine.good(), [1, 2]);
    for expected in [Some(2), Some(2), Some(1), Some(1), None] {
        machine.boot(Outcome::Unhealthy(false)).unwrap();
        assert_eq!(machine.booted, expected);
    }
}
