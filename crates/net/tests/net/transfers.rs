//! Transfers that break in the middle, and go on with the next try.

use crate::fixture::{Listener, Place, anything, options};
use crate::server::Reply;
use elea_net::{NetError, Options, check, pull};
use elea_sys::progress::{Progress, Silent};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::liar::{Liar, about_the_large_layer};

#[test]
fn a_transfer_that_was_cut_resumes_where_it_was() {
    let liar = about_the_large_layer(|mut reply, count| {
        if count < 2 {
            reply.cut = Some(1 << 20);
        }
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let pulled = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap();
    assert_eq!(pulled.fetched, offer.total);
    let ranges: Vec<_> = liar
        .server
        .asked()
        .iter()
        .filter(|a| a.path == liar.large)
        .map(|a| a.headers.get("range").cloned())
        .collect();
    let range = |start: usize| Some(format!("bytes={start}-"));
    assert_eq!(ranges, [None, range(1 << 20), range(2 << 20)]);
}

#[test]
fn a_server_that_cannot_resume_sends_all_of_it_again() {
    let liar = Liar::new(|asked, reply, count| {
        let mut asked = asked.clone();
        if asked.headers.remove("range").is_some() {
            // The whole, as a server does that knows no ranges.
            return Reply::new(416, "application/octet-stream", "");
        }
        let mut reply = reply;
        if asked.path.contains("/blobs/") && reply.body.len() > 1 << 20 && count == 0 {
            reply.cut = Some(1 << 20);
        }
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let pulled = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap();
    assert_eq!(pulled.fetched, offer.total + (1 << 20));
}

#[test]
fn a_cut_that_never_mends_keeps_what_came() {
    let liar = about_the_large_layer(|mut reply, _| {
        reply.cut = Some(1000);
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let error = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap_err();
    assert!(
        matches!(
            error,
            NetError::Connection { .. } | NetError::Truncated { .. }
        ),
        "{error}"
    );
    assert!(place.partial().contains(&3000), "{:?}", place.partial());
    let pulled = liar.comes_right(&place);
    assert!(pulled.fetched <= offer.total - 3000);
}

#[test]
fn other_bytes_than_the_named_ones_are_refused() {
    let liar = about_the_large_layer(|mut reply, _| {
        let middle = reply.body.len() / 2;
        reply.body[middle] ^= 1;
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let error = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap_err();
    assert!(
        matches!(error, NetError::Digest { .. }) && error.is_verification(),
        "{error}"
    );
    let large = liar.large.rsplit(':').next().unwrap();
    assert!(!place.store.path().join("partial").join(large).exists());
    liar.comes_right(&place);
}

#[test]
fn a_damaged_part_is_fetched_anew() {
    let liar = about_the_large_layer(|reply, _| reply);
    let place = Place::new();
    let offer = liar.offer(&place);
    let partial = place.store.path().join("partial");
    std::fs::create_dir(&partial).unwrap();
    let large = offer.layers.iter().max_by_key(|l| l.size).unwrap();
    std::fs::write(partial.join(large.digest.to_string()), vec![7; 100_000]).unwrap();
    pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap();
    assert!(place.partial().is_empty());
}

#[test]
fn more_bytes_than_announced_are_refused() {
    let liar = about_the_large_layer(|mut reply, _| {
        reply.body.extend_from_slice(&vec![0; 100_000]);
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let error = pull(&offer, &place.store, &options(), &anything(), None, &Silent).unwrap_err();
    assert!(matches!(error, NetError::TooLarge { .. }), "{error}");
    liar.comes_right(&place);
    let liar = Liar::new(|_, mut reply, _| {
        reply.body.resize(5 << 20, b' ');
        reply
    });
    let place = Place::new();
    let error = place.pull(&liar.reference(), &anything()).unwrap_err();
    assert!(matches!(error, NetError::TooLarge { .. }), "{error}");
    liar.comes_right(&place);
}

#[test]
fn stopping_keeps_what_came_and_the_next_try_goes_on() {
    let liar = about_the_large_layer(|reply, _| reply);
    let place = Place::new();
    let offer = liar.offer(&place);
    let listener = Listener::stopping("fetching", 2 << 20);
    let error = pull(
        &offer,
        &place.store,
        &options(),
        &anything(),
        None,
        &listener,
    )
    .unwrap_err();
    assert!(matches!(error, NetError::Cancelled), "{error}");
    let kept: u64 = place.partial().iter().sum();
    assert!(kept >= 1 << 20, "{kept}");
    let pulled = liar.comes_right(&place);
    assert!(pulled.fetched <= offer.total - kept);
}

#[test]
fn stopping_does_not_wait_for_a_silent_server() {
    struct Stop;
    impl Progress for Stop {
        fn start(&self, _: &str, _: Option<u64>, _: elea_sys::progress::Unit) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn note(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            true
        }
    }
    let release = Arc::new(AtomicBool::new(false));
    let held = release.clone();
    let liar = Liar::new(move |_, reply, _| {
        while !held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(20));
        }
        reply
    });
    let place = Place::new();
    // The server answers only after the look has ended, and there is no second attempt that could
    // be stopped instead.
    let once = Options {
        attempts: 1,
        ..options()
    };
    let error = check(
        &liar.reference(),
        &place.store,
        &once,
        &anything(),
        None,
        &Stop,
    )
    .unwrap_err();
    assert!(matches!(error, NetError::Cancelled), "{error}");
    release.store(true, Ordering::SeqCst);
}

#[test]
fn a_full_store_is_said_before_and_in_the_middle() {
    let liar = about_the_large_layer(|reply, _| reply);
    let mount = |size: &str| {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "elea-test"])
            .arg(folder.path())
            .status();
        mounted
            .is_ok_and(|s| s.success())
            .then_some(Mounted(folder))
    };
    let Some(small) = mount("8m") else {
        eprintln!("skipped: no tmpfs can be mounted");
        return;
    };
    let store = elea_store::Store::init(&small.0.path().join("store")).unwrap();
    let try_it = |store: &elea_store::Store| {
        let offer = check(
            &liar.reference(),
            store,
            &options(),
            &anything(),
            None,
            &Silent,
        )
        .unwrap();
        pull(&offer, store, &options(), &anything(), None, &Silent)
    };
    let asked = liar.server.count("/blobs/");
    let error = try_it(&store).unwrap_err();
    assert!(matches!(error, NetError::Space { .. }), "{error}");
    assert_eq!(liar.server.count("/blobs/"), asked + 1, "the config alone");

    // Enough by the estimate, then somebody else fills it.
    let middle = mount("64m").unwrap();
    let store = elea_store::Store::init(&middle.0.path().join("store")).unwrap();
    let offer = check(
        &liar.reference(),
        &store,
        &options(),
        &anything(),
        None,
        &Silent,
    )
    .unwrap();
    let filler = Filler {
        path: middle.0.path().join("filler"),
        done: AtomicBool::new(false),
    };
    let error = pull(&offer, &store, &options(), &anything(), None, &filler).unwrap_err();
    assert!(matches!(error, NetError::Full { .. }), "{error}");
    assert!(store.images().unwrap().is_empty());
    std::fs::remove_file(&filler.path).unwrap();
    try_it(&store).unwrap();
}

/// A file system that is unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Fills the file system once the first bytes came.
struct Filler {
    path: std::path::PathBuf,
    done: AtomicBool,
}

impl Progress for Filler {
    fn start(&self, _: &str, _: Option<u64>, _: elea_sys::progress::Unit) {}
    fn advance(&self, _: u64) {
        if !self.done.swap(true, Ordering::SeqCst) {
            let mut file = std::fs::File::create(&self.path).unwrap();
            let piece = vec![0; 64 << 10];
            while std::io::Write::write_all(&mut file, &piece).is_ok() {}
        }
    }
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}
