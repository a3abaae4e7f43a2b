//! What a store costs, against what a collection really takes.

use crate::collect::{image, tree};
use crate::sample::origin;
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::form::Form;
use elea_store::stats::{Cost, Keeper, Stats, Sum};
use elea_store::{Origin, Store, export};
use elea_sys::progress::Silent;
use std::collections::BTreeSet;
use std::fs::{self, File};

fn stats(store: &Store, roots: &[Digest]) -> Stats {
    let stats = store.stats(roots, &Silent).unwrap();
    let sum = |sums: &mut dyn Iterator<Item = Sum>| {
        sums.fold((0, 0), |(count, bytes), sum| {
            (count + sum.count, bytes + sum.bytes)
        })
    };
    for cost in &stats.images {
        let parts = sum(&mut [cost.alone, cost.shared].into_iter());
        assert_eq!(parts, (cost.total.count, cost.total.bytes), "{cost:?}");
    }
    let sets = stats.sets.iter().map(|set| set.objects);
    let sets = sum(&mut sets.chain([stats.smaller_sets]));
    assert_eq!(sets, (stats.objects.count, stats.objects.bytes));
    let beside = sum(&mut stats.beside.named().into_iter().map(|(_, sum)| sum));
    assert_eq!(stats.total, stats.objects.bytes + beside.1);
    // What a collection says is the judge.
    let would = store.gc(roots, true, &Silent).unwrap();
    assert_eq!(stats.free.images, would.images.len() as u64);
    let free = stats.free.objects;
    assert_eq!((free.count, free.bytes), (would.objects, would.bytes));
    stats
}

fn cost<'s>(stats: &'s Stats, image: &Digest) -> &'s Cost {
    stats
        .images
        .iter()
        .find(|cost| cost.image == *image)
        .unwrap()
}

#[test]
fn what_an_image_costs_alone_is_what_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let all = ["abc", "bcd", "cdx", "xyz"].map(|letters| image(&store, letters));
    let [a, b, c, x] = &all;
    for (name, image) in [("a", a), ("b", b), ("b:again", b)] {
        store.set_ref(name, image).unwrap();
    }
    let before = stats(&store, &[*c]);
    assert_eq!(before.images.len(), 4);
    let of = |image| cost(&before, image);
    assert_eq!(of(a).names, ["a"]);
    assert_eq!(of(b).kept_by, BTreeSet::from([Keeper::Name]));
    assert_eq!(of(c).kept_by, BTreeSet::from([Keeper::Generation]));
    assert_eq!(of(x).kept_by, BTreeSet::new());
    // Its own file and `a`; `b` and `c` are another's too.
    assert_eq!((of(a).alone.count, of(a).shared.count), (2, 2));
    assert_eq!((of(a).shared_with, of(c).shared_with), (2, 3));
    assert_eq!((of(x).alone.count, of(x).shared.count), (3, 1));
    // `x` stays for the third image.
    assert_eq!(before.free.objects.count, 3);
    let shares = |images: &[Digest]| {
        let mut sets = before.sets.iter();
        let set = sets.find(|set| set.images == images);
        set.map(|set| (set.objects.count, set.objects.bytes, set.kept))
    };
    let mut three = before
        .images
        .iter()
        .map(|cost| cost.image)
        .collect::<Vec<_>>();
    three.retain(|image| image != x);
    assert_eq!(shares(&three), Some((1, 1000, true)));
    assert_eq!(shares(&[*x]).map(|set| (set.0, set.2)), Some((3, false)));
    // Two names: one alone frees nothing.
    assert_eq!(before.names["b"].frees, Sum::default());
    let freed = before.names["a"].frees;
    assert_eq!(freed, of(a).alone);
    store.remove_ref("a").unwrap();
    let gone = store.gc(&[*c], false, &Silent).unwrap();
    assert_eq!(gone.bytes, freed.bytes + before.free.objects.bytes);
    assert_eq!(gone.objects, freed.count + before.free.objects.count);
    let after = stats(&store, &[*c]);
    assert_eq!(after.objects.bytes, before.objects.bytes - gone.bytes);
    assert_eq!(after.free.objects, Sum::default());
}

#[test]
fn layers_hold_what_their_image_no_longer_has() {
    let dir = tempfile::tempdir().unwrap();
    let maker = Store::init(&dir.path().join("maker")).unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let mut layers = Vec::new();
    for letters in ["lm", "mn"] {
        let tree = tree(&maker, letters);
        let out = dir.path().join("out").join(letters);
        for packed in
            export::layers(&maker, &tree, export::Compression::Gzip, &out, &Silent).unwrap()
        {
            let file = File::open(&packed.path).unwrap();
            let layer = store.import_layer(&packed.blob, packed.media_type, file, &Silent);
            layers.push(layer.unwrap());
        }
    }
    // Of the two trees the image has the second alone: `l` is in a layer and in no image.
    let tree = store.assemble(&layers[layers.len() - 1..]).unwrap();
    let origin = Origin {
        layers: layers.iter().map(|layer| layer.blob).collect(),
        ..origin()
    };
    let image = store.seal(tree, Form::Os1, &origin).unwrap().image;
    store.set_ref("l", &image).unwrap();
    let found = stats(&store, &[]);
    let its = cost(&found, &image);
    assert_eq!(
        its.of_layers,
        Sum {
            count: 1,
            bytes: 1000
        }
    );
    assert_eq!((its.total.count, its.alone), (4, its.total));
    assert_eq!(found.free.objects, Sum::default());
    assert_eq!(found.beside.layers.count, layers.len() as u64);
    assert!(found.beside.documents.bytes > 0);
}

#[test]
fn commands_at_work_hold_and_what_is_not_there_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let gone = image(&store, "g");
    let lease = store.lease("test").unwrap();
    let held = image(&store, "h");
    tree(&store, "ij");
    let found = stats(&store, &[]);
    assert_eq!(found.leases, 1);
    assert_eq!(
        cost(&found, &held).kept_by,
        BTreeSet::from([Keeper::Command])
    );
    assert_eq!(found.free.objects, cost(&found, &gone).total);
    let of_command = found.sets.iter().find(|set| set.images.is_empty()).unwrap();
    assert_eq!((of_command.objects.count, of_command.kept), (2, true));
    drop(lease);
    let found = stats(&store, &[]);
    assert_eq!(found.free.objects, found.objects);
    // An object that is lost costs nothing and is said to be missing.
    let object = store.object_path(&elea_formats::verity::measure(
        Algorithm::Sha256,
        &[b'h'; 1000],
    ));
    fs::remove_file(object).unwrap();
    let found = stats(&store, &[]);
    assert_eq!((found.missing, cost(&found, &held).total.count), (1, 1));
    fs::write(store.path().join("tmp/1-1"), "12345").unwrap();
    fs::create_dir_all(store.path().join("partial")).unwrap();
    fs::write(store.path().join("partial/x"), "123").unwrap();
    let found = stats(&store, &[]);
    assert_eq!(found.beside.unfinished, Sum { count: 1, bytes: 5 });
    assert_eq!(found.beside.partial, Sum { count: 1, bytes: 3 });
}
