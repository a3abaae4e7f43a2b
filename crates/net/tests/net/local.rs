//! Layouts and archives.

use crate::fixture::{Listener, Place, anything, has, key, options, reference, run, trusting};
use elea_formats::form::Form;
use elea_net::{check, pull, push};
use elea_store::Origin;
use elea_sys::progress::Silent;
use std::fs;
use std::process::Command;

#[test]
fn a_layout_takes_an_image_and_gives_it_back() {
    let (here, there) = (Place::new(), Place::new());
    let key = key();
    let image = here.system("hello", "1.0", 0);
    let layout = reference(&format!("oci:{}:1.0", here.path("layout").display()));
    let push = || {
        push(
            &image.image,
            &here.store,
            &layout,
            &options(),
            Some(&key),
            &Silent,
        )
        .unwrap()
    };
    let pushed = push();
    assert!(pushed.layers > 3 && pushed.uploaded > 5 << 20, "{pushed:?}");
    let again = push();
    assert_eq!((again.manifest, again.uploaded), (pushed.manifest, 0));
    assert_eq!(again.present, pushed.uploaded);

    let policy = trusting(&[&key]);
    let offer = there.check(&layout, &policy).unwrap();
    assert_eq!((offer.here, offer.image), (false, Some(image.image)));
    assert_eq!(offer.missing, offer.total);
    assert_eq!(offer.release, image.release);
    let listener = Listener::default();
    let pulled = pull(&offer, &there.store, &options(), &policy, None, &listener).unwrap();
    assert_eq!(pulled.image.image, image.image);
    assert_eq!(pulled.image.oci_manifest, Some(pushed.manifest));
    assert_eq!((pulled.fetched, pulled.layers_fetched), (0, pushed.layers));
    assert_eq!(listener.bytes_of("fetching"), Some(offer.total));
    assert_eq!(there.store.signatures(&image.image).unwrap().len(), 1);
    assert!(there.partial().is_empty());

    let offer = there.check(&layout, &policy).unwrap();
    assert_eq!((offer.here, offer.missing), (true, 0));
    let pulled = pull(&offer, &there.store, &options(), &policy, None, &Silent).unwrap();
    assert_eq!(pulled.layers_fetched, 0);
}

#[test]
fn an_image_that_is_here_unsigned_keeps_the_signatures_that_come_later() {
    let place = Place::new();
    let key = key();
    let image = place.system("hello", "1.0", 0);
    let layout = reference(&format!("oci:{}:1.0", place.path("layout").display()));
    push(
        &image.image,
        &place.store,
        &layout,
        &options(),
        Some(&key),
        &Silent,
    )
    .unwrap();
    assert!(place.store.signatures(&image.image).unwrap().is_empty());
    let pulled = place.pull(&layout, &trusting(&[&key])).unwrap();
    assert_eq!(pulled.layers_fetched, 0);
    assert_eq!(place.store.signatures(&image.image).unwrap().len(), 1);
}

#[test]
fn an_archive_of_skopeo_is_read() {
    if !has("skopeo") {
        return;
    }
    let (here, there) = (Place::new(), Place::new());
    let image = here.system("hello", "1.0", 0);
    let layout = format!("oci:{}:1.0", here.path("layout").display());
    push(
        &image.image,
        &here.store,
        &reference(&layout),
        &options(),
        None,
        &Silent,
    )
    .unwrap();
    let archive = format!("oci-archive:{}", here.path("image.tar").display());
    run(Command::new("skopeo").args(["copy", &layout, &archive]));
    let archive = reference(&archive);
    let error = there.check(&archive, &trusting(&[&key()])).unwrap_err();
    assert!(error.is_verification(), "{error}");
    let pulled = there.pull(&archive, &anything()).unwrap();
    assert_eq!(pulled.image.image, image.image);
    assert!(
        push(
            &image.image,
            &here.store,
            &archive,
            &options(),
            None,
            &Silent
        )
        .is_err()
    );
}

#[test]
fn a_changed_blob_of_a_layout_is_refused() {
    let (here, there) = (Place::new(), Place::new());
    let image = here.system("hello", "1.0", 0);
    let layout = reference(&format!("oci:{}:1.0", here.path("layout").display()));
    push(
        &image.image,
        &here.store,
        &layout,
        &options(),
        None,
        &Silent,
    )
    .unwrap();
    let offer = check(
        &layout,
        &there.store,
        &options(),
        &anything(),
        None,
        &Silent,
    )
    .unwrap();
    let blob = here
        .path("layout/blobs/sha256")
        .join(offer.layers[0].digest.to_string());
    let honest = fs::read(&blob).unwrap();
    let mut changed = honest.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&blob, changed).unwrap();
    let error = pull(&offer, &there.store, &options(), &anything(), None, &Silent).unwrap_err();
    assert!(error.is_verification(), "{error}");
    there.assert_empty();
    fs::write(&blob, honest).unwrap();
    pull(&offer, &there.store, &options(), &anything(), None, &Silent).unwrap();
    for text in ["oci:/nowhere:1.0", "oci-archive:/nowhere"] {
        assert!(there.check(&reference(text), &anything()).is_err());
    }
    // What is in a file that is no archive is not said.
    let other = here.path("other");
    fs::write(&other, b"no archive \x1b[31m\n".repeat(100)).unwrap();
    let archive = reference(&format!("oci-archive:{}", other.display()));
    let error = there.check(&archive, &anything()).unwrap_err().to_string();
    assert!(
        error.ends_with("it is no tar archive, or damaged"),
        "{error}"
    );
}

#[test]
fn an_image_in_the_form_raw_comes_back_the_same() {
    let (here, there) = (Place::new(), Place::new());
    let root = here.path("tree");
    crate::fixture::write_system(&root, "hello", "1.0", 0);
    // Fractions of a second are in this form.
    run(Command::new("touch")
        .args(["-d", "@1700000000.123456789"])
        .arg(root.join("etc/hostname")));
    let tree = here.store.import_dir(&root, &Silent).unwrap();
    let image = here
        .store
        .seal(tree, Form::Raw, &Origin::default())
        .unwrap();
    let layout = reference(&format!("oci:{}:1.0", here.path("layout").display()));
    push(
        &image.image,
        &here.store,
        &layout,
        &options(),
        None,
        &Silent,
    )
    .unwrap();
    let pulled = there.pull(&layout, &anything()).unwrap();
    assert_eq!(
        (pulled.image.image, pulled.image.form),
        (image.image, "raw".into())
    );
}
