//! Layers, and the tree that they make. The first byte chooses how they are compressed.
#![no_main]

use elea_formats::digest::Sha256;
use elea_formats::dump;
use elea_formats::form::{Form, canonical};
use elea_store::Store;
use elea_sys::progress::Silent;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use tempfile::TempDir;

const MEDIA: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
];

/// A store for so many runs: what they leave in it is nobody's.
const RUNS: u32 = 5000;

/// Calls with a store.
fn with_store(work: impl FnOnce(&Store)) {
    thread_local! {
        static STORE: RefCell<Option<(TempDir, u32)>> = const { RefCell::new(None) };
    }
    STORE.with_borrow_mut(|kept| {
        let (folder, runs) = kept.get_or_insert_with(|| {
            let folder = tempfile::tempdir().expect("a temporary folder");
            Store::init(&folder.path().join("store")).expect("a store");
            (folder, 0)
        });
        *runs += 1;
        work(&Store::open(&folder.path().join("store")).expect("the store"));
        if *runs == RUNS {
            *kept = None;
        }
    });
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, layer)) = input.split_first() else {
        return;
    };
    let media = MEDIA[usize::from(*choice) % MEDIA.len()];
    with_store(|store| {
        let Ok(layer) = store.import_layer(&Sha256::of(layer), media, layer, &Silent) else {
            return;
        };
        if let Ok(mut tree) = store.assemble(&[layer]) {
            canonical(&mut tree, Form::Os1);
            let once = dump::encode(&tree);
            canonical(&mut tree, Form::Os1);
            assert_eq!(dump::encode(&tree), once);
        }
    });
});
