//! What is done to a store in a process of its own, so that it can be watched, disturbed and killed.

use crate::check::rewrite;
use crate::sample::{import, origin};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::form::Form;
use elea_store::repair::{Plan, Repair, Source};
use elea_store::{Damage, Finding, Store};
use elea_sys::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const PLACE: &str = "ELEA_STORE_PLACE";
const WORK: &str = "ELEA_STORE_WORK";

/// What is done to the store of a place, under the name by which a child knows it.
type Work = fn(&Path);

const WORKS: [(&str, Work); 7] = [
    ("first", first),
    ("import", import_and_name),
    ("known", known_and_name),
    ("pull", layer_and_name),
    ("gc", collect),
    ("names", rename),
    ("repair", repair),
];

/// Not a test by itself: what the others start.
#[test]
fn child() {
    if let (Some(place), Ok(name)) = (std::env::var_os(PLACE), std::env::var(WORK)) {
        // strace counts the calls of each thread: all are made in this one, beyond all numbers that the
        // thread comes to that waits for it.
        for _ in 0..100 {
            let mut null = fs::File::options().write(true).open("/dev/null").unwrap();
            null.write_all(b"x").unwrap();
            assert!(!null.is_terminal());
        }
        let mut pool = rayon::ThreadPoolBuilder::new().num_threads(1);
        pool = pool.use_current_thread();
        let pool = pool.build().unwrap();
        pool.install(|| work(Path::new(&place), &name));
    }
}

/// Does a work here.
pub(crate) fn work(place: &Path, name: &str) {
    let (_, work) = WORKS.iter().find(|(known, _)| *known == name).unwrap();
    work(place);
}

/// A work as a program.
pub(crate) fn command(place: &Path, work: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "works::child", "--test-threads=1"])
        .env(PLACE, place)
        .env(WORK, work);
    command
}

pub(crate) fn store(place: &Path) -> Store {
    Store::open(&place.join("store")).unwrap()
}

/// The first image of a store that is not there yet.
fn first(place: &Path) {
    let store = Store::open_or_init(&place.join("store")).unwrap();
    import_into(&store, &place.join("new"));
}

fn import_and_name(place: &Path) {
    import_into(&store(place), &place.join("new"));
}

/// A folder that has not changed for a while: its contents are known afterwards.
pub(crate) fn known() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import")
}

fn known_and_name(place: &Path) {
    import_into(&store(place), &known());
}

fn import_into(store: &Store, folder: &Path) {
    let _lease = store.lease("import").unwrap();
    let tree = import(store, folder);
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("it", &image).unwrap();
}

/// What a pull does once a layer's bytes have come.
fn layer_and_name(place: &Path) {
    let store = store(place);
    let _lease = store.lease("pull").unwrap();
    let bytes = fs::read(place.join("layer.tar")).unwrap();
    let blob = Sha256::of(&bytes);
    let media_type = "application/vnd.oci.image.layer.v1.tar";
    let layer = match store.layer(&blob).unwrap() {
        Some(layer) => layer,
        None => store
            .import_layer(&blob, media_type, &bytes[..], &Silent)
            .unwrap(),
    };
    let mut origin = origin();
    origin.layers.push(layer.blob);
    let tree = store.assemble(&[layer]).unwrap();
    let image = store.seal(tree, Form::Os1, &origin).unwrap().image;
    store.set_ref("it", &image).unwrap();
}

fn collect(place: &Path) {
    store(place).gc(&[], false, &Silent).unwrap();
}

fn rename(place: &Path) {
    let store = store(place);
    let other = store.refs().unwrap()["other"];
    store.set_ref("it", &other).unwrap();
    store.remove_ref("gone").unwrap();
}

/// Takes what is damaged from the store `spare`.
fn repair(place: &Path) {
    let store = store(place);
    let spare = Source::open(&place.join("spare")).unwrap();
    loop {
        let check = store.fsck(&Silent).unwrap();
        let mut repair = Repair::new(&store, Plan::new(&check)).unwrap();
        repair.tidy().unwrap();
        repair.from(&spare, &Silent).unwrap();
        repair.rebuild();
        repair.rename();
        repair.finish().unwrap();
        assert_eq!(repair.failed, []);
        if repair.done.is_empty() {
            assert_eq!(check.findings, []);
            return;
        }
    }
}

/// A place with a store: an image named `it`, another named `other` and `gone`, and one that nothing
/// names; a folder and a layer to bring in.
pub(crate) fn prepare(place: &Path) {
    let write = |folder: &str, seed: u8| {
        fs::create_dir(place.join(folder)).unwrap();
        for number in 0..4 {
            let content = [seed + number; 5000];
            fs::write(place.join(folder).join(number.to_string()), content).unwrap();
        }
    };
    let store = Store::init(&place.join("store")).unwrap();
    for (folder, seed, names) in [
        ("old", 0, &["it"][..]),
        ("another", 2, &["other", "gone"]),
        ("unnamed", 50, &[]),
        ("new", 3, &[]),
    ] {
        write(folder, seed);
        let from = place.join(folder);
        if folder == "new" {
            let tar = Command::new("tar")
                .args(["-cf", "../layer.tar", "."])
                .current_dir(from)
                .status();
            assert!(tar.unwrap().success());
            continue;
        }
        let tree = import(&store, &from);
        let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
        for name in names {
            store.set_ref(name, &image).unwrap();
        }
    }
}

/// Damages of each kind in the store, by their paths, and a copy that has none.
pub(crate) fn damage(place: &Path) -> Vec<PathBuf> {
    copy(&place.join("store"), &place.join("spare"));
    let store = store(place);
    let refs = store.refs().unwrap();
    let (it, other) = (refs["it"], refs["other"]);
    let mut objects = store.objects_of(&it).unwrap().into_keys();
    let mut object = || objects.find(|object| *object != it).unwrap();
    let [flipped, missing, image] = [object(), object(), other].map(|o| store.object_path(&o));
    rewrite(&flipped, |bytes| bytes[7] ^= 1);
    fs::remove_file(&missing).unwrap();
    rewrite(&image, |bytes| bytes[1300] ^= 1);
    let path = |name: String| store.path().join(name);
    fs::remove_file(path(format!("manifests/{other}/image.json"))).unwrap();
    let link = path(format!("images/{it}"));
    fs::remove_file(&link).unwrap();
    symlink("../objects/ab/cd", &link).unwrap();
    symlink("x", path("refs/.new-1-1".into())).unwrap();
    let nameless = path(format!("images/{other}"));
    let all = [flipped, missing, image, link, nameless];
    all.map(|path| below(&path, place)).into()
}

/// A path as it is in every place.
pub(crate) fn below(path: &Path, place: &Path) -> PathBuf {
    path.strip_prefix(place).unwrap().to_owned()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

/// What a store may be after something happened to a work.
pub(crate) struct Expected {
    work: &'static str,
    /// What each name may say; the last is what it says when the work is done.
    refs: BTreeMap<&'static str, Vec<Option<Digest>>>,
    /// The folders that images were made of.
    folders: BTreeMap<Digest, PathBuf>,
}

impl Expected {
    /// Of a place as it was at first, as it was later, and last as it is when the work is done.
    pub(crate) fn new(work: &'static str, places: &[&Path]) -> Self {
        let all: Vec<_> = places.iter().map(|place| refs(place)).collect();
        let (first, last) = (&all[0], &all[all.len() - 1]);
        let new = if work == "known" {
            known()
        } else {
            places[0].join("new")
        };
        let mut folders = BTreeMap::new();
        for (image, folder) in [
            (last.get("it"), new),
            (first.get("it"), places[0].join("old")),
            (first.get("other"), places[0].join("another")),
        ] {
            folders.extend(image.map(|image| (*image, folder)));
        }
        let says = |name| all.iter().map(|refs| refs.get(name).copied()).collect();
        Self {
            work,
            refs: ["it", "other", "gone"]
                .map(|name| (name, says(name)))
                .into(),
            folders,
        }
    }

    /// Names are old or new, what they name is all there, and nothing is wrong that `may_be` does not
    /// allow. The work is done again, by turns at once, after a collection, and after a repair.
    pub(crate) fn check(
        &self,
        place: &Path,
        may_be: impl Fn(&Finding) -> bool,
        turn: usize,
        context: &str,
    ) {
        let refs = refs(place);
        for (name, images) in &self.refs {
            let is = refs.get(*name).copied();
            assert!(images.contains(&is), "{context}: {name} is {is:?}");
        }
        let known = |name: &String| self.refs.contains_key(name.as_str());
        assert!(refs.keys().all(known), "{context}");
        if Store::open(&place.join("store")).is_err() {
            // It had not become one.
            assert_eq!(self.work, "first", "{context}");
            work(place, self.work);
        }
        let store = store(place);
        let check = store.fsck(&Silent).unwrap();
        let is_allowed = check.findings.iter().all(&may_be);
        assert!(is_allowed, "{context}: {:?}", check.findings);
        match turn % 3 {
            1 if self.work != "repair" => {
                let mut repair = Repair::new(&store, Plan::new(&check)).unwrap();
                repair.tidy().unwrap();
                assert_eq!(repair.failed, [], "{context}");
                self.is_sound(place, context);
            }
            2 if self.work != "repair" => self.collect(place, context),
            _ => {}
        }
        let before = self::refs(place);
        work(place, self.work);
        let findings = store.fsck(&Silent).unwrap().findings;
        let is_allowed = findings.iter().all(may_be);
        assert!(is_allowed, "{context}, done again: {findings:?}");
        if self.work == "gc" {
            assert_eq!(self::refs(place), before, "{context}");
        } else {
            self.is_named(place, context);
        }
        self.collect(place, context);
    }

    /// A collection leaves nothing that is wrong.
    fn collect(&self, place: &Path, context: &str) {
        let store = store(place);
        store.gc(&[], false, &Silent).unwrap();
        for folder in ["tmp", "leases"] {
            let left = fs::read_dir(store.path().join(folder)).unwrap().count();
            assert_eq!(left, 0, "{context}: {folder}");
        }
        self.is_sound(place, context);
    }

    /// The store is sound, and each image has the contents of its folder.
    fn is_sound(&self, place: &Path, context: &str) {
        let store = store(place);
        assert_eq!(store.fsck(&Silent).unwrap().findings, [], "{context}");
        for image in store.refs().unwrap().values() {
            let folder = &self.folders[image];
            let tree = store.tree(image).unwrap();
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if !path.is_file() {
                    continue;
                }
                let name = path.file_name().unwrap().to_str().unwrap();
                let read = store.read_file(&tree, name, 1 << 20).unwrap().unwrap();
                assert_eq!(read, fs::read(&path).unwrap(), "{context}");
            }
        }
    }

    /// Names are what the work makes of them.
    pub(crate) fn is_named(&self, place: &Path, context: &str) {
        let refs = refs(place);
        for (name, says) in &self.refs {
            let last = says.last().unwrap();
            assert_eq!(refs.get(*name), last.as_ref(), "{context}: {name}");
        }
    }
}

fn refs(place: &Path) -> BTreeMap<String, Digest> {
    Store::open(&place.join("store")).map_or_else(|_| BTreeMap::new(), |s| s.refs().unwrap())
}

/// What a process that dies may leave.
pub(crate) fn is_leftover(finding: &Finding) -> bool {
    finding.damage == Damage::Leftover
}
