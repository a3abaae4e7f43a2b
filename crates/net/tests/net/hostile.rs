//! A server that lies, stalls or fails: each time a clear error, nothing in the store, and another
//! try that works.

use crate::fixture::{Listener, Place, anything, key, options, reference, trusting};
use crate::server::{Asked, Reply, Repository, Server};
use elea_net::{NetError, Options, check, pull, push};
use elea_sys::progress::Silent;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::liar::{Liar, about_the_large_layer};

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
