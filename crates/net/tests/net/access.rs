//! Passwords, tokens and TLS.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Place, anything, has, options, reference, run};
use crate::server::{Reply, Repository, Server};
use crate::tls::Authority;
use base64::Engine as _;
use elea_net::{NetError, Options, check, push};
use elea_sys::progress::Silent;
use std::fs;
use std::process::Command;

#[test]
fn passwords_are_sent_and_missing_ones_are_explained() {
    if !has("htpasswd") && Command::new("htpasswd").output().is_err() {
        return;
    }
    let line = run(Command::new("htpasswd").args(["-nbB", "user", "secret"]));
    let access = Access {
        htpasswd: Some(line.trim()),
        tls: None,
    };
    let Some(registry) = DockerRegistry::start(&access) else {
        return;
    };
    let place = Place::new();
    let image = place.system("hello", "1.0", 0);
    let to = reference(&format!("registry:{}/hello:1.0", registry.host()));
    let with = |pair: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(pair);
        let path = place.path("auth.json");
        let text = format!(
            r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#,
            registry.host()
        );
        fs::write(&path, text).unwrap();
        Options {
            auth_file: Some(path),
            ..options()
        }
    };
    let push = |options: &Options| push(&image.image, &place.store, &to, options, None, &Silent);
    let nobody = place.path("none.json");
    fs::write(&nobody, "{}").unwrap();
    let nobody = Options {
        auth_file: Some(nobody),
        ..options()
    };
    let error = push(&nobody).unwrap_err();
    assert!(
        matches!(
            error,
            NetError::Denied {
                status: 401,
                had_credentials: false,
                ..
            }
        ),
        "{error}"
    );
    let error = push(&with("user:wrong")).unwrap_err();
    assert!(
        matches!(
            error,
            NetError::Denied {
                had_credentials: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.to_string().contains("wrong"));
    let right = with("user:secret");
    push(&right).unwrap();
    let there = Place::new();
    let offer = check(&to, &there.store, &right, &anything(), None, &Silent).unwrap();
    assert_eq!(offer.image, Some(image.image));
    assert!(check(&to, &there.store, &nobody, &anything(), None, &Silent).is_err());
}

#[test]
fn tls_is_checked_against_the_given_certificates() {
    let place = Place::new();
    let Some(authority) = Authority::new(&place.path("tls"), "IP:127.0.0.1") else {
        return;
    };
    let access = Access {
        htpasswd: None,
        tls: Some((&authority.certificate, &authority.key)),
    };
    let Some(registry) = DockerRegistry::start(&access) else {
        return;
    };
    let image = place.system("hello", "1.0", 0);
    let to = reference(&format!("registry:{}/hello:1.0", registry.host()));
    let with = |file| Options {
        ca_file: Some(file),
        ..options()
    };
    let push = |options: &Options| push(&image.image, &place.store, &to, options, None, &Silent);
    push(&with(authority.root)).unwrap();
    let error = push(&with(authority.other)).unwrap_err();
    assert!(matches!(error, NetError::Connection { .. }), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let text = place.path("text");
    fs::write(&text, "no certificate").unwrap();
    assert!(matches!(
        push(&with(text)),
        Err(NetError::Certificates { .. })
    ));
    // By plain HTTP it is told to use TLS.
    assert!(push(&options()).is_err());
}

#[test]
fn a_token_is_fetched_and_used() {
    let place = Place::new();
    let layout = place.path("layout");
    let image = place.system("hello", "1.0", 0);
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    push(&image.image, &place.store, &to, &options(), None, &Silent).unwrap();
    let repository = Repository::new(&layout);
    let server = Server::start(move |asked| {
        let host = &asked.headers["host"];
        if asked.path.starts_with("/token?") {
            return Reply::new(200, "application/json", r#"{"access_token":"tok.en"}"#);
        }
        if asked.headers.get("authorization").map(String::as_str) == Some("Bearer tok.en") {
            return repository.answer(asked);
        }
        Reply::new(401, "application/json", "{}").header(
            "www-authenticate",
            format!(
                r#"Bearer realm="http://{host}/token",service="s",scope="repository:hello:pull""#
            ),
        )
    });
    let there = Place::new();
    let from = reference(&format!("registry:{}/hello:1.0", server.host()));
    there.pull(&from, &anything()).unwrap();
    // One for the look, one for the pull, however many layers come at once.
    assert_eq!(
        server.count("/token?service=s&scope=repository%3Ahello%3Apull"),
        2
    );
}
