//! Pushes, and signatures that come later.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{Listener, Place, anything, key, options, reference, trusting};
use crate::server::{Asked, Reply, Server};
use base64::Engine as _;
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::oci::{Descriptor, Index, Manifest, Platform, media};
use elea_formats::signature::{self, Claims};
use elea_net::registry::Registry;
use elea_net::{NetError, Options, push, sign};
use elea_store::trust::Refusal;
use elea_sys::progress::Silent;
use std::collections::BTreeMap;

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
    let one = to.manifest(&Target::Tag("one".into()), &Silent).unwrap();
    let size = one.unwrap().bytes.len();
    let descriptor = |architecture: &str, digest| Descriptor {
        media_type: media::MANIFEST.into(),
        digest,
        size: size as u64,
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
    let push =
        |listener: &Listener| push(&image.image, &place.store, &to, &options(), None, listener);
    let listener = Listener::stopping("pushing", 1 << 20);
    let error = push(&listener).unwrap_err();
    assert!(matches!(error, NetError::Cancelled), "{error}");
    assert!(place.partial().is_empty());
    let missing = place.check(&to, &anything());
    assert!(matches!(missing, Err(NetError::NotFound { .. })));
    let listener = Listener::default();
    push(&listener).unwrap();
    let total = place.check(&to, &anything()).unwrap().total;
    assert_eq!(listener.bytes_of("pushing"), Some(total));
}

#[test]
fn a_stalled_upload_can_be_stopped() {
    let server = Server::stalling(|asked: &Asked| match asked.method.as_str() {
        "POST" => Reply::new(202, "application/json", "").header("location", "/upload"),
        _ => Reply::new(404, "application/json", "{}"),
    });
    let place = Place::new();
    let image = place.system("hello", "1.0", 0);
    let to = reference(&format!("registry:{}/hello:1.0", server.host()));
    // The first bytes are on their way, and nobody takes the rest.
    let listener = Listener::stopping("pushing", 1);
    let once = Options {
        attempts: 1,
        ..options()
    };
    let push = push(&image.image, &place.store, &to, &once, None, &listener);
    let error = push.unwrap_err();
    assert!(matches!(error, NetError::Cancelled), "{error}");
    let sent = listener.bytes_of("pushing").unwrap();
    assert!(sent > 0, "{sent}");
    assert!(place.partial().is_empty());
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

#[test]
fn a_place_that_cannot_be_reached_is_found_before_layers_are_packed() {
    let here = Place::new();
    let image = here.system("hello", "1.0", 0).image;
    let push_to = |to: &Reference| {
        let listener = Listener::default();
        let pushed = push(&image, &here.store, to, &options(), None, &listener);
        (pushed, listener.bytes_of("pack layers"))
    };
    // Nobody listens where somebody did.
    let gone = Server::start(|_| Reply::new(500, "text/plain", "")).host();
    let (error, packed) = push_to(&reference(&format!("registry:{gone}/hello:1.0")));
    assert!(
        matches!(error, Err(NetError::Connection { .. })),
        "{error:?}"
    );
    assert_eq!(packed, None);
    let layout = format!("oci:{}:1.0", here.path("layout").display());
    let (pushed, packed) = push_to(&reference(&layout));
    pushed.unwrap();
    assert!(packed > Some(0));
}
