//! A real registry, and other people's programs as witnesses.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{
    Place, anything, has, key, noise, options, reference, release, run, sha256, trusting,
};
use crate::server::{Reply, Repository, Server};
use elea_formats::chunked::Position;
use elea_formats::digest::Sha256;
use elea_formats::oci::{
    ImageConfig, LABEL_BOOTC, LABEL_FORM, LABEL_IMAGE, Manifest, VERSION, media,
};
use elea_net::{Options, check, pull, push};
use elea_store::Store;
use elea_store::export::Compression;
use elea_sys::progress::{Progress, Silent, Unit};
use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

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
    let sizes: Vec<u64> = config.payloads.iter().map(|p| p.size).collect();
    assert_eq!(sizes, [300_000]);

    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: unpacking needs root");
        return;
    }
    // The layers have tables, and what skopeo makes of them as gzip is what they hold.
    let manifest =
        run(Command::new("skopeo").args(["inspect", "--raw", "--tls-verify=false", &docker]));
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    for layer in &manifest.layers {
        assert_eq!(layer.media_type, media::LAYER_ZSTD);
        assert!(Position::of(layer).unwrap().is_some());
    }
    let unzipped = format!("dir:{}", place.path("unzipped").display());
    run(Command::new("skopeo").args([
        "copy",
        "--dest-decompress",
        "--src-tls-verify=false",
        &docker,
        &unzipped,
    ]));
    for diff_id in &config.rootfs.diff_ids {
        let tar = place.path("unzipped").join(sha256(diff_id).to_string());
        assert_eq!(Sha256::of(&fs::read(&tar).unwrap()), sha256(diff_id));
    }

    // umoci 0.4 reads gzip.
    let gzip = Options {
        compression: Some(Compression::Gzip),
        ..options()
    };
    push(&image.image, &place.store, &to, &gzip, None, &Silent).unwrap();
    let layout = place.path("layout");
    let copy = format!("oci:{}:x", layout.display());
    run(Command::new("skopeo").args(["copy", "--src-tls-verify=false", &docker, &copy]));
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
    // Whoever installs from the store that pushed need not fetch these layers again.
    let known = here.store.layers_of(&one.image).unwrap();
    assert_eq!(known.len(), first.layers);
    assert!(known.iter().all(|b| here.store.layer(b).unwrap().is_some()));
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
    assert!(pulled.fetched <= offer.missing);
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

/// Has no patience for ever.
struct Until(Instant);

impl Progress for Until {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        Instant::now() > self.0
    }
}

#[test]
fn two_pulls_that_wait_for_each_other_come_to_their_ends() {
    let source = Place::new();
    let layers = ["x", "y"].map(|name| {
        let folder = source.path(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(name), noise(name.len() as u64, 3 << 20)).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&folder).args(["-cf", "-", name]);
        tar.output().unwrap().stdout
    });
    // Of the same two layers, in one order and in the other.
    let mut documents = BTreeMap::new();
    let mut blobs = BTreeMap::new();
    for (tag, order) in [("1", [0, 1]), ("2", [1, 0])] {
        let digests = order.map(|number| Sha256::of(&layers[number]));
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{}","sha256:{}"]}}}}"#,
            digests[0], digests[1]
        );
        let describe = |kind: &str, bytes: &[u8]| {
            let (digest, size) = (Sha256::of(bytes), bytes.len());
            format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{},{}]}}"#,
            media::MANIFEST,
            describe(media::CONFIG, config.as_bytes()),
            describe("application/vnd.oci.image.layer.v1.tar", &layers[order[0]]),
            describe("application/vnd.oci.image.layer.v1.tar", &layers[order[1]]),
        );
        documents.insert(format!("/v2/hello/manifests/{tag}"), manifest);
        let mut add = |bytes: &[u8]| {
            let path = format!("/v2/hello/blobs/sha256:{}", Sha256::of(bytes));
            blobs.insert(path, bytes.to_vec());
        };
        add(config.as_bytes());
        for layer in &layers {
            add(layer);
        }
    }
    let server = Server::start(move |asked| {
        if let Some(manifest) = documents.get(&asked.path) {
            return Reply::new(200, media::MANIFEST, manifest.as_str());
        }
        let Some(blob) = blobs.get(&asked.path) else {
            return Reply::new(404, "application/json", "{}");
        };
        let mut reply = Reply::new(200, "application/octet-stream", blob.as_slice());
        // Long enough for the other one to have begun with its own first layer.
        reply.pause = Duration::from_micros(500);
        reply
    });
    let there = Place::new();
    let pull_tag = |tag: &str| {
        let from = reference(&format!("registry:{}/hello:{tag}", server.host()));
        let store = Store::open(there.store.path()).unwrap();
        let options = Options {
            parallel: 1,
            ..options()
        };
        let until = Until(Instant::now() + Duration::from_mins(1));
        let offer = check(&from, &store, &options, &anything(), None, &until).unwrap();
        pull(&offer, &store, &options, &anything(), None, &until).unwrap()
    };
    let (one, two) = std::thread::scope(|scope| {
        let (one, two) = (scope.spawn(|| pull_tag("1")), scope.spawn(|| pull_tag("2")));
        (one.join().unwrap(), two.join().unwrap())
    });
    // The same tree, and each layer came once.
    assert_eq!(one.image.image, two.image.image);
    let large = |digest: &Sha256| server.count(&format!("/blobs/sha256:{digest}"));
    for layer in &layers {
        assert_eq!(large(&Sha256::of(layer)), 1);
    }
    assert!(there.partial().is_empty(), "{:?}", there.partial());
}
