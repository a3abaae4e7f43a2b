//! Specialisations that an image of a registry brings along.

use crate::world::World;
use crate::{broken, world};
use elea_host::choose::{self, rollback};
use elea_host::upgrade::{Options, Outcome, check, switch, upgrade};
use elea_host::view::State;
use elea_host::{generations, plan};
use elea_sys::progress::Silent;
use std::fs;

/// The entries of the boot menu: name of the file, and its line `sort-key`.
fn menu(world: &World) -> Vec<(String, String)> {
    let folder = fs::read_dir(world.root().join("efi/loader/entries")).unwrap();
    let one = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).unwrap();
        let mut lines = text.lines();
        let key = lines.find_map(|line| line.strip_prefix("sort-key "));
        let name = entry.file_name().into_string().unwrap();
        (name, key.unwrap().to_owned())
    };
    let mut all: Vec<_> = folder.map(|entry| one(entry.unwrap())).collect();
    all.sort();
    all
}

/// The names and numbers of what stands in the menu beside a generation.
fn beside(world: &World, of: u64) -> Vec<(String, u64)> {
    let view = world.machine().view().unwrap();
    let numbers = view.entries.generations().map(|(number, _)| number);
    let own = numbers.filter(|number| view.stands_beside(*number) == Some(of));
    let name = |number: u64| {
        let special = view.manifest(number).unwrap().specialisation.clone();
        (special.unwrap().name, number)
    };
    own.map(name).collect()
}

#[test]
fn an_upgrade_brings_the_specialisations_of_the_image_along() {
    let Some(world) = world() else { return };
    world.publish_with("2.0", &["loud", "quiet"]);
    let machine = world.machine();
    let seen = check(&machine, None, &Options::default(), &Silent).unwrap();
    assert_eq!(seen.specialisations, ["loud", "quiet"]);
    assert!(seen.fetch > seen.total, "each has a layer of its own");
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(done.number, Some(2));
    let shown: Vec<_> = done.specialisations.iter().map(|one| one.number).collect();
    assert_eq!(shown, [3, 4]);
    assert_eq!(beside(&world, 2), [("loud".into(), 3), ("quiet".into(), 4)]);
    let quiet = world.manifest(4);
    assert_eq!(quiet.title, "Tiny 2.0 (quiet)");
    assert!(
        quiet.options.ends_with("release=2.0 quiet own=1"),
        "{}",
        quiet.options
    );
    assert_eq!(quiet.source, world.manifest(2).source);
    // None of them boots by itself, and all are to be tried.
    assert_eq!(generations::next(&machine.view().unwrap()), Some(2));
    let keys = menu(&world);
    let has = |name: &str, key: &str| keys.contains(&(name.into(), key.into()));
    assert!(has("elea-2+3-0.conf", "elea"), "{keys:?}");
    assert!(has("elea-4+3-0.conf", "elea-zz-specialisation"), "{keys:?}");
    assert_eq!(broken(&world), [""; 0]);

    // Asked again, nothing is done.
    let again = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!((again.fetched, again.specialisations.len()), (0, 0));
    world.healthy(2);
    let again = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(again.outcome, Outcome::NothingNewer);
    assert_eq!(beside(&world, 2).len(), 2);
    // They go with their generation, and a release without them brings none.
    world.publish("2.1", true);
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    let next = done.number.unwrap();
    assert_eq!(beside(&world, next), []);
    assert_eq!(beside(&world, 2).len(), 2);
    world.healthy(next);
    world.publish("2.2", true);
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    world.healthy(done.number.unwrap());
    let kept = plan::keep(&machine.view().unwrap(), None);
    assert!(
        !(2..=4).any(|number| kept.contains_key(&number)),
        "{kept:?}"
    );
    assert_eq!(broken(&world), [""; 0]);
}

#[test]
fn what_is_missing_beside_a_release_comes_later_and_what_failed_stays_away() {
    let Some(world) = world() else { return };
    world.publish_with("2.0", &["quiet"]);
    let machine = world.machine();
    // Somebody copied the one tag alone.
    let index = world.layout().join("index.json");
    let whole = fs::read_to_string(&index).unwrap();
    let mut copy: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let all = copy["manifests"].as_array_mut().unwrap();
    all.retain(|one| {
        let tag = &one["annotations"]["org.opencontainers.image.ref.name"];
        !tag.as_str().unwrap().starts_with("elea-")
    });
    fs::write(&index, copy.to_string()).unwrap();
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!((done.number, done.specialisations.len()), (Some(2), 0));
    fs::write(&index, whole).unwrap();
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(done.outcome, Outcome::Staged { number: 2 });
    assert_eq!(beside(&world, 2), [("quiet".into(), 3)]);
    world.healthy(2);
    world.failed(3, "a test");
    let done = upgrade(&machine, &Options::default(), &Silent).unwrap();
    assert_eq!(
        (done.outcome, done.specialisations.len()),
        (Outcome::NothingNewer, 0)
    );
    assert_eq!(machine.view().unwrap().state(3, None), State::Failed);
    assert_eq!(broken(&world), [""; 0]);
}

#[test]
fn a_specialisation_that_nobody_trusted_signed_stops_the_upgrade() {
    let Some(world) = world() else { return };
    world.publish_with("2.0", &["quiet"]);
    let machine = world.machine();
    // The signature of one of the two images goes.
    let offer = check(&machine, None, &Options::default(), &Silent).unwrap();
    let index = world.layout().join("index.json");
    let mut layout: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&index).unwrap()).unwrap();
    let tag = |one: &serde_json::Value| {
        let tag = &one["annotations"]["org.opencontainers.image.ref.name"];
        tag.as_str().unwrap().to_owned()
    };
    let all = layout["manifests"].as_array_mut().unwrap();
    let special = all
        .iter()
        .find(|one| tag(one).starts_with("elea-"))
        .unwrap();
    let digest = special["digest"].as_str().unwrap().replace(':', "-");
    all.retain(|one| tag(one) != format!("{digest}.sig"));
    fs::write(&index, layout.to_string()).unwrap();
    let error = upgrade(&machine, &Options::default(), &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    assert!(machine.view().unwrap().manifest(2).is_none(), "{offer:?}");
}

#[test]
fn a_rollback_brings_the_specialisations_back_and_so_does_a_switch() {
    let Some(world) = world() else { return };
    world.publish_with("2.0", &["quiet"]);
    let machine = world.machine();
    upgrade(&machine, &Options::default(), &Silent).unwrap();
    world.healthy(2);
    world.publish("2.1", true);
    let newer = upgrade(&machine, &Options::default(), &Silent).unwrap();
    world.healthy(newer.number.unwrap());
    let back = rollback(&machine, Some(2), choose::Options::default()).unwrap();
    let back = back.number.unwrap();
    let named = |of| beside(&world, of).into_iter().map(|(name, _)| name);
    assert_eq!(named(back).collect::<Vec<_>>(), ["quiet"]);
    assert_eq!(generations::next(&machine.view().unwrap()), Some(back));
    assert_eq!(broken(&world), [""; 0]);

    world.publish_with("3.0", &["loud"]);
    let reference = world.reference();
    let done = switch(&machine, &reference, &Options::default(), &Silent).unwrap();
    let number = done.number.unwrap();
    assert_eq!(named(number).collect::<Vec<_>>(), ["loud"]);
    // What was staged goes, with what stood beside it.
    assert_eq!(beside(&world, back), []);
}
