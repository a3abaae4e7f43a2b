//! Layers that come in part: only what the store lacks travels, and what comes is what the whole would have been.

use crate::docker_registry::{Access, DockerRegistry};
use crate::fixture::{
    Listener, Place, anything, has, noise, options, reference, run, write_system,
};
use crate::repair::flip;
use crate::server::{Asked, Reply, Repository, Server};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::oci::reference::Reference;
use elea_net::{Options, check, pull, push, repair};
use elea_store::export::Compression;
use elea_store::{Check, Store};
use elea_sys::progress::Silent;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of each of the files that no package owns: they are in one layer.
const SIZE: usize = 100_000;
const FILES: u64 = 20;

/// A system with many files in one layer, of which one differs between two versions.
pub(crate) fn release(place: &Place, version: &str) -> Digest {
    let root = place.path(&format!("many-{version}"));
    write_system(&root, "hello", version, 0);
    let folder = root.join("usr/lib/many");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..FILES {
        let seed = match (number, version) {
            (7, "2.0") => 1000,
            _ => 100 + number,
        };
        fs::write(folder.join(number.to_string()), noise(seed, SIZE)).unwrap();
    }
    run(Command::new("touch")
        .args(["-d", "@1700000000"])
        .arg(&folder));
    let mut files = Command::new("sh");
    files.args(["-c", r#"touch -d @1700000000 "$1"/*"#, "sh"]);
    run(files.arg(&folder));
    place.import(&root).image
}

fn chunked() -> Options {
    Options {
        compression: Some(Compression::Chunked),
        ..options()
    }
}

/// Two releases in a layout that a server serves, and what it is told to do otherwise.
struct Served {
    server: Server,
    place: Place,
    one: Digest,
    two: Digest,
}

impl Served {
    fn new(lie: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let place = Place::new();
        let (one, two) = (release(&place, "1.0"), release(&place, "2.0"));
        let layout = place.path("layout");
        for (image, tag) in [(&one, "1.0"), (&two, "2.0")] {
            let to = reference(&format!("oci:{}:{tag}", layout.display()));
            push(image, &place.store, &to, &chunked(), None, &Silent).unwrap();
        }
        let repository = Repository::new(&layout);
        Self {
            server: Server::start(move |asked| lie(asked, repository.answer(asked))),
            place,
            one,
            two,
        }
    }

    fn at(&self, tag: &str) -> Reference {
        reference(&format!("registry:{}/hello:{tag}", self.server.host()))
    }

    /// A store that has the first release.
    fn follower(&self) -> Place {
        let place = Place::new();
        let pulled = place.pull(&self.at("1.0"), &anything()).unwrap();
        assert_eq!(pulled.image.image, self.one);
        place.store.set_ref("hello", &self.one).unwrap();
        place
    }

    /// The bytes that the second release costs who has the first, and what was noted meanwhile.
    fn second(&self, place: &Place) -> (u64, Vec<String>) {
        let listener = Listener::default();
        let (to, policy) = (self.at("2.0"), anything());
        let offer = check(&to, &place.store, &options(), &policy, None, &listener).unwrap();
        let pulled = pull(&offer, &place.store, &options(), &policy, None, &listener).unwrap();
        assert_eq!(pulled.image.image, self.two);
        assert!(place.partial().is_empty());
        assert_same_records(&place.store, &self.place.store, &self.two);
        let notes = listener.notes.lock().unwrap().clone();
        (pulled.fetched, notes)
    }
}

/// What two stores wrote down of an image's layers is the same.
fn assert_same_records(one: &Store, other: &Store, image: &Digest) {
    let layers = one.layers_of(image).unwrap();
    assert_eq!(layers, other.layers_of(image).unwrap());
    for layer in layers {
        let record = |store: &Store| {
            fs::read(store.path().join(format!("manifests/layers/{layer}"))).unwrap()
        };
        assert!(record(one) == record(other), "{layer}");
    }
}

/// The bytes of a file that is missing, and of the tables: far less than the layer.
fn assert_in_part(fetched: u64) {
    let file = SIZE as u64;
    assert!((file..2 * file).contains(&fetched), "{fetched}");
}

fn assert_whole(fetched: u64) {
    assert!(fetched > FILES * SIZE as u64, "{fetched}");
}

#[test]
fn a_real_registry_gives_only_what_is_missing() {
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let here = Place::new();
    let (one, two) = (release(&here, "1.0"), release(&here, "2.0"));
    let at = |tag: &str| reference(&format!("registry:{}/hello:{tag}", registry.host()));
    for (image, tag) in [(&one, "1.0"), (&two, "2.0")] {
        push(image, &here.store, &at(tag), &options(), None, &Silent).unwrap();
    }
    let there = Place::new();
    let first = there.pull(&at("1.0"), &anything()).unwrap();
    assert_eq!(
        first.fetched,
        there.check(&at("1.0"), &anything()).unwrap().total
    );
    let offer = there.check(&at("2.0"), &anything()).unwrap();
    let listener = Listener::default();
    let pulled = pull(
        &offer,
        &there.store,
        &options(),
        &anything(),
        None,
        &listener,
    )
    .unwrap();
    assert_eq!(pulled.image.image, two);
    assert_in_part(pulled.fetched);
    // The bar ends where it should.
    assert_eq!(listener.bytes_of("fetching"), Some(offer.missing));
    assert_eq!(*listener.notes.lock().unwrap(), Vec::<String>::new());
    assert_same_records(&there.store, &here.store, &two);
    assert_eq!(there.store.fsck(&Silent).unwrap().findings, []);

    // A store that knows no layers, only a folder's files, gets as little.
    let folder = Place::new();
    release(&folder, "1.0");
    let pulled = folder.pull(&at("2.0"), &anything()).unwrap();
    assert!(pulled.fetched < 5 * SIZE as u64, "{}", pulled.fetched);
}

/// A system whose large file has a few bytes more in the second version, and a few others.
pub(crate) fn grown(place: &Place, version: &str) -> Digest {
    let root = place.path(&format!("grown-{version}"));
    write_system(&root, "hello", version, 0);
    let data = root.join("usr/lib/big/data");
    let mut bytes = fs::read(&data).unwrap();
    if version == "2.0" {
        bytes.splice(1_000_000..1_000_000, *b"something more");
        bytes[4_000_000..4_000_100].fill(7);
    }
    fs::write(&data, bytes).unwrap();
    run(Command::new("touch").args(["-d", "@1700000000"]).arg(&data));
    place.import(&root).image
}

#[test]
fn of_a_large_file_only_chunks_come() {
    let place = Place::new();
    let (one, two) = (grown(&place, "1.0"), grown(&place, "2.0"));
    let layout = place.path("layout");
    for (image, tag) in [(&one, "1.0"), (&two, "2.0")] {
        let to = reference(&format!("oci:{}:{tag}", layout.display()));
        push(image, &place.store, &to, &chunked(), None, &Silent).unwrap();
    }
    let repository = Repository::new(&layout);
    let served = Served {
        server: Server::start(move |asked| repository.answer(asked)),
        place,
        one,
        two,
    };
    let follower = served.follower();
    let (fetched, notes) = served.second(&follower);
    assert!((100_000..800_000).contains(&fetched), "{fetched}");
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(follower.store.fsck(&Silent).unwrap().findings, []);

    // Chunks of a file that is damaged are not what they should be.
    let follower = served.follower();
    flip(&follower.store.object_path(&large(&follower.store)));
    let (fetched, _) = served.second(&follower);
    assert!((100_000..1_200_000).contains(&fetched), "{fetched}");
}

/// The largest object.
fn large(store: &Store) -> Digest {
    let image = store.images().unwrap()[0].image;
    let objects = store.objects_of(&image).unwrap();
    let largest = objects.into_iter().max_by_key(|(_, size)| *size);
    largest.unwrap().0
}

#[test]
fn what_cannot_come_in_part_comes_whole() {
    let served = Served::new(|_, reply| reply);
    let (fetched, notes) = served.second(&served.follower());
    assert_in_part(fetched);
    assert_eq!(notes, Vec::<String>::new());

    // A server that knows no ranges.
    let plain = Served::new(|asked, reply| {
        if asked.headers.contains_key("range") {
            return Reply::new(416, "application/octet-stream", "");
        }
        reply
    });
    let (fetched, notes) = plain.second(&plain.follower());
    assert_whole(fetched);
    assert!(notes[0].contains("gives no parts"), "{notes:?}");

    // A server whose ranges begin elsewhere.
    let shifted = Served::new(|asked, mut reply| {
        if asked.headers.contains_key("range") {
            reply.headers.retain(|(name, _)| name != "content-range");
            return reply.header("content-range", "bytes 0-1/9");
        }
        reply
    });
    let (fetched, notes) = shifted.second(&shifted.follower());
    assert_whole(fetched);
    assert!(notes[0].contains("gives no parts"), "{notes:?}");
}

#[test]
fn other_bytes_in_a_part_are_found() {
    // The table, the tar-split, then a content: each time another one is damaged.
    for (damaged, said) in [
        (0, "its table has another checksum"),
        (1, "its tar-split has another checksum"),
        (2, "is not what its table says"),
    ] {
        let count = AtomicUsize::new(0);
        let liar = Served::new(move |asked, mut reply| {
            if asked.headers.contains_key("range")
                && count.fetch_add(1, Ordering::SeqCst) == damaged
            {
                // The content that is missing is in the middle of what comes with it.
                let middle = reply.body.len() / 2;
                reply.body[middle] ^= 1;
            }
            reply
        });
        let (fetched, notes) = liar.second(&liar.follower());
        assert_whole(fetched);
        assert!(notes.iter().any(|note| note.contains(said)), "{notes:?}");
    }
}

#[test]
fn a_part_that_breaks_off_goes_on_where_it_was() {
    let count = AtomicUsize::new(0);
    let served = Served::new(move |asked, mut reply| {
        if asked.headers.contains_key("range")
            && reply.body.len() > SIZE / 2
            && count.fetch_add(1, Ordering::SeqCst) < 2
        {
            reply.cut = Some(20_000);
        }
        reply
    });
    let place = served.follower();
    let (fetched, _) = served.second(&place);
    assert_in_part(fetched);
    let mut starts: Vec<u64> = served
        .server
        .asked()
        .iter()
        .filter_map(|asked| {
            let (start, _) = asked.headers.get("range")?["bytes=".len()..].split_once('-')?;
            start.parse().ok()
        })
        .collect();
    let last = starts.pop().unwrap();
    assert_eq!(starts.pop(), Some(last - 20_000));
    assert_eq!(starts.pop(), Some(last - 40_000));
}

#[test]
fn a_local_file_that_is_damaged_is_fetched_too() {
    let served = Served::new(|_, reply| reply);
    let place = served.follower();
    let damaged = object(&place.store, &noise(103, SIZE));
    flip(&damaged);
    let (fetched, notes) = served.second(&place);
    assert!(
        fetched > 2 * SIZE as u64 && fetched < 3 * SIZE as u64,
        "{fetched}"
    );
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(place.store.fsck(&Silent).unwrap().findings, []);
}

#[test]
fn a_repair_fetches_the_damaged_file_alone() {
    let served = Served::new(|_, reply| reply);
    let place = served.follower();
    let damaged = object(&place.store, &noise(103, SIZE));
    flip(&damaged);
    let (did, check): (_, Check) = repair(&place.store, None, &options(), &Silent).unwrap();
    assert_eq!((check.findings, did.failed), (vec![], vec![]));
    assert_eq!(did.done[0].path, damaged);
    assert_in_part(did.fetched);
}

#[test]
fn a_pull_that_was_stopped_goes_on_with_what_came() {
    let stop = Arc::new(AtomicUsize::new(0));
    let served = Served::new({
        let stop = stop.clone();
        move |asked, reply| {
            let large = reply.body.len() > SIZE / 2;
            if asked.headers.contains_key("range") && large && stop.load(Ordering::SeqCst) == 1 {
                // The second of two contents.
                stop.store(2, Ordering::SeqCst);
            } else if large && stop.load(Ordering::SeqCst) == 2 {
                return Reply::new(500, "application/json", "");
            }
            reply
        }
    });
    let place = served.follower();
    // Two contents are missing, far from each other.
    fs::remove_file(object(&place.store, &noise(116, SIZE))).unwrap();
    stop.store(1, Ordering::SeqCst);
    assert!(place.pull(&served.at("2.0"), &anything()).is_err());
    stop.store(0, Ordering::SeqCst);
    let (fetched, _) = served.second(&place);
    assert_in_part(fetched);
}

#[test]
fn skopeos_tables_say_what_ours_say() {
    if !has("skopeo") || !has("zstd") {
        return;
    }
    let Some(registry) = DockerRegistry::start(&Access::default()) else {
        return;
    };
    let place = Place::new();
    let image = release(&place, "1.0");
    let name = |name: &str| format!("{}/{name}:1.0", registry.host());
    let ours = reference(&format!("registry:{}", name("ours")));
    push(&image, &place.store, &ours, &options(), None, &Silent).unwrap();
    let layout = format!("oci:{}:1.0", place.path("layout").display());
    push(
        &image,
        &place.store,
        &reference(&layout),
        &options(),
        None,
        &Silent,
    )
    .unwrap();
    run(Command::new("skopeo").args([
        "copy",
        "--dest-tls-verify=false",
        "--dest-compress-format=zstd:chunked",
        &layout,
        &format!("docker://{}", name("theirs")),
    ]));
    let tables = |image: &str| tables(&place, image, &name(image));
    let (ours, theirs) = (tables("ours"), tables("theirs"));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
}

/// The entries of the tables of an image's layers, without the places of contents, which differ with the
/// packing, and without chunks, which only others make.
fn tables(place: &Place, image: &str, name: &str) -> Vec<Vec<serde_json::Value>> {
    let layout = place.path(&format!("{image}-layout"));
    run(Command::new("skopeo").args([
        "copy",
        "--src-tls-verify=false",
        &format!("docker://{name}"),
        &format!("oci:{}:x", layout.display()),
    ]));
    let from = reference(&format!("registry:{name}"));
    let offer = place.check(&from, &anything()).unwrap();
    let layers = offer.layers.iter().map(|layer| {
        // skopeo 1.9 has another prefix.
        let mut places = layer.annotations.iter();
        let position = places.find(|(name, _)| name.ends_with("zstd-chunked.manifest-position"));
        let (_, position) = position.unwrap();
        let numbers: Vec<usize> = position.split(':').map(|n| n.parse().unwrap()).collect();
        let blob = fs::read(layout.join(format!("blobs/sha256/{}", layer.digest))).unwrap();
        let packed = place.path("table.zst");
        fs::write(&packed, &blob[numbers[0]..numbers[0] + numbers[1]]).unwrap();
        let table = run(Command::new("zstd").args(["-d", "-c", "-q"]).arg(&packed));
        let mut table: serde_json::Value = serde_json::from_str(&table).unwrap();
        let mut entries = table["entries"].as_array_mut().unwrap().clone();
        entries.retain(|entry| entry["type"] != "chunk");
        for entry in &mut entries {
            let entry = entry.as_object_mut().unwrap();
            for place in [
                "offset",
                "endOffset",
                "chunkSize",
                "chunkOffset",
                "chunkDigest",
                "accesstime",
                "changetime",
            ] {
                entry.remove(place);
            }
        }
        entries
    });
    layers.collect()
}

/// Where a content is an object.
fn object(store: &Store, content: &[u8]) -> PathBuf {
    store.object_path(&elea_formats::verity::measure(Algorithm::Sha256, content))
}
