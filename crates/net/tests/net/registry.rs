//! A real registry, and other people's programs as witnesses.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{
    Listener, Place, anything, has, key, options, reference, release, run, sha256, trusting,
};
use crate::server::{Asked, Reply, Repository, Server};
use base64::Engine as _;
use elea_formats::oci::reference::Reference;
use elea_formats::oci::{Descriptor, Index, Manifest, Platform, media};
use elea_formats::oci::{ImageConfig, LABEL_BOOTC, LABEL_FORM, LABEL_IMAGE, VERSION};
use elea_formats::signature::{self, Claims};
use elea_net::registry::Registry;
use elea_net::{NetError, Options, check, pull, push, sign};
use elea_store::Store;
use elea_store::trust::Refusal;
use elea_sys::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

#[test]
fn skopeo_and_umoci_read_what_was_pushed() {
    if !has("skopeo") || !has("umoci") {
        return;
    }
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let place = Place::new();
    let image = place.system("hello", "1.0", 7);
    let name = format!("{}/a/hello:1.0", registry.host());
    let to = reference(&format!("registry:{name}"));
    let pushed = push(
        &image.image,
        &place.store,
        &to,
        &options(),
        Some(&key()),
        &Silent,
    )
    .unwrap();

    let docker = format!("docker://{name}");
    let said = run(Command::new("skopeo").args(["inspect", "--tls-verify=false", &docker]));
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(sha256(said["Digest"].as_str().unwrap()), pushed.manifest);
    assert_eq!(said["Architecture"], "amd64");
    let labels = &said["Labels"];
    assert_eq!(labels[LABEL_BOOTC], "1");
    assert_eq!(labels[LABEL_IMAGE], image.image.to_string());
    assert_eq!(labels[LABEL_FORM], "os-1");
    assert_eq!(labels[VERSION], "1.0");
    let config = run(Command::new("skopeo").args([
        "inspect",
        "--config",
        "--raw",
        "--tls-verify=false",
        &docker,
    ]));
    let config = ImageConfig::parse(config.as_bytes()).unwrap();
    assert_eq!(config.release, Some(release("hello", "1.0", 7)));
    assert_eq!(config.history.len(), pushed.layers);

    let layout = place.path("layout");
    let copy = format!("oci:{}:x", layout.display());
    run(Command::new("skopeo").args(["copy", "--src-tls-verify=false", &docker, &copy]));
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: unpacking needs root");
        return;
    }
    let bundle = place.path("bundle");
    let image_of = format!("{}:x", layout.display());
    run(Command::new("umoci")
        .args(["unpack", "--image", &image_of])
        .arg(&bundle));
    let unpacked = Place::new().import(&bundle.join("rootfs"));
    assert_eq!(unpacked.image, image.image);
}

#[test]
fn a_second_release_brings_only_what_changed() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let (here, there) = (Place::new(), Place::new());
    let key = key();
    let policy = trusting(&[&key]);
    let (one, two) = (
        here.system("hello", "1.0", 0),
        here.system("hello", "2.0", 0),
    );
    let to = |tag: &str| reference(&format!("registry:{}/hello:{tag}", registry.host()));
    let put = |image, tag| {
        push(
            image,
            &here.store,
            &to(tag),
            &options(),
            Some(&key),
            &Silent,
        )
        .unwrap()
    };
    let first = put(&one.image, "1.0");
    assert_eq!(first.present, 0);
    let second = put(&two.image, "2.0");
    assert!(
        second.present > 5 << 20 && second.uploaded < 1 << 20,
        "{second:?}"
    );
    let again = put(&two.image, "2.0");
    assert_eq!((again.manifest, again.uploaded), (second.manifest, 0));

    let pulled = there.pull(&to("1.0"), &policy).unwrap();
    assert_eq!(pulled.image.image, one.image);
    assert_eq!(
        (pulled.layers_fetched, pulled.layers_reused),
        (first.layers, 0)
    );
    let offer = there.check(&to("2.0"), &policy).unwrap();
    assert!(
        offer.missing < 1 << 20 && offer.total > 5 << 20,
        "{offer:?}"
    );
    let pulled = there.pull(&to("2.0"), &policy).unwrap();
    assert_eq!(pulled.image.image, two.image);
    assert_eq!(pulled.fetched, offer.missing);
    assert!(pulled.layers_reused > 0 && pulled.layers_fetched < second.layers);
    // The same store's images are pushed again under the same digest from elsewhere.
    let moved = push(
        &two.image,
        &there.store,
        &to("moved"),
        &options(),
        Some(&key),
        &Silent,
    )
    .unwrap();
    assert_eq!((moved.manifest, moved.uploaded), (second.manifest, 0));
}

#[test]
fn requests_are_no_more_than_needed() {
    let place = Place::new();
    let layout = place.path("layout");
    for version in ["1.0", "2.0"] {
        let image = place.system("hello", version, 0);
        let to = reference(&format!("oci:{}:{version}", layout.display()));
        push(&image.image, &place.store, &to, &options(), None, &Silent).unwrap();
    }
    let repository = Repository::new(&layout);
    let server = Server::start(move |asked| repository.answer(asked));
    let there = Place::new();
    let from = |tag: &str| reference(&format!("registry:{}/hello:{tag}", server.host()));
    let first = there.pull(&from("1.0"), &anything()).unwrap();
    // One more is the config.
    assert_eq!(server.count("/blobs/"), first.layers_fetched + 1);
    let second = there.pull(&from("2.0"), &anything()).unwrap();
    assert_eq!(
        server.count("/blobs/"),
        first.layers_fetched + second.layers_fetched + 2
    );
    let before = server.count("/blobs/");
    there.pull(&from("2.0"), &anything()).unwrap();
    assert_eq!(server.count("/blobs/"), before + 1);
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .all(|a| !a.headers.contains_key("authorization"))
    );
}

#[test]
fn two_pulls_at_once_share_what_comes() {
    let source = Place::new();
    let layout = source.path("layout");
    let image = source.system("hello", "1.0", 0);
    let to = reference(&format!("oci:{}:1.0", layout.display()));
    let pushed = push(&image.image, &source.store, &to, &options(), None, &Silent).unwrap();
    let repository = Repository::new(&layout);
    let server = Server::start(move |asked| {
        let mut reply = repository.answer(asked);
        if reply.body.len() > 1 << 20 {
            // Long enough for the other one to come.
            reply.pause = Duration::from_micros(100);
        }
        reply
    });
    let from = reference(&format!("registry:{}/hello:1.0", server.host()));
    let there = Place::new();
    let one_pull = || {
        let store = Store::open(there.store.path()).unwrap();
        let offer = check(&from, &store, &options(), &anything(), None, &Silent).unwrap();
        pull(&offer, &store, &options(), &anything(), None, &Silent).unwrap()
    };
    let (one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(one_pull), scope.spawn(one_pull));
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_eq!(
        (one.image.image, two.image.image),
        (image.image, image.image)
    );
    let large: u64 = 5 << 20;
    assert!(one.fetched.min(two.fetched) < large && one.fetched.max(two.fetched) > large);
    assert!(there.partial().is_empty(), "{:?}", there.partial());
    assert!(pushed.layers > 0);
}

#[test]
fn an_index_gives_this_machines_image_and_its_signature_counts() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let (here, there) = (Place::new(), Place::new());
    let (key, image) = (key(), here.system("hello", "1.0", 0));
    let at = |what: &str| reference(&format!("registry:{}/hello{what}", registry.host()));
    let pushed = push(
        &image.image,
        &here.store,
        &at(":one"),
        &options(),
        None,
        &Silent,
    )
    .unwrap();
    let Reference::Registry(location) = at(":all") else {
        panic!("a registry")
    };
    let to = Registry::new(&location, &options()).unwrap();
    let descriptor = |architecture: &str, digest| Descriptor {
        media_type: media::MANIFEST.into(),
        digest,
        size: 1000,
        annotations: BTreeMap::new(),
        platform: Some(Platform {
            os: "linux".into(),
            architecture: architecture.into(),
        }),
    };
    let index = |manifests| Index {
        schema_version: 2,
        media_type: Some(media::INDEX.into()),
        manifests,
    };
    let put = |tag, index: &Index| to.put_manifest(tag, media::INDEX, &index.encode(), &Silent);
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let all = put("all", &index(vec![descriptor(ours, pushed.manifest)])).unwrap();
    put("other", &index(vec![descriptor("s390x", pushed.manifest)])).unwrap();
    let policy = trusting(&[&key]);
    let error = there.check(&at(":other"), &policy).unwrap_err();
    assert!(matches!(error, NetError::Platform { .. }), "{error}");
    let error = there.check(&at(":all"), &policy).unwrap_err();
    assert!(
        matches!(error, NetError::Refused(Refusal::Unsigned { .. })),
        "{error}"
    );
    // A signature of the index, as `cosign sign` of an index makes it.
    let payload = signature::encode(&Claims {
        repository: location.repository(),
        manifest: all,
        elea: None,
    });
    let signed = key.sign(&payload).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(signed);
    let digest = to.put_bytes(&payload, &Silent).unwrap();
    let config = to.put_bytes(b"{}", &Silent).unwrap();
    let small = |kind: &str, digest, size: usize, annotations| Descriptor {
        media_type: kind.into(),
        digest,
        size: size as u64,
        annotations,
        platform: None,
    };
    let annotations = BTreeMap::from([(signature::ANNOTATION.to_owned(), text)]);
    let list = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.into()),
        config: small(media::CONFIG, config, 2, BTreeMap::new()),
        layers: vec![small(
            media::SIMPLE_SIGNING,
            digest,
            payload.len(),
            annotations,
        )],
        annotations: BTreeMap::new(),
    };
    to.put_manifest(
        &format!("sha256-{all}.sig"),
        media::MANIFEST,
        &list.encode(),
        &Silent,
    )
    .unwrap();
    let pulled = there.pull(&at(":all"), &policy).unwrap();
    assert_eq!(pulled.image.image, image.image);
    assert_eq!(there.store.signatures(&image.image).unwrap().len(), 1);
}

#[test]
fn a_push_can_be_stopped_and_tried_again() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let place = Place::new();
    let image = place.system("hello", "1.0", 0);
    let to = reference(&format!("registry:{}/hello:1.0", registry.host()));
    let listener = Listener {
        stop_after: 1,
        ..Listener::default()
    };
    let error = push(&image.image, &place.store, &to, &options(), None, &listener).unwrap_err();
    assert!(matches!(error, NetError::Cancelled), "{error}");
    assert!(place.partial().is_empty());
    assert!(matches!(
        place.check(&to, &anything()),
        Err(NetError::NotFound { .. })
    ));
    push(&image.image, &place.store, &to, &options(), None, &Silent).unwrap();
    place.check(&to, &anything()).unwrap();
}

#[test]
fn the_tag_moves_after_the_signature_is_served() {
    let place = Place::new();
    let image = place.system("hello", "1.0", 0);
    // Takes everything and keeps no signature.
    let server = Server::start(|asked: &Asked| match asked.method.as_str() {
        "HEAD" => Reply::new(200, "application/octet-stream", ""),
        "PUT" => Reply::new(201, "application/json", ""),
        _ => Reply::new(404, "application/json", "{}"),
    });
    let to = reference(&format!("registry:{}/hello:1.0", server.host()));
    let error = push(
        &image.image,
        &place.store,
        &to,
        &options(),
        Some(&key()),
        &Silent,
    )
    .unwrap_err();
    assert!(
        matches!(&error, NetError::Served { what, served: None, .. } if what.contains("sha256-")),
        "{error}"
    );
    let puts: Vec<_> = server
        .asked()
        .into_iter()
        .filter(|a| a.method == "PUT")
        .collect();
    assert_eq!(puts.len(), 1);
    assert!(puts[0].path.contains("/manifests/sha256-"), "{puts:?}");
}

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
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: no openssl");
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.path(name);
    let openssl = |arguments: &str, files: &[(&str, &str)]| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' '));
        for (option, file) in files {
            command.arg(option).arg(at(file));
        }
        run(&mut command);
    };
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for name in ["ca", "other"] {
        openssl(
            &format!("req -x509 {ec} -days 2 -subj /CN={name}"),
            &[
                ("-keyout", &format!("{name}.key")),
                ("-out", &format!("{name}.pem")),
            ],
        );
    }
    openssl(
        &format!("req {ec} -subj /CN=127.0.0.1"),
        &[("-keyout", "server.key"), ("-out", "server.csr")],
    );
    fs::write(at("extensions"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -days 2 -CAcreateserial",
        &[
            ("-in", "server.csr"),
            ("-CA", "ca.pem"),
            ("-CAkey", "ca.key"),
            ("-extfile", "extensions"),
            ("-out", "server.pem"),
        ],
    );
    let access = Access {
        htpasswd: None,
        tls: Some((&at("server.pem"), &at("server.key"))),
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
    push(&with(at("ca.pem"))).unwrap();
    let error = push(&with(at("other.pem"))).unwrap_err();
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

#[test]
fn an_image_is_signed_later_by_several_keys() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let (here, there) = (Place::new(), Place::new());
    let image = here.system("hello", "1.0", 3);
    let to = reference(&format!("registry:{}/hello:1.0", registry.host()));
    let pushed = push(&image.image, &here.store, &to, &options(), None, &Silent).unwrap();
    let (old, new) = (key(), key());
    assert!(there.check(&to, &trusting(&[&old])).is_err());
    for key in [&old, &new] {
        let signed = sign(&to, &options(), key, None, &Silent).unwrap();
        assert!(signed.added);
        assert_eq!(signed.claims.manifest, pushed.manifest);
        assert_eq!(signed.claims.elea.unwrap().image, image.image);
    }
    assert!(!sign(&to, &options(), &old, None, &Silent).unwrap().added);
    for key in [&old, &new] {
        let offer = there.check(&to, &trusting(&[key])).unwrap();
        assert_eq!(offer.image, Some(image.image));
    }
    // Pushing again keeps them.
    push(
        &image.image,
        &here.store,
        &to,
        &options(),
        Some(&key()),
        &Silent,
    )
    .unwrap();
    there.pull(&to, &trusting(&[&old])).unwrap();
}
