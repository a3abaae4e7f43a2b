use super::*;
use crate::Store;
use crate::import::dir;
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::tree::{Content, Tree};
use elea_sys::progress::Silent;
use std::time::Duration;

/// A store and a folder of one file, on a file system that notes changes; none if there is none.
fn fixture() -> Option<(tempfile::TempDir, Store)> {
    // The system's folder for temporary files is tmpfs on many machines.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::write(dir.path().join("tree/file"), [b'a'; 1000]).unwrap();
    if filesystem(File::open(dir.path()).unwrap()).is_none() {
        println!("skipped: no ext4, btrfs, xfs or f2fs below the sources");
        return None;
    }
    Some((dir, store))
}

/// As if the import began so many seconds from now.
fn import(dir: &Path, store: &Store, seconds: u64) -> Tree {
    let now = SystemTime::now() + Duration::from_secs(seconds);
    let known = Known::load(store, now);
    let writer = store.writer().unwrap();
    let kept = dir::Kept {
        writer: &writer,
        known: &known,
    };
    let tree = dir::import(Some(kept), &dir.join("tree"), Tree::new(), &Silent).unwrap();
    known.save(store);
    store.sync().unwrap();
    tree
}

fn digest(tree: &Tree) -> Digest {
    let id = tree.leaves().next().unwrap();
    match tree.content(id) {
        Content::Object { digest, size: 1000 } => digest,
        other => panic!("{other:?}"),
    }
}

fn measure(byte: u8) -> Digest {
    elea_formats::verity::measure(Algorithm::Sha256, &[byte; 1000])
}

/// Makes the store believe that the file holds `b`.
fn forge(dir: &Path, store: &Store) {
    let writer = store.writer().unwrap();
    assert_eq!(writer.add(&[b'b'; 1000]).unwrap(), measure(b'b'));
    let known = Known::load(store, SystemTime::now() + Duration::from_hours(1));
    let file = File::open(dir.join("tree/file")).unwrap();
    let status = rustix::fs::fstat(&file).unwrap();
    let key = known.key(filesystem(&file), &status).unwrap();
    known.learn(key, measure(b'b'));
    known.save(store);
    store.sync().unwrap();
}

#[test]
fn a_settled_file_is_not_read_again() {
    let Some((dir, store)) = fixture() else {
        return;
    };
    assert_eq!(digest(&import(dir.path(), &store, 100)), measure(b'a'));
    forge(dir.path(), &store);
    assert_eq!(digest(&import(dir.path(), &store, 200)), measure(b'b'));
    // What changed is, though its size and its time of change by the user are the same.
    let path = dir.path().join("tree/file");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, [b'c'; 1000]).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    assert_eq!(digest(&import(dir.path(), &store, 200)), measure(b'c'));
}

#[test]
fn a_young_file_is_neither_believed_nor_kept() {
    let Some((dir, store)) = fixture() else {
        return;
    };
    assert_eq!(digest(&import(dir.path(), &store, 0)), measure(b'a'));
    assert!(!store.path().join("cache/files").exists());
    forge(dir.path(), &store);
    assert_eq!(digest(&import(dir.path(), &store, 50)), measure(b'a'));
}

#[test]
fn an_object_that_is_gone_is_made_again() {
    let Some((dir, store)) = fixture() else {
        return;
    };
    import(dir.path(), &store, 100);
    let object = store.object_path(&measure(b'a'));
    fs::remove_file(&object).unwrap();
    import(dir.path(), &store, 100);
    assert_eq!(fs::read(&object).unwrap(), [b'a'; 1000]);
}

#[test]
fn a_damaged_cache_is_empty() {
    let Some((dir, store)) = fixture() else {
        return;
    };
    forge(dir.path(), &store);
    let path = store.path().join("cache/files");
    let whole = fs::read(&path).unwrap();
    assert_eq!(whole.len(), 16 + entry(Algorithm::Sha256) + SUM);
    let count = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Known::load(&store, SystemTime::now()).old.len()
    };
    assert_eq!(count(&whole), 1);
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        assert_eq!(count(&bytes), 0, "byte {at}");
        assert_eq!(count(&whole[..at]), 0, "{at} bytes");
    }
    fs::write(&path, &whole[1..]).unwrap();
    assert_eq!(digest(&import(dir.path(), &store, 100)), measure(b'a'));
}

#[test]
fn what_was_of_no_use_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tmp")).unwrap();
    let key = |inode| Key {
        filesystem: 1,
        inode,
        size: 2,
        changed: (3, 4),
        modified: (-5, 6),
    };
    let store = Store::init(&dir.path().join("store")).unwrap();
    let known = Known::load(&store, SystemTime::now());
    known.learn(key(1), measure(b'a'));
    known.learn(key(2), measure(b'b'));
    known.save(&store);
    store.sync().unwrap();
    let known = Known::load(&store, SystemTime::now());
    assert_eq!(known.find(&key(1)), Some(measure(b'a')));
    assert_eq!(known.find(&key(3)), None);
    known.learn(key(3), measure(b'c'));
    known.save(&store);
    store.sync().unwrap();
    let known = Known::load(&store, SystemTime::now());
    let inode = |n| elea_formats::table::read_u64(known.old.get(n), 8);
    let order: Vec<_> = (0..known.old.len()).map(inode).collect();
    assert_eq!(order, [2, 1, 3]);
}

#[test]
fn a_cache_has_the_digests_of_its_store() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key {
        filesystem: 1,
        inode: 2,
        size: 3,
        changed: (4, 5),
        modified: (6, 7),
    };
    let [one, other] = Algorithm::ALL.map(|algorithm| {
        let store = Store::init_with(&dir.path().join(algorithm.name()), algorithm).unwrap();
        let digest = elea_formats::verity::measure(algorithm, b"x");
        let known = Known::load(&store, SystemTime::now());
        known.learn(key, digest);
        known.save(&store);
        store.sync().unwrap();
        let known = Known::load(&store, SystemTime::now());
        assert_eq!(known.find(&key), Some(digest));
        store
    });
    // Seven entries of one have the size of five of the other, so the size alone does not tell them apart.
    let file = |store: &Store| store.path().join("cache/files");
    let whole = fs::read(file(&one)).unwrap();
    fs::write(file(&other), &whole).unwrap();
    assert!(Known::load(&other, SystemTime::now()).old.is_empty());
    let swapped = [&whole[..16], &whole[16..96].repeat(7)].concat();
    let sum = sha2::Sha256::digest(&swapped);
    fs::write(file(&other), [&swapped, &sum[..]].concat()).unwrap();
    assert!(Known::load(&other, SystemTime::now()).old.is_empty());
    fs::write(file(&one), [&swapped, &sum[..]].concat()).unwrap();
    assert_eq!(Known::load(&one, SystemTime::now()).old.len(), 7);
}

#[test]
fn a_cache_of_the_first_version_is_read_and_written() {
    let golden = include_bytes!("../../../tests/golden/file-cache-1");
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let path = store.path().join("cache/files");
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, golden).unwrap();
    let known = Known::load(&store, SystemTime::now());
    let first = Key {
        filesystem: 0x1122_3344_5566_7788,
        inode: 42,
        size: 5000,
        changed: (1_795_704_000, 123_456_789),
        modified: (1_795_703_000, 0),
    };
    assert_eq!(known.find(&first), Algorithm::Sha256.digest(&[0x11; 32]));
    let second = Key {
        changed: (-5, 999_999_999),
        ..first
    };
    // What is learned comes last, and what was of use before it.
    fs::write(&path, b"").unwrap();
    let empty = Known::load(&store, SystemTime::now());
    for number in 0..known.old.len() {
        let entry = known.old.get(number);
        empty.new.lock().unwrap().push(entry);
    }
    empty.save(&store);
    store.sync().unwrap();
    assert_eq!(fs::read(&path).unwrap(), golden);
    assert_eq!(&known.old.get(1)[24..32], &second.encode()[24..32]);
}
