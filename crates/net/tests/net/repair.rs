//! Damaged stores are put right from the places that their images came from.

use crate::fixture::{Place, anything, options};
use crate::liar::{Liar, about_the_large_layer};
use elea_formats::digest::Digest;
use elea_net::{Repaired, pull, repair};
use elea_store::Check;
use elea_sys::progress::Silent;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A store with an image that was pulled and has a name, and the bytes of all of its layers.
fn pulled(liar: &Liar) -> (Place, Digest, u64) {
    let place = Place::new();
    let offer = liar.offer(&place);
    let pulled = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap();
    let image = pulled.image.image;
    place.store.set_ref("hello", &image).unwrap();
    (place, image, offer.total)
}

fn honest() -> Liar {
    about_the_large_layer(|reply, _| reply)
}

/// The image's largest object.
fn largest(place: &Place, image: &Digest) -> PathBuf {
    let objects = place.store.objects_of(image).unwrap();
    let (digest, _) = objects.iter().max_by_key(|(_, size)| **size).unwrap();
    place.store.object_path(digest)
}

/// Damages a file as a disk would.
pub(crate) fn flip(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1111] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

fn put_right(place: &Place) -> (Repaired, Check) {
    repair(&place.store, None, &options(), &Silent).unwrap()
}

#[test]
fn one_flipped_bit_costs_one_layer() {
    let liar = honest();
    let (place, image, total) = pulled(&liar);
    let asked = liar.server.count("/blobs/");
    let damaged = largest(&place, &image);
    flip(&damaged);
    let (did, check) = put_right(&place);
    assert_eq!(check.findings, []);
    assert_eq!(did.failed, []);
    assert_eq!(did.done.len(), 1, "{did:?}");
    assert_eq!(did.done[0].path, damaged);
    assert!(
        did.done[0].what.starts_with("fetched from registry:"),
        "{did:?}"
    );
    // The config and the one layer, of several.
    assert_eq!(liar.server.count("/blobs/") - asked, 2);
    assert!(did.fetched > 5 << 20 && did.fetched < total, "{did:?}");
    assert!(place.partial().is_empty());
    let (did, _) = put_right(&place);
    assert_eq!((did.done.len(), did.fetched), (0, 0));
}

#[test]
fn a_lost_image_comes_back_with_all_that_it_needs() {
    let liar = honest();
    let (place, image, _) = pulled(&liar);
    fs::remove_file(largest(&place, &image)).unwrap();
    fs::remove_file(place.store.object_path(&image)).unwrap();
    for record in fs::read_dir(place.store.path().join("manifests/layers")).unwrap() {
        fs::remove_file(record.unwrap().path()).unwrap();
    }
    // Nobody knows what a lost image needs, so nothing is collected.
    assert!(place.store.gc(&[], false, &Silent).is_err());
    let (did, check) = put_right(&place);
    assert_eq!(check.findings, [], "{did:?}");
    assert_eq!(place.store.refs().unwrap()["hello"], image);
    place.store.tree(&image).unwrap();
}

#[test]
fn a_place_that_is_gone_or_lies_is_named_and_nothing_gets_worse() {
    let liar = about_the_large_layer(|mut reply, count| {
        if count > 0 {
            reply.body[99_999] ^= 1;
        }
        reply
    });
    let (place, image, _) = pulled(&liar);
    let damaged = largest(&place, &image);
    flip(&damaged);
    let before = fs::read(&damaged).unwrap();
    let (did, check) = put_right(&place);
    assert_eq!((did.done.len(), did.failed.len()), (0, 1), "{did:?}");
    assert!(did.failed[0].what.contains("sha256:"), "{did:?}");
    assert_eq!(check.findings.len(), 1);
    drop(liar);
    let (did, check) = put_right(&place);
    assert!(did.failed[0].what.contains("cannot reach"), "{did:?}");
    assert_eq!((did.fetched, check.findings.len()), (0, 1));
    assert_eq!(fs::read(&damaged).unwrap(), before);
}

#[test]
fn what_was_imported_from_a_folder_cannot_be_fetched() {
    let place = Place::new();
    let image = place.system("hello", "1.0", 0).image;
    flip(&largest(&place, &image));
    let (did, check) = put_right(&place);
    assert_eq!(did.done, []);
    assert_eq!(check.findings.len(), 1);
    assert!(did.failed[0].what.contains("--from"), "{did:?}");
}
