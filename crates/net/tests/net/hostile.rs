//! A server that lies, stalls or fails: each time a clear error, nothing in the store, and another
//! try that works.

use crate::fixture::{Listener, Place, anything, key, options, reference, trusting};
use crate::server::{Asked, Reply, Repository, Server};
use elea_formats::oci::reference::Reference;
use elea_net::{NetError, Offer, Options, Pulled, check, pull, push};
use elea_sys::progress::{Progress, Silent};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A way to spoil an honest answer.
type Lie = dyn Fn(&Asked, Reply, usize) -> Reply + Send + Sync;

/// A server that lies until it is told to be honest.
struct Liar {
    server: Server,
    honest: Arc<AtomicBool>,
    /// The large layer's path.
    large: String,
    _source: Place,
}

impl Liar {
    /// `lie` gets the request, the honest answer, and how many requests came for that path before.
    fn new(lie: impl Fn(&Asked, Reply, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::boxed(Box::new(lie))
    }

    fn boxed(lie: Box<Lie>) -> Self {
        let source = Place::new();
        let image = source.system("hello", "1.0", 0);
        let layout = source.path("layout");
        let to = reference(&format!("oci:{}:1.0", layout.display()));
        push(&image.image, &source.store, &to, &options(), None, &Silent).unwrap();
        let offer = source.check(&to, &anything()).unwrap();
        let large = offer.layers.iter().max_by_key(|l| l.size).unwrap();
        let repository = Repository::new(&layout);
        let honest = Arc::new(AtomicBool::new(false));
        let before = std::sync::Mutex::new(std::collections::BTreeMap::new());
        Self {
            large: format!("/v2/hello/blobs/sha256:{}", large.digest),
            server: Server::start({
                let honest = honest.clone();
                move |asked| {
                    let reply = repository.answer(asked);
                    if honest.load(Ordering::SeqCst) {
                        return reply;
                    }
                    let count = {
                        let mut before = before.lock().unwrap();
                        let count: &mut usize = before.entry(asked.path.clone()).or_default();
                        *count += 1;
                        *count - 1
                    };
                    lie(asked, reply, count)
                }
            }),
            honest,
            _source: source,
        }
    }

    fn reference(&self) -> Reference {
        reference(&format!("registry:{}/hello:1.0", self.server.host()))
    }

    /// Takes the lie away, and sees whether another try works.
    fn comes_right(&self, place: &Place) -> Pulled {
        place.assert_empty();
        self.honest.store(true, Ordering::SeqCst);
        let pulled = place.pull(&self.reference(), &anything()).unwrap();
        assert!(place.partial().is_empty());
        pulled
    }

    fn offer(&self, place: &Place) -> Offer {
        place.check(&self.reference(), &anything()).unwrap()
    }
}

fn is_layer(asked: &Asked, large: &str) -> bool {
    asked.path == large
}

/// A liar about its large layer alone.
fn about_the_large_layer(lie: impl Fn(Reply, usize) -> Reply + Send + Sync + 'static) -> Liar {
    let lengths = AtomicUsize::new(0);
    Liar::new(move |asked, reply, count| {
        let large = asked.path.contains("/blobs/") && reply.body.len() > 1 << 20;
        if large || lengths.load(Ordering::SeqCst) > 0 && asked.headers.contains_key("range") {
            lengths.store(1, Ordering::SeqCst);
            return lie(reply, count);
        }
        reply
    })
}

#[test]
fn a_web_page_is_no_registry() {
    let liar =
        Liar::new(|_, _, _| Reply::new(200, "text/html; charset=utf-8", "<html>log in</html>"));
    let place = Place::new();
    let error = place.pull(&liar.reference(), &anything()).unwrap_err();
    assert!(matches!(error, NetError::NotRegistry { .. }), "{error}");
    assert!(!error.is_verification());
    assert_eq!(liar.server.asked().len(), 1);
    liar.comes_right(&place);
}

#[test]
fn a_busy_server_is_asked_again_and_given_up_at_last() {
    let busy = |asked: &Asked, reply, count| match count {
        0 | 1 if !asked.path.contains("sig") => Reply::new(
            503,
            "application/json",
            r#"{"errors":[{"code":"BUSY","message":"later"}]}"#,
        ),
        _ => reply,
    };
    let liar = Liar::new(busy);
    let place = Place::new();
    let listener = Listener::default();
    let (reference, policy) = (liar.reference(), anything());
    let offer = check(
        &reference,
        &place.store,
        &options(),
        &policy,
        None,
        &listener,
    )
    .unwrap();
    pull(&offer, &place.store, &options(), &policy, None, &listener).unwrap();
    let notes = listener.notes.lock().unwrap();
    assert!(
        notes
            .iter()
            .any(|n| n.contains("503: later (BUSY); trying again")),
        "{notes:?}"
    );

    let liar = Liar::new(|_, _, _| Reply::new(500, "application/json", ""));
    let place = Place::new();
    let error = place.pull(&liar.reference(), &anything()).unwrap_err();
    assert!(
        matches!(error, NetError::Status { status: 500, .. }),
        "{error}"
    );
    assert_eq!(liar.server.asked().len(), 3);
    liar.comes_right(&place);
}

#[test]
fn a_server_that_is_down_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let reference = reference(&format!("registry:127.0.0.1:{port}/hello:1.0"));
    let place = Place::new();
    let error = place.pull(&reference, &anything()).unwrap_err();
    assert!(matches!(error, NetError::Connection { .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let missing = Liar::new(|_, _, _| Reply::new(404, "application/json", "{}"));
    let error = place.pull(&missing.reference(), &anything()).unwrap_err();
    assert!(matches!(error, NetError::NotFound { .. }), "{error}");
    missing.comes_right(&place);
}

#[test]
fn a_silent_and_a_slow_server_are_left() {
    let patience = |idle| Options {
        attempts: 2,
        idle_timeout: idle,
        ..options()
    };
    // Silent before the answer.
    let liar = Liar::new(|_, reply, _| {
        std::thread::sleep(Duration::from_secs(2));
        reply
    });
    let place = Place::new();
    let short = patience(Duration::from_millis(300));
    let error = check(
        &liar.reference(),
        &place.store,
        &short,
        &anything(),
        None,
        &Silent,
    )
    .unwrap_err();
    assert!(matches!(error, NetError::Connection { .. }), "{error}");
    liar.comes_right(&place);

    // A kilobyte now and then.
    let liar = about_the_large_layer(|mut reply, _| {
        reply.pause = Duration::from_millis(150);
        reply
    });
    let place = Place::new();
    let offer = liar.offer(&place);
    let short = patience(Duration::from_secs(1));
    let error = pull(&offer, &place.store, &short, &anything(), None, &Silent).unwrap_err();
    assert!(matches!(error, NetError::Slow { .. }), "{error}");
    let pulled = liar.comes_right(&place);
    assert!(pulled.fetched < offer.total, "it resumed");
}

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
        .filter(|a| is_layer(a, &liar.large))
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
fn a_changed_manifest_or_config_is_not_the_signed_one() {
    let key = key();
    let source = Place::new();
    let image = source.system("hello", "1.0", 0);
    let layout = source.path("layout");
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    let pushed = push(
        &image.image,
        &source.store,
        &to,
        &options(),
        Some(&key),
        &Silent,
    )
    .unwrap();
    let spoil = |part: &'static str| {
        let repository = Repository::new(&layout);
        Server::start(move |asked| {
            let mut reply = repository.answer(asked);
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            if asked.path.contains(part) && text.starts_with('{') && text.contains("\"1.0\"") {
                reply.body = text.replace("\"1.0\"", "\"9.0\"").into_bytes();
            }
            reply
        })
    };
    let policy = trusting(&[&key]);
    let place = Place::new();
    let server = spoil("/manifests/1.0");
    let from = reference(&format!("registry:{}/hello:1.0", server.host()));
    let error = place.check(&from, &policy).unwrap_err();
    assert!(
        matches!(error, NetError::Refused(_)) && error.is_verification(),
        "{error}"
    );
    let server = spoil("/blobs/");
    let from = reference(&format!("registry:{}/hello:1.0", server.host()));
    let error = place.check(&from, &policy).unwrap_err();
    assert!(matches!(error, NetError::Digest { .. }), "{error}");
    // By digest, a registry cannot give another manifest.
    let server = spoil("/manifests/sha256:");
    let from = reference(&format!(
        "registry:{}/hello@sha256:{}",
        server.host(),
        pushed.manifest
    ));
    let error = place.check(&from, &policy).unwrap_err();
    assert!(matches!(error, NetError::Digest { .. }), "{error}");
    place.assert_empty();
}

#[test]
fn redirects_are_few_and_keep_secrets() {
    let liar = Liar::new(|asked, _, _| {
        Reply::new(307, "application/json", "").header("location", asked.path.clone())
    });
    let place = Place::new();
    let error = place.pull(&liar.reference(), &anything()).unwrap_err();
    assert!(matches!(error, NetError::Redirect { .. }), "{error}");
    assert!(liar.server.asked().len() < 10);
    liar.comes_right(&place);
    let file = Liar::new(|_, _, _| {
        Reply::new(302, "application/json", "").header("location", "file:///etc/passwd")
    });
    let error = place.pull(&file.reference(), &anything()).unwrap_err();
    assert!(matches!(error, NetError::Redirect { .. }), "{error}");
}

#[test]
fn blobs_elsewhere_are_followed_without_the_password() {
    let liar = Arc::new(Liar::new(|_, reply, _| reply));
    let elsewhere = liar.server.host();
    let source = liar.clone();
    let front = Server::start(move |asked| {
        if !asked.headers.contains_key("authorization") {
            return Reply::new(401, "application/json", "{}")
                .header("www-authenticate", "Basic realm=\"x\"");
        }
        Reply::new(307, "application/json", "")
            .header("location", format!("http://{elsewhere}{}", asked.path))
    });
    let place = Place::new();
    let auth = place.path("auth.json");
    let text = format!(
        r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#,
        front.host()
    );
    std::fs::write(&auth, text).unwrap();
    let options = Options {
        auth_file: Some(auth),
        ..options()
    };
    let from = reference(&format!("registry:{}/hello:1.0", front.host()));
    let offer = check(&from, &place.store, &options, &anything(), None, &Silent).unwrap();
    pull(&offer, &place.store, &options, &anything(), None, &Silent).unwrap();
    let asked = source.server.asked();
    assert!(!asked.is_empty());
    assert!(
        asked
            .iter()
            .all(|a| !a.headers.contains_key("authorization"))
    );
}

#[test]
fn stopping_keeps_what_came_and_the_next_try_goes_on() {
    let liar = about_the_large_layer(|reply, _| reply);
    let place = Place::new();
    let offer = liar.offer(&place);
    let listener = Listener {
        stop_after: 2 << 20,
        ..Listener::default()
    };
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
    // The server answers only after the look has ended.
    let error = check(
        &liar.reference(),
        &place.store,
        &options(),
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
