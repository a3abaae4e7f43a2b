//! Several processes at once: imports, pulls, mounts, changes of names and collections.
//!
//! `ELEA_TOGETHER` is how many times each does its work (40 if it is not set).

use crate::mounts::in_namespace;
use crate::sample::{import, origin};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_store::{Origin, Store};
use elea_sys::mount::detach;
use elea_sys::progress::{Progress, Silent, Unit};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const PLACE: &str = "ELEA_TOGETHER_PLACE";
const WORK: &str = "ELEA_TOGETHER_WORK";
/// How many folders there are, and what each shares with its neighbours.
const FOLDERS: u64 = 6;

/// Not a test by itself: one of the processes.
#[test]
fn child() {
    let (Some(place), Ok(work)) = (std::env::var_os(PLACE), std::env::var(WORK)) else {
        return;
    };
    let place = PathBuf::from(place);
    let mut dice = Dice(u64::from(std::process::id()) * 2 + 1);
    let store = Store::open(&place.join("store")).unwrap();
    let times: usize = std::env::var("ELEA_TOGETHER").map_or(40, |times| times.parse().unwrap());
    match work.as_str() {
        "gc" => {
            // To the end of the others.
            while !place.join("over").exists() {
                store.gc(&[], false, &Silent).unwrap();
                dice.pause();
            }
        }
        "mount" => in_namespace(move |dir| {
            for _ in 0..times {
                mount(&store, dir);
                dice.pause();
            }
        }),
        name => {
            for _ in 0..times {
                let folder = place.join(dice.roll(FOLDERS).to_string());
                let layer = (name == "pull").then(|| folder.with_extension("tar"));
                bring(&store, name, &folder, layer.as_deref(), &mut dice);
            }
        }
    }
}

/// An image that stays is mounted, and all of it is there.
fn mount(store: &Store, dir: &Path) {
    let target = dir.join("target");
    fs::create_dir_all(&target).unwrap();
    let image = store.refs().unwrap()["stays"];
    store.mount(&image, &target).unwrap();
    for file in 0..8 {
        let read = fs::read(target.join(file.to_string())).unwrap();
        assert_eq!(read.len(), 5000);
    }
    detach(&target).unwrap();
}

/// Brings a folder in, names it, looks whether all of it is there, and sometimes takes the name away.
fn bring(store: &Store, name: &str, folder: &Path, layer: Option<&Path>, dice: &mut Dice) {
    let lease = store.lease(name).unwrap();
    let mut origin = origin();
    let tree = match layer {
        None => import(store, folder),
        Some(path) => {
            let layer = layer_of(store, path, &mut origin);
            store.assemble(&[layer]).unwrap()
        }
    };
    dice.pause();
    let image = store.seal(tree, Form::Os1, &origin).unwrap().image;
    dice.pause();
    store.set_ref(name, &image).unwrap();
    drop(lease);
    dice.pause();
    is_whole(store, &image);
    if dice.roll(3) == 0 {
        assert!(store.remove_ref(name).unwrap());
    }
}

fn layer_of(store: &Store, path: &Path, origin: &mut Origin) -> elea_store::layer::Layer {
    let bytes = fs::read(path).unwrap();
    let blob = Sha256::of(&bytes);
    origin.layers.push(blob);
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    store.layer(&blob).unwrap().unwrap_or_else(|| {
        store
            .import_layer(&blob, media_type, &bytes[..], &Silent)
            .unwrap()
    })
}

/// The image can be read with all that it names.
fn is_whole(store: &Store, image: &Digest) {
    assert_eq!(store.image(image).unwrap().image, *image);
    for object in store.objects_of(image).unwrap().keys() {
        store.read_object(object, 1 << 20).unwrap();
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn pause(&mut self) {
        let pause = self.roll(4) * self.roll(1500);
        std::thread::sleep(Duration::from_micros(pause));
    }
}

fn start(place: &Path, work: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "together::child", "--nocapture"])
        .env(PLACE, place)
        .env(WORK, work)
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.join(format!("{work}.log"))).unwrap())
        .spawn()
        .unwrap()
}

#[test]
fn nothing_that_lives_is_collected() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let place = dir.path();
    for number in 0..FOLDERS {
        let folder = place.join(number.to_string());
        fs::create_dir(&folder).unwrap();
        for file in 0..8_u64 {
            // Half of each is in the next one too.
            let content = [u8::try_from(number * 4 + file).unwrap(); 5000];
            fs::write(folder.join(file.to_string()), content).unwrap();
        }
        let tar = Command::new("tar")
            .args(["-cf", &format!("../{number}.tar"), "."])
            .current_dir(&folder)
            .status();
        assert!(tar.unwrap().success());
    }
    let store = Store::init(&place.join("store")).unwrap();
    let tree = import(&store, &place.join("0"));
    let stays = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("stays", &stays).unwrap();
    let gc = ["gc", "gc"].map(|work| start(place, work));
    let names = ["one", "two", "pull", "mount"];
    let mut others: Vec<Child> = names.map(|name| start(place, name)).into();
    // One that dies leaves nothing that stays.
    let mut dies = start(place, "dies");
    std::thread::sleep(Duration::from_millis(150));
    dies.kill().unwrap();
    dies.wait().unwrap();
    let mut good: Vec<bool> = others
        .iter_mut()
        .map(|c| c.wait().unwrap().success())
        .collect();
    fs::write(place.join("over"), "").unwrap();
    good.extend(gc.map(|mut child| child.wait().unwrap().success()));
    let said = || {
        let logs = names.iter().chain(["gc"].iter());
        let read = |name: &&str| fs::read_to_string(place.join(format!("{name}.log"))).unwrap();
        logs.map(read).collect::<String>()
    };
    assert!(good.iter().all(|good| *good), "{good:?}: {}", said());
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    is_whole(&store, &stays);
    let _ = store.remove_ref("dies");
    store.gc(&[], false, &Silent).unwrap();
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    for folder in ["tmp", "leases"] {
        let left = fs::read_dir(store.path().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

/// Counts what others come to while a collection is at work.
struct Slow<'a> {
    removed: &'a AtomicUsize,
}

impl Progress for Slow<'_> {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}

    fn advance(&self, _: u64) {
        self.removed.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(1));
    }

    fn finish(&self) {}

    fn note(&self, _: &str) {}
}

#[test]
fn a_collection_lets_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for file in 0..300_u32 {
        fs::write(folder.join(file.to_string()), file.to_le_bytes().repeat(30)).unwrap();
    }
    import(&store, &folder);
    let (removed, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let between = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut between = 0;
            while !over.load(Ordering::SeqCst) {
                let before = removed.load(Ordering::SeqCst);
                drop(store.lease("other").unwrap());
                between += usize::from(before > 0 && before < 300);
            }
            between
        });
        let slow = Slow { removed: &removed };
        let done = store.gc(&[], false, &slow).unwrap();
        over.store(true, Ordering::SeqCst);
        assert_eq!(done.objects, 300);
        other.join().unwrap()
    });
    // One that has waited for the end of it all would be one.
    assert!(between > 3, "{between}");
}
