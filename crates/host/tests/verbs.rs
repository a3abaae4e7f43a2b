//! The verbs on a machine that lies in a folder, with real images from a real OCI layout.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

#[path = "verbs/special.rs"]
mod special;
#[path = "verbs/state.rs"]
mod state;
#[path = "verbs/world.rs"]
mod world;

use elea_formats::digest::Digest;
use elea_host::choose::{self, pin, retry, rollback, unstage};
use elea_host::live::{self, Effect, How};
use elea_host::undo::{self, Undo, Why};
use elea_host::upgrade::{Found, Options, Outcome, check, switch, upgrade};
use elea_host::view::State;
use elea_host::{diff, fsck, generations, log, plan, status};
use elea_sys::progress::Silent;
use std::fs;
use world::World;

fn world() -> Option<World> {
    if rustix::process::geteuid().is_root() {
        return Some(World::new());
    }
    eprintln!("skipped: not root");
    None
}

/// What a check of the machine finds, without leftovers.
fn broken(world: &World) -> Vec<String> {
    let machine = world.machine();
    let view = machine.view().unwrap();
    let report = fsck::check(&view, machine.disks().unwrap()).unwrap();
    let bad = report.findings.into_iter();
    bad.filter(|f| f.severity == fsck::Severity::Broken)
        .map(|f| f.what)
        .collect()
}

#[test]
fn an_upgrade_is_checked_fetched_staged_and_taken_back() {
    let Some(world) = world() else { return };
    world.publish("2.0", true);
    let machine = world.machine();
    let seen = check(&machine, None, &Options::default(), &Silent).unwrap();
    assert!(
        matches!(&seen.outcome, Outcome::Newer { version } if version.as_deref() == Some("2.0"))
    );
    assert_eq!(seen.packages.added[0].name, "tree");
    assert_eq!(seen.packages.changed[0].to, "2.0");
    assert!(seen.fetch > 0 && seen.fetch <= seen.total && seen.reboot);
    assert!(
        machine.view().unwrap().manifest(2).is_none(),
        "a check stages nothing"
    );

    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(
        (done.number, &done.outcome),
        (Some(2), &Outcome::Staged { number: 2 })
    );
    let view = machine.view().unwrap();
    assert_eq!(view.state(2, None), State::Staged);
    let second = view.manifest(2).unwrap();
    let options = second
        .options
        .split(' ')
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ");
    assert_eq!(
        options,
        "elea.generation=2 root=UUID=00000000-1111-2222-3333-444444444444 ro panic=5 release=2.0 own=1"
    );
    assert_eq!(generations::next(&view), Some(2));
    assert_eq!(broken(&world), [""; 0]);

    let again = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!((again.number, again.fetched), (Some(2), 0));
    let difference = diff::diff(&machine, Some(1), Some(2)).unwrap();
    let paths: Vec<_> = difference.files.iter().map(|c| c.path.as_str()).collect();
    assert!(paths.contains(&"/usr/bin/hello") && !paths.contains(&"/usr/share/common"));
    assert!(difference.kernel && difference.options.is_some());

    let back = unstage(&machine, choose::Options::default()).unwrap();
    assert!(!back.dry_run);
    let view = machine.view().unwrap();
    assert_eq!(view.state(2, None), State::Replaced);
    assert_eq!(generations::next(&view), Some(1));
    // What was only taken back is offered again, under a new number.
    let third = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!((third.number, third.fetched), (Some(3), 0));
}

#[test]
fn what_nobody_trusted_signed_and_what_is_older_is_refused() {
    let Some(world) = world() else { return };
    world.publish("2.0", false);
    let machine = world.machine();
    let error = upgrade(&machine, &Options::default(), &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    assert!(error.to_string().contains("not signed"), "{error}");
    world.publish("0.9", true);
    let error = upgrade(&machine, &Options::default(), &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    assert!(error.to_string().contains("is lower than 1.0"), "{error}");
    assert!(machine.view().unwrap().manifest(2).is_none());
    let said = status::status(&machine).unwrap().last_check.unwrap();
    assert!(said.error.unwrap().contains("0.9"));
    let allowed = Options {
        allow_downgrade: true,
        ..Options::default()
    };
    let done = upgrade(&machine, &allowed, &Silent).unwrap();
    assert_eq!(done.number, Some(2));
}

#[test]
fn the_rules_of_the_machine_and_of_its_image_decide() {
    if world().is_none() {
        return;
    }
    let policy = "usr/lib/elea/trust.toml";
    let rejecting = World::with(&[(policy, "[default]\npolicy = \"reject\"\n")]);
    rejecting.publish("2.0", true);
    let machine = rejecting.machine();
    let allowed = Options {
        allow_unsigned: true,
        ..Options::default()
    };
    let error = upgrade(&machine, &allowed, &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    let text = error.to_string();
    let rule = "the default of /usr/lib/elea/trust.toml rejects oci:";
    assert!(text.contains(rule), "{text}");
    // The administrator has the last word.
    let etc = rejecting.root().join("etc/elea/trust.toml");
    let folder = rejecting.root().parent().unwrap().join("layout");
    let rules = format!(
        "[rules.\"oci:{}\"]\nkeys = [\"trust.d\"]\n",
        folder.display()
    );
    fs::write(&etc, &rules).unwrap();
    let seen = check(&machine, None, &Options::default(), &Silent).unwrap();
    let Found::Signed { keys, rule, .. } = seen.signed else {
        panic!("it is signed")
    };
    assert_eq!(keys, [rejecting.key.public().id()]);
    let wanted = format!(
        "the rule `oci:{}` in /etc/elea/trust.toml",
        folder.display()
    );
    assert_eq!(rule, wanted);
    fs::write(&etc, rules.replace("layout", "layou")).unwrap();
    let error = upgrade(&machine, &allowed, &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    fs::write(&etc, rules.replace("keys", "key")).unwrap();
    let text = upgrade(&machine, &allowed, &Silent)
        .unwrap_err()
        .to_string();
    assert!(text.contains("/etc/elea/trust.toml:2:1"), "{text}");
    assert!(machine.view().unwrap().manifest(2).is_none());
}

#[test]
fn a_failed_release_is_named_and_not_offered_until_somebody_says_retry() {
    let Some(world) = world() else { return };
    world.publish("2.0", true);
    let machine = world.machine();
    upgrade(&machine, &Options::default(), &Silent).unwrap();
    world.failed(2, "hello.service failed");
    let seen = check(&machine, None, &Options::default(), &Silent).unwrap();
    assert!(matches!(
        seen.outcome,
        Outcome::FailedBefore { number: 2, .. }
    ));
    let error = upgrade(&machine, &Options::default(), &Silent).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("2.0 failed") && text.contains("elea retry 2"),
        "{text}"
    );
    let stated = status::status(&machine).unwrap();
    assert_eq!(stated.refused.len(), 1);
    assert_eq!(stated.refused[0].version.as_deref(), Some("2.0"));
    let text = status::text(&stated);
    assert!(
        text.contains("Failed  generation 2, Tiny 2.0: hello.service failed"),
        "{text}"
    );
    fs::create_dir_all(machine.generation(2).join("evidence/boot-1")).unwrap();
    fs::write(
        machine.generation(2).join("evidence/boot-1/journal.txt"),
        "why",
    )
    .unwrap();
    let history = log::show(&machine, 2).unwrap();
    assert_eq!(history.reason.as_deref(), Some("hello.service failed"));
    assert_eq!(
        (&*history.evidence[0].name, &*history.evidence[0].text),
        ("journal.txt", "why")
    );
    assert!(log::show(&machine, 9).is_err());

    let dry = choose::Options {
        dry_run: true,
        ..choose::Options::default()
    };
    assert_eq!(retry(&machine, 2, dry).unwrap().number, Some(3));
    assert!(machine.view().unwrap().manifest(3).is_none());
    let retried = retry(&machine, 2, choose::Options::default()).unwrap();
    assert_eq!(retried.number, Some(3));
    let stated = status::status(&machine).unwrap();
    assert_eq!((stated.next, stated.refused.len()), (Some(3), 0));
    world.healthy(3);
    assert_eq!(world.manifest(3).from, Some(2));
    assert_eq!(broken(&world), [""; 0]);
}

#[test]
fn a_rollback_makes_a_new_number_and_a_pin_keeps_one() {
    let Some(world) = world() else { return };
    world.publish("2.0", true);
    let machine = world.machine();
    upgrade(&machine, &Options::default(), &Silent).unwrap();
    world.healthy(2);
    pin(&machine, 1, true, choose::Options::default()).unwrap();
    let list = generations::generations(&machine).unwrap().generations;
    assert!(list[0].pinned && list[1].next);
    let done = rollback(&machine, Some(1), choose::Options::default()).unwrap();
    assert_eq!(
        (done.number, done.title.as_deref()),
        (Some(3), Some("Tiny 1.0"))
    );
    assert_eq!(world.manifest(3).from, Some(1));
    world.healthy(3);
    assert!(rollback(&machine, Some(9), choose::Options::default()).is_err());
    assert_eq!(broken(&world), [""; 0]);
}

#[test]
fn switch_changes_what_is_followed() {
    let Some(world) = world() else { return };
    world.publish("2.0", true);
    let machine = world.machine();
    let place = world.reference();
    let moved = format!("{}-moved:stable", place.strip_suffix(":stable").unwrap());
    let folder = |reference: &str| {
        let path = reference.strip_prefix("oci:").unwrap();
        path.strip_suffix(":stable").unwrap().to_owned()
    };
    fs::rename(folder(&place), folder(&moved)).unwrap();
    assert!(upgrade(&machine, &Options::default(), &Silent).is_err());
    let done = switch(&machine, &moved, &Options::default(), &Silent).unwrap();
    assert_eq!(done.number, Some(2));
    assert_eq!(world.manifest(2).source.unwrap().reference, moved);
    // Also before the restart.
    let again = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(again.outcome, Outcome::Staged { number: 2 });
    assert_eq!(status::status(&machine).unwrap().follows, Some(moved));
}

#[test]
fn a_second_command_learns_who_is_at_work() {
    let Some(world) = world() else { return };
    world.publish("2.0", true);
    let (first, second) = (world.machine(), world.machine());
    let held = first.claim(std::time::Duration::ZERO).unwrap();
    let error = upgrade(&second, &Options::default(), &Silent).unwrap_err();
    assert!(error.to_string().contains("test, process"), "{error}");
    // Looking disturbs nobody.
    check(&second, None, &Options::default(), &Silent).unwrap();
    drop(held);
    upgrade(&second, &Options::default(), &Silent).unwrap();
}

#[test]
fn a_system_that_does_not_run_is_applied_to_for_its_next_boot() {
    let Some(world) = world() else { return };
    let machine = world.machine();
    let image = world.import(&machine.store().unwrap(), "1.1", &[("etc/conf", "new")]);
    let options = live::Options {
        how: How::Live,
        live_usr: false,
        confirm: None,
        dry_run: true,
        wait: std::time::Duration::ZERO,
        program: "/usr/bin/elea".into(),
        specialisations: None,
    };
    let apply = |options: &live::Options| live::apply(&machine, &image, options, &Silent);
    let seen = apply(&options).unwrap();
    assert_eq!((seen.number, seen.effect), (2, Effect::Staged));
    assert!(machine.view().unwrap().manifest(2).is_none());
    for (how, confirm) in [(How::Test, None), (How::Live, Some(60))] {
        let options = live::Options {
            how,
            confirm,
            ..options.clone()
        };
        let error = apply(&options).unwrap_err().to_string();
        assert!(error.contains("does not run"), "{error}");
    }
    let live_usr = live::Options {
        live_usr: true,
        ..options.clone()
    };
    let error = apply(&live_usr).unwrap_err().to_string();
    assert!(error.contains("does not run"), "{error}");
    let options = live::Options {
        dry_run: false,
        ..options
    };
    assert_eq!(apply(&options).unwrap().effect, Effect::Staged);
    let view = machine.view().unwrap();
    assert_eq!(view.state(2, None), State::Staged);
    let second = view.manifest(2).unwrap();
    assert!(
        second.options.ends_with("release=1.1 own=1"),
        "{}",
        second.options
    );
    assert_eq!(second.source, view.manifest(1).unwrap().source);
    // Said again, nothing is done; a change takes its place.
    let again = apply(&options).unwrap();
    assert_eq!((again.number, again.effect), (2, Effect::Nothing));
    let other = world.import(&machine.store().unwrap(), "1.2", &[]);
    let third = live::apply(&machine, &other, &options, &Silent).unwrap();
    assert_eq!((third.number, third.replaces), (3, vec![2]));
    let view = machine.view().unwrap();
    assert_eq!(
        (view.state(2, None), view.state(3, None)),
        (State::Replaced, State::Staged)
    );
    assert_eq!(broken(&world), [""; 0]);
    let waits = live::take_back(&machine, "no", std::time::Duration::ZERO, &Silent);
    assert!(waits.is_err(), "nothing runs that could be taken back");
}

#[test]
fn specialisations_stand_in_the_menu_beside_their_generation_and_go_with_it() {
    let Some(world) = world() else { return };
    let machine = world.machine();
    let store = machine.store().unwrap();
    let import = |version: &str| world.import(&store, version, &[]);
    let (main, quiet, loud) = (import("1.1"), import("1.1-quiet"), import("1.1-loud"));
    let apply = |image, beside: &[(&str, Digest)]| {
        let named = |(name, image): &(&str, Digest)| ((*name).to_owned(), *image);
        let options = live::Options {
            how: How::Live,
            confirm: None,
            dry_run: false,
            wait: std::time::Duration::ZERO,
            program: "/usr/bin/elea".into(),
            live_usr: false,
            specialisations: Some(beside.iter().map(named).collect()),
        };
        live::apply(&machine, &image, &options, &Silent).unwrap()
    };
    let shown = |applied: &live::Applied| -> Vec<(String, u64)> {
        let beside = applied.specialisations.iter();
        beside.map(|one| (one.name.clone(), one.number)).collect()
    };
    let both = apply(main, &[("loud", loud), ("quiet", quiet)]);
    assert_eq!((both.number, &both.effect), (2, &Effect::Staged));
    assert_eq!(shown(&both), [("loud".into(), 3), ("quiet".into(), 4)]);
    assert_eq!(world.manifest(4).image, quiet);
    assert!(world.manifest(4).options.contains("elea.generation=4"));
    let view = machine.view().unwrap();
    assert_eq!(generations::next(&view), Some(2));
    assert_eq!(view.state(4, None), State::Staged);
    // The same once more changes nothing; another image of the same name takes its place; one that is gone goes.
    assert_eq!(
        shown(&apply(main, &[("loud", loud), ("quiet", quiet)])),
        shown(&both)
    );
    let changed = apply(main, &[("quiet", import("1.1-quiet-2"))]);
    assert_eq!(changed.effect, Effect::Nothing);
    assert_eq!(shown(&changed), [("quiet".into(), 5)]);
    let view = machine.view().unwrap();
    assert_eq!(
        (view.state(3, None), view.state(4, None)),
        (State::Replaced, State::Replaced)
    );
    assert_eq!(broken(&world), [""; 0]);
    // Once 2 is good, a later release leaves it and what stands beside it as they are; what is staged and
    // replaced takes its specialisations along.
    world.healthy(2);
    let staged = apply(import("1.2"), &[("quiet", import("1.2-quiet"))]);
    assert_eq!(
        (staged.number, shown(&staged)),
        (6, vec![("quiet".into(), 7)])
    );
    let later = apply(import("1.3"), &[]);
    assert_eq!((later.number, later.replaces), (8, vec![6, 7]));
    let view = machine.view().unwrap();
    assert_eq!(
        (view.state(5, None), view.state(7, None)),
        (State::Staged, State::Replaced)
    );
    // Three generations later nothing of it is kept.
    world.healthy(8);
    assert_eq!(
        plan::keep(&machine.view().unwrap(), Some(8)).get(&5),
        Some(&plan::Keep::Beside)
    );
    apply(import("1.4"), &[]);
    world.healthy(9);
    let view = machine.view().unwrap();
    let kept: Vec<u64> = plan::keep(&view, Some(9)).into_keys().collect();
    assert_eq!(kept, [8, 9]);
    assert_eq!(broken(&world), [""; 0]);
}

#[test]
fn undo_takes_a_generation_back_with_its_specialisations() {
    let Some(world) = world() else { return };
    let machine = world.machine();
    let store = machine.store().unwrap();
    let options = live::Options {
        how: How::Boot,
        confirm: None,
        dry_run: false,
        wait: std::time::Duration::ZERO,
        program: "/usr/bin/elea".into(),
        live_usr: false,
        specialisations: Some(vec![(
            "quiet".into(),
            world.import(&store, "1.1-quiet", &[]),
        )]),
    };
    let image = world.import(&store, "1.1", &[]);
    assert_eq!(
        live::apply(&machine, &image, &options, &Silent)
            .unwrap()
            .number,
        2
    );
    assert_eq!(undone(&world), Ok(Undo::Unstage));
    let view = machine.view().unwrap();
    assert_eq!(
        (view.state(2, None), view.state(3, None)),
        (State::Replaced, State::Replaced)
    );
}

/// Undoes the last change as `elea undo` does.
fn undone(world: &World) -> Result<Undo, Why> {
    let machine = world.machine();
    let what = undo::plan(&machine.view().unwrap(), None, None)?;
    let options = choose::Options::default();
    match what {
        Undo::Unstage => unstage(&machine, options),
        Undo::Back(number) => rollback(&machine, Some(number), options),
        Undo::Pin(number, pinned) => pin(&machine, number, pinned, options),
        Undo::Switch(_) => panic!("nothing runs"),
    }
    .unwrap();
    Ok(what)
}

#[test]
fn the_last_change_is_undone_and_an_undo_too() {
    let Some(world) = world() else { return };
    assert_eq!(undone(&world), Err(Why::Nothing));
    let pinned = || world.machine().view().unwrap().generations[&1].pinned;
    pin(&world.machine(), 1, true, choose::Options::default()).unwrap();
    assert_eq!(undone(&world), Ok(Undo::Pin(1, false)));
    assert!(!pinned());
    assert_eq!(undone(&world), Ok(Undo::Pin(1, true)));
    assert!(pinned());

    // What is staged is taken back; a release that was committed is gone back from, and that again.
    world.publish("2.0", true);
    upgrade(&world.machine(), &Options::default(), &Silent).unwrap();
    assert_eq!(undone(&world), Ok(Undo::Unstage));
    assert_eq!(undone(&world), Err(Why::TakenBack(2)));
    upgrade(&world.machine(), &Options::default(), &Silent).unwrap();
    let state = |number| world.machine().view().unwrap().state(number, None);
    let staged = (2..9).find(|n| state(*n) == State::Staged).unwrap();
    world.healthy(staged);
    assert_eq!(undone(&world), Ok(Undo::Back(1)));
    let back = world.machine().view().unwrap().next_number() - 1;
    assert_eq!(world.manifest(back).from, Some(1));
    world.healthy(back);
    assert_eq!(undone(&world), Ok(Undo::Back(staged)));

    // One that failed has undone itself.
    let newest = world.machine().view().unwrap().next_number() - 1;
    world.failed(newest, "a test");
    assert_eq!(undone(&world), Err(Why::Failed(newest)));
}
