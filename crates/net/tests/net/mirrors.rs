//! Mirrors: asked first, believed in nothing, and passed over when they fail.

use crate::fixture::{Listener, Place, anything, key, options, reference, trusting};
use crate::server::{Asked, Reply, Repository, Server};
use elea_formats::digest::Digest;
use elea_formats::oci::reference::Reference;
use elea_net::{NetError, Options, Pulled, Registries, check, pull, push, sign};
use elea_store::trust::{Policy, PrivateKey};
use elea_sys::progress::Silent;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A registry with a signed image, and a mirror of it.
struct Mirrored {
    place: Place,
    image: Digest,
    key: PrivateKey,
    origin: Server,
    mirror: Server,
}

impl Mirrored {
    /// `lie` gets what the mirror is asked and its honest answer.
    fn new(lie: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let (place, key) = (Place::new(), key());
        let image = place.system("hello", "1.0", 0).image;
        let layout = place.path("layout");
        let to = reference(&format!("oci:{}:1.0", layout.display()));
        push(&image, &place.store, &to, &options(), Some(&key), &Silent).unwrap();
        let repository = Repository::new(&layout);
        let honest = repository.clone();
        Self {
            origin: Server::start(move |asked| repository.answer(asked)),
            mirror: Server::start(move |asked| lie(asked, honest.answer(asked))),
            place,
            image,
            key,
        }
    }

    fn reference(&self) -> Reference {
        reference(&format!("registry:{}/hello:1.0", self.origin.host()))
    }

    /// With the mirror at this host before the registry.
    fn by(&self, mirror: &str) -> Options {
        let file = self.place.path("registries.conf");
        let text = format!(
            "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{mirror}\"\n",
            self.origin.host()
        );
        fs::write(&file, text).unwrap();
        Options {
            registries: Registries::load(&[file]).unwrap(),
            ..options()
        }
    }

    /// Pulls by way of the mirror, into an empty store.
    fn pull(
        &self,
        options: &Options,
        policy: &Policy,
        listener: &Listener,
    ) -> Result<Pulled, NetError> {
        let there = Place::new();
        let offer = check(
            &self.reference(),
            &there.store,
            options,
            policy,
            None,
            listener,
        )?;
        pull(&offer, &there.store, options, policy, None, listener)
    }
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_for_what_it_lacks() {
    let lacks = |asked: &Asked, reply: Reply| {
        let signature = asked.path.ends_with(".sig");
        let large = asked.path.contains("/blobs/") && reply.body.len() > 1 << 20;
        if signature || large {
            return Reply::new(404, "application/json", "{}");
        }
        reply
    };
    let world = Mirrored::new(lacks);
    let (listener, policy) = (Listener::default(), trusting(&[&world.key]));
    let pulled = world
        .pull(&world.by(&world.mirror.host()), &policy, &listener)
        .unwrap();
    assert_eq!(pulled.image.image, world.image);
    assert_eq!(world.mirror.count("/manifests/1.0"), 1);
    assert_eq!(world.origin.count("/manifests/1.0"), 0);
    assert_eq!(world.origin.count(".sig"), 1);
    // The large layer, and the payload of the signature is with the mirror again.
    assert_eq!(world.origin.count("/blobs/"), 1);
    assert_eq!(listener.notes.lock().unwrap().as_slice(), [""; 0]);
}

#[test]
fn whatever_a_mirror_does_wrong_the_registry_is_asked() {
    type Lie = fn(&Asked, Reply) -> Reply;
    let lies: [Lie; 6] = [
        |_, _| Reply::new(503, "application/json", "{}"),
        |_, _| Reply::new(200, "text/html", "<html>"),
        |_, _| Reply::new(307, "application/json", "").header("location", "file:///etc/passwd"),
        |_, _| Reply::new(200, "application/json", vec![b' '; 5 << 20]),
        // Other bytes in its blobs, and blobs that break off.
        |asked, mut reply| {
            if let (true, Some(byte)) = (asked.path.contains("/blobs/"), reply.body.last_mut()) {
                *byte ^= 1;
            }
            reply
        },
        |asked, mut reply| {
            let half = reply.body.len() / 2;
            reply.cut = asked.path.contains("/blobs/").then_some(half);
            reply
        },
    ];
    let mode = Arc::new(AtomicUsize::new(0));
    let now = mode.clone();
    let world = Mirrored::new(move |asked, reply| lies[now.load(Ordering::SeqCst)](asked, reply));
    for lie in 0..lies.len() {
        mode.store(lie, Ordering::SeqCst);
        let (listener, before) = (Listener::default(), world.mirror.asked().len());
        let options = world.by(&world.mirror.host());
        let pulled = world
            .pull(&options, &trusting(&[&world.key]), &listener)
            .unwrap_or_else(|e| panic!("{lie}: {e}"));
        assert_eq!(pulled.image.image, world.image);
        // Not again and again: the documents of the look, and once by each of three workers.
        let asked = world.mirror.asked().split_off(before);
        assert!(asked.len() <= 8, "{lie}: {asked:?}");
        let notes = listener.notes.lock().unwrap();
        assert!(
            notes.iter().any(|n| n.contains("is passed over")),
            "{notes:?}"
        );
    }
    // One that is not there at all.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = free.local_addr().unwrap().to_string();
    drop(free);
    world
        .pull(&world.by(&gone), &anything(), &Listener::default())
        .unwrap();
    // If the registry fails too, its own error is the one that counts.
    let options = Options {
        registries: world.by(&gone).registries,
        attempts: 1,
        ..options()
    };
    let missing = reference(&format!("registry:{}/other:1.0", world.origin.host()));
    let place = Place::new();
    let error = check(&missing, &place.store, &options, &anything(), None, &Silent).unwrap_err();
    assert!(matches!(error, NetError::NotFound { .. }), "{error}");
}

#[test]
fn what_a_mirror_changes_is_found_out() {
    // Another manifest under the tag: valid, and signed by nobody.
    let other = |asked: &Asked, mut reply: Reply| {
        if asked.path.contains("/manifests/1.0") {
            reply.body.push(b' ');
        }
        reply
    };
    let world = Mirrored::new(other);
    let options = world.by(&world.mirror.host());
    let error = world
        .pull(&options, &trusting(&[&world.key]), &Listener::default())
        .unwrap_err();
    assert!(error.is_verification(), "{error}");
}

#[test]
fn signatures_go_to_the_registry_itself() {
    let world = Mirrored::new(|_, reply| reply);
    let options = world.by(&world.mirror.host());
    // That server takes no uploads; it is enough to see who was asked.
    sign(&world.reference(), &options, &key(), None, &Silent).unwrap_err();
    assert!(
        world
            .origin
            .asked()
            .iter()
            .any(|asked| asked.method == "POST")
    );
    assert!(world.mirror.asked().is_empty());
}

#[test]
fn what_is_blocked_is_not_asked_for() {
    let world = Mirrored::new(|_, reply| reply);
    let file = world.place.path("registries.conf");
    let text = format!(
        "[[registry]]\nprefix = \"{}/hello\"\nblocked = true\n",
        world.origin.host()
    );
    fs::write(&file, text).unwrap();
    let options = Options {
        registries: Registries::load(&[file]).unwrap(),
        ..options()
    };
    let error = world
        .pull(&options, &anything(), &Listener::default())
        .unwrap_err();
    assert!(matches!(error, NetError::Blocked { .. }), "{error}");
    assert!(world.origin.asked().is_empty());
}
