//! An image that names specialisations, and these beside it.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Listener, Place, has, key, options, reference, run, running, trusting};
use elea_formats::digest::Algorithm;
use elea_formats::oci::reference::Reference;
use elea_net::{Beside, NetError, Offer, check_beside, missing, pull, push};
use elea_store::Store;
use elea_store::trust::{Policy, PrivateKey};
use elea_sys::progress::{Progress, Silent};
use std::process::Command;

fn pushed(place: &Place, image: &elea_formats::digest::Digest, to: &Reference, key: &PrivateKey) {
    push(image, &place.store, to, &options(), Some(key), &Silent).unwrap();
}

/// What is offered beside what a reference names.
fn beside(
    place: &Place,
    from: &Reference,
    policy: &Policy,
    progress: &dyn Progress,
) -> Result<Vec<Beside>, NetError> {
    let offer = place.check(from, policy).unwrap();
    let (release, now) = (offer.release.unwrap(), running("hello", "1.0", 0));
    check_beside(
        from,
        &release,
        &place.store,
        &options(),
        policy,
        Some(&now),
        progress,
    )
}

/// Pushes an image with two specialisations, and pulls all of it elsewhere.
fn there_and_back(to: &Reference) {
    let (here, there) = (Place::new(), Place::new());
    let key = key();
    let image = here.specialised("1.0", &["loud", "quiet"]);
    let push = || {
        push(
            &image.image,
            &here.store,
            to,
            &options(),
            Some(&key),
            &Silent,
        )
        .unwrap()
    };
    let pushed = push();
    assert_eq!(pushed.specialisations, ["loud", "quiet"]);
    let again = push();
    assert_eq!((again.manifest, again.uploaded), (pushed.manifest, 0));

    let policy = trusting(&[&key]);
    let main = there.check(to, &policy).unwrap();
    let found = beside(&there, to, &policy, &Silent).unwrap();
    let named = &image.release.as_ref().unwrap().specialisations;
    let seen: Vec<_> = found.iter().map(|one| (&one.name, &one.image)).collect();
    assert_eq!(seen, named.iter().collect::<Vec<_>>());
    // They differ in one file: most layers are the same, and count once.
    let all = missing(found.iter().map(|one| &one.offer).chain([&main]));
    assert!(
        main.total < all && all < main.total + main.total / 4,
        "{all}"
    );
    let fetch =
        |offer: &Offer| pull(offer, &there.store, &options(), &policy, None, &Silent).unwrap();
    fetch(&main);
    let once = missing(found.iter().map(|one| &one.offer));
    assert!(once >= all - main.total, "{once}");
    for one in beside(&there, to, &policy, &Silent).unwrap() {
        let pulled = fetch(&one.offer);
        assert_eq!(pulled.image.image, one.image);
        assert!(pulled.layers_reused >= pulled.layers_fetched, "{pulled:?}");
    }
    let found = beside(&there, to, &policy, &Silent).unwrap();
    assert_eq!(missing(found.iter().map(|one| &one.offer)), 0);
}

#[test]
fn specialisations_go_along_into_a_layout_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout");
    there_and_back(&reference(&format!("oci:{}:1.0", layout.display())));
}

#[test]
fn specialisations_go_along_into_a_registry_and_come_back() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    there_and_back(&reference(&format!(
        "registry:{}/a/hello:stable",
        registry.host()
    )));
}

#[test]
fn a_copy_without_them_is_taken_and_it_is_said() {
    if !has("skopeo") {
        return;
    }
    let (here, there) = (Place::new(), Place::new());
    let key = key();
    let image = here.specialised("1.0", &["quiet"]);
    let (from, to) = (here.path("layout"), here.path("copy"));
    let layout = reference(&format!("oci:{}:1.0", from.display()));
    pushed(&here, &image.image, &layout, &key);
    // Another program's copy of the one tag.
    let place = |path: &std::path::Path| format!("oci:{}:1.0", path.display());
    run(Command::new("skopeo").args(["copy", &place(&from), &place(&to)]));
    let copy = reference(&place(&to));
    let listener = Listener::default();
    let policy = Policy {
        allow_unsigned: true,
        ..trusting(&[&key])
    };
    let found = beside(&there, &copy, &policy, &listener).unwrap();
    assert!(found.is_empty());
    let notes = listener.notes.lock().unwrap();
    assert!(
        notes[0].contains("the specialisation quiet is left out"),
        "{notes:?}"
    );
}

#[test]
fn what_is_not_what_the_image_names_or_not_signed_is_refused() {
    let (here, there) = (Place::new(), Place::new());
    let key = key();
    let image = here.specialised("1.0", &["quiet"]);
    let named = image.release.as_ref().unwrap().specialisations["quiet"];
    let layout = here.path("layout");
    let main = reference(&format!("oci:{}:1.0", layout.display()));
    let tag = reference(&format!("oci:{}:elea-{named}", layout.display()));
    let policy = trusting(&[&key]);
    pushed(&here, &image.image, &main, &key);
    // Another image of the same publisher takes its place.
    let other = here.system("hello", "1.0", 0);
    pushed(&here, &other.image, &tag, &key);
    let error = beside(&there, &main, &policy, &Silent).unwrap_err();
    assert!(matches!(error, NetError::Beside { .. }), "{error}");
    assert!(error.is_verification());
    // Somebody without the key puts the right label on his own.
    let stranger = PrivateKey::generate(elea_store::trust::Algorithm::Ed25519).unwrap();
    pushed(&here, &named, &tag, &key);
    beside(&there, &main, &policy, &Silent).unwrap();
    let strangers = trusting(&[&stranger]);
    let offer = there.check(&main, &policy).unwrap();
    let error = check_beside(
        &main,
        &offer.release.unwrap(),
        &there.store,
        &options(),
        &strangers,
        None,
        &Silent,
    );
    assert!(matches!(error, Err(NetError::Refused(_))), "{error:?}");
}

#[test]
fn what_is_named_and_not_here_is_not_pushed_by_halves() {
    let place = Place::new();
    let image = place.specialised("1.0", &["quiet"]);
    let named = image.release.unwrap().specialisations["quiet"];
    let other = Place::new();
    let tree = other
        .store
        .import_dir(&place.path("tree-main-1.0"), &Silent);
    let origin = elea_store::Origin {
        source: "dir:test".into(),
        ..elea_store::Origin::default()
    };
    let form = elea_formats::form::Form::Os1;
    let alone = other.store.seal(tree.unwrap(), form, &origin).unwrap();
    assert_eq!(alone.image, image.image);
    let layout = other.path("layout");
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    let error = push(&alone.image, &other.store, &to, &options(), None, &Silent).unwrap_err();
    assert!(error.to_string().contains(&named.to_string()), "{error}");
    assert!(!layout.exists(), "something was pushed");
}

#[test]
fn a_store_with_sha_512_finds_what_is_named_by_sha_256() {
    let place = Place::new();
    let image = place.specialised("1.0", &["quiet"]);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::init_with(&folder.path().join("store"), Algorithm::Sha512).unwrap();
    let mut images = Vec::new();
    for name in ["quiet", "main"] {
        let root = place.path(&format!("tree-{name}-1.0"));
        let tree = store.import_dir(&root, &Silent).unwrap();
        let origin = elea_store::Origin {
            source: "dir:test".into(),
            ..elea_store::Origin::default()
        };
        let form = elea_formats::form::Form::Os1;
        images.push(store.seal(tree, form, &origin).unwrap().image);
    }
    let layout = folder.path().join("layout");
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    let key = key();
    let pushed = push(&images[1], &store, &to, &options(), Some(&key), &Silent).unwrap();
    assert_eq!(pushed.specialisations, ["quiet"]);
    let there = Place::new();
    let found = beside(&there, &to, &trusting(&[&key]), &Silent).unwrap();
    let named = &image.release.unwrap().specialisations;
    assert_eq!(found[0].image, named["quiet"]);
}
