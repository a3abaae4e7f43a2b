//! The power is cut after every system call of a pull from a registry, part by part and whole: whatever the file
//! system kept, the name says the old or the new release, all that it names is there, and another pull comes to its end.
//!
//! `elea_testkit::power` says what a file system may keep.

use crate::fixture::{Place, anything, noise, options, reference};
use crate::server::{Repository, Server};
use elea_formats::digest::Digest;
use elea_net::{Options, check, pull, push};
use elea_store::export::Compression;
use elea_store::{Damage, Finding, Store};
use elea_sys::progress::Silent;
use elea_testkit::power::{Cut, Record};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const STORE: &str = "ELEA_PULL_STORE";
const FROM: &str = "ELEA_PULL_FROM";

/// Not a test by itself: what the other one watches.
#[test]
fn child() {
    if let (Some(store), Ok(from)) = (std::env::var_os(STORE), std::env::var(FROM)) {
        bring(Path::new(&store), &from);
    }
}

/// Pulls what a reference names, and gives it the name that machines follow.
fn bring(store: &Path, from: &str) {
    let store = Store::open(store).unwrap();
    let from = reference(from);
    let offer = check(&from, &store, &options(), &anything(), None, &Silent).unwrap();
    let pulled = pull(&offer, &store, &options(), &anything(), None, &Silent).unwrap();
    store.set_ref("it", &pulled.image.image).unwrap();
}

/// A tree with a file that is cut into chunks, two small ones, and one that the second release has anew.
fn release(place: &Place, version: &str) -> Digest {
    let root = place.path(version);
    fs::create_dir_all(root.join("usr/share")).unwrap();
    let mut large = noise(1, 1_100_000);
    if version == "2.0" {
        large[700_000..700_100].fill(7);
        fs::write(root.join("usr/share/more"), noise(2, 5000)).unwrap();
    }
    fs::write(root.join("usr/large"), large).unwrap();
    fs::write(root.join("usr/version"), version.repeat(100)).unwrap();
    fs::write(root.join("usr/small"), "the same").unwrap();
    place.import(&root).image
}

/// What a power cut may leave: what a dead process did, and objects that nobody names, with any content.
fn may_be(finding: &Finding) -> bool {
    finding.damage == Damage::Leftover
        || finding.damage == Damage::Content && finding.images.is_empty()
}

#[test]
fn a_power_cut_in_a_pull_leaves_the_old_or_the_new() {
    for compression in [Compression::Chunked, Compression::Gzip] {
        cut_everywhere(compression);
    }
}

fn cut_everywhere(compression: Compression) {
    let here = Place::new();
    let images = ["1.0", "2.0"].map(|version| release(&here, version));
    let layout = here.path("layout");
    let how = Options {
        compression: Some(compression),
        ..options()
    };
    for (image, tag) in images.iter().zip(["1.0", "2.0"]) {
        let to = reference(&format!("oci:{}:{tag}", layout.display()));
        push(image, &here.store, &to, &how, None, &Silent).unwrap();
    }
    let repository = Repository::new(&layout);
    let server = Server::start(move |asked| repository.answer(asked));
    let from = |tag: &str| format!("registry:{}/hello:{tag}", server.host());

    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let store = dir.path().join("store");
    Store::init(&store).unwrap();
    bring(&store, &from("1.0"));
    let mut record = Record::begin(&store).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", "power::child", "--test-threads=1"])
        .env(STORE, &store)
        .env(FROM, from("2.0"));
    let Some(good) = record.run(&child).unwrap() else {
        eprintln!("skipped: no strace, or it may not trace here");
        return;
    };
    assert!(good);
    assert!(record.len() > 20);

    let mut seen = HashSet::new();
    for steps in 0..=record.len() {
        // Before a sync most is at stake.
        let torn = if record.is_sync(steps) { 4 } else { 1 };
        let seeds = (0..torn).map(|seed| Cut::Torn(steps as u64 * 1000 + seed));
        for cut in [Cut::Nothing, Cut::Everything].into_iter().chain(seeds) {
            let state = record.state(steps, cut);
            if !seen.insert(state.key()) {
                continue;
            }
            let _ = fs::remove_dir_all(&store);
            state.write(&store).unwrap();
            let context = format!("{steps} steps, then {}, {cut:?}", record.step(steps));
            let after = Store::open(&store).unwrap();
            let is = after.refs().unwrap()["it"];
            if steps == record.len() {
                assert_eq!(is, images[1], "{context}");
            }
            assert!(images.contains(&is), "{context}");
            let findings = after.fsck(&Silent).unwrap().findings;
            assert!(findings.iter().all(may_be), "{context}: {findings:?}");
            // By turns what was left is collected first.
            match seen.len() % 6 {
                0 => drop(after.gc(&[], false, &Silent).unwrap()),
                3 => {}
                _ => continue,
            }
            bring(&store, &from("2.0"));
            assert_eq!(after.refs().unwrap()["it"], images[1], "{context}");
            after.gc(&[], false, &Silent).unwrap();
            assert_eq!(after.fsck(&Silent).unwrap().findings, [], "{context}");
        }
    }
    eprintln!(
        "{compression:?}: {} steps, {} states",
        record.len(),
        seen.len()
    );
}
