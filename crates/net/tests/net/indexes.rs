//! Indexes: one image for each platform, and what a hostile one may hold.

use crate::fixture::{Place, anything, reference};
use crate::server::{Reply, Server};
use elea_formats::digest::Sha256;
use elea_net::NetError;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn entry(digest: &str, size: usize, architecture: &str) -> String {
    format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":{size},"platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
    )
}

fn index(entries: &[String]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{}]}}"#,
        entries.join(",")
    )
}

/// The error of a look at an index that is served, beside other documents by their digests.
fn refused(index: String, others: &[String]) -> NetError {
    let others: Vec<_> = others
        .iter()
        .map(|text| {
            (
                format!("/manifests/sha256:{}", Sha256::of(text.as_bytes())),
                text.clone(),
            )
        })
        .collect();
    let server = Server::start(move |asked| {
        let text = match others.iter().find(|(path, _)| asked.path.ends_with(path)) {
            Some((_, text)) => text,
            None if asked.path.ends_with("/manifests/1") => &index,
            None => return Reply::new(404, "application/json", "{}"),
        };
        Reply::new(200, "application/json", text.as_str())
    });
    let place = Place::new();
    let from = reference(&format!("registry:{}/hello:1", server.host()));
    place.check(&from, &anything()).unwrap_err()
}

fn ours() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[test]
fn an_index_without_this_machines_image_says_what_it_has() {
    let digest = "0".repeat(64);
    let list = [
        entry(&digest, 2, "s390x"),
        entry(&digest, 2, "mips\\u0007le"),
    ];
    let error = refused(index(&list), &[]);
    assert!(matches!(error, NetError::Platform { .. }), "{error}");
    let text = error.to_string();
    let wanted = format!(
        "has no image for linux/{}; it has linux/s390x, linux/mipsle",
        ours()
    );
    assert!(text.ends_with(&wanted), "{text}");
    let text = refused(index(&[]), &[]).to_string();
    assert!(text.ends_with("it has none at all"), "{text}");
}

#[test]
fn an_index_that_lies_or_turns_in_a_circle_is_refused() {
    let manifest = "{}".to_owned();
    let digest = Sha256::of(manifest.as_bytes()).to_string();
    let error = refused(
        index(&[entry(&digest, 3, ours())]),
        std::slice::from_ref(&manifest),
    );
    assert!(
        matches!(
            error,
            NetError::Size {
                announced: 3,
                actual: 2,
                ..
            }
        ) && error.is_verification(),
        "{error}"
    );
    // An index in an index, which might go on for ever.
    let inner = index(&[entry(&digest, 2, ours())]);
    let digest = Sha256::of(inner.as_bytes()).to_string();
    let outer = index(&[entry(&digest, inner.len(), ours())]);
    let error = refused(outer, &[inner]);
    assert!(matches!(error, NetError::Nested { .. }), "{error}");
    // Nested deeper than any document.
    let deep = format!(r#"{{"schemaVersion":2,"manifests":{}"#, "[".repeat(1 << 20));
    let error = refused(deep, &[]);
    assert!(matches!(error, NetError::Document { .. }), "{error}");
}

#[test]
fn an_index_of_a_million_entries_is_left_at_its_limit() {
    let one = entry(&"0".repeat(64), 2, "s390x");
    let huge = format!(
        r#"{{"schemaVersion":2,"manifests":[{}{one}]}}"#,
        format!("{one},").repeat(1_000_000)
    );
    let error = refused(huge, &[]);
    assert!(
        matches!(error, NetError::TooLarge { limit, .. } if limit == 4 << 20),
        "{error}"
    );
}

/// A server whose answers never end; how many bytes went out is counted.
fn endless(head: &'static str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let counted = counted.clone();
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
                request.find(|line| line.as_ref().map_or(true, String::is_empty));
                let _ = stream.write_all(head.as_bytes());
                let block = vec![b' '; 64 << 10];
                while stream.write_all(&block).is_ok() {
                    counted.fetch_add(block.len() as u64, Ordering::SeqCst);
                }
            });
        }
    });
    (host, sent)
}

#[test]
fn a_body_without_end_is_left() {
    let place = Place::new();
    let ok = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\n\r\n";
    let (host, sent) = endless(ok);
    let from = reference(&format!("registry:{host}/hello:1"));
    let error = place.check(&from, &anything()).unwrap_err();
    assert!(matches!(error, NetError::TooLarge { .. }), "{error}");
    // What is read ahead and what lies in sockets comes on top of the limit.
    assert!(sent.load(Ordering::SeqCst) < 32 << 20);
    // A token without end.
    let (realm, _) = endless(ok);
    let server = Server::start(move |_| {
        let challenge = format!(r#"Bearer realm="http://{realm}/token""#);
        Reply::new(401, "application/json", "{}").header("www-authenticate", challenge)
    });
    let from = reference(&format!("registry:{}/hello:1", server.host()));
    let error = place.check(&from, &anything()).unwrap_err();
    assert!(matches!(error, NetError::TooLarge { .. }), "{error}");
    // A head without end.
    let (host, sent) = endless("HTTP/1.1 200 X\r\nx: ");
    let from = reference(&format!("registry:{host}/hello:1"));
    let error = place.check(&from, &anything()).unwrap_err();
    assert!(matches!(error, NetError::Connection { .. }), "{error}");
    assert!(sent.load(Ordering::SeqCst) < 128 << 20);
}
