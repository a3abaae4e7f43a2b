//! Folders in, images out.

use crate::sample::{import, origin, sample};
use elea_formats::digest::Algorithm;
use elea_formats::dump;
use elea_formats::form::Form;
use elea_formats::tree::{Content, DirId, Leaf, Meta, Node, Tree};
use elea_formats::verity;
use elea_store::{Error, Store};
use elea_sys::progress::Silent;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_folder_becomes_an_image_that_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    let manifest = store.seal(tree.clone(), Form::Os1, &origin()).unwrap();
    assert_eq!(manifest.files, 8);
    assert_eq!(manifest.bytes, (9 << 20) + 65);
    let back = store.tree(&manifest.image).unwrap();
    let mut canonical = tree.clone();
    elea_formats::form::canonical(&mut canonical, Form::Os1);
    assert_eq!(dump::encode(&back), dump::encode(&canonical));
    let again = store
        .seal(import(&store, &source), Form::Os1, &origin())
        .unwrap();
    assert_eq!(again.image, manifest.image);
    // A damaged image file of the same size is replaced, too.
    let path = store.object_path(&manifest.image);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1200] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    assert!(store.tree(&manifest.image).is_err());
    store
        .seal(import(&store, &source), Form::Os1, &origin())
        .unwrap();
    assert!(store.tree(&manifest.image).is_ok());
    assert_eq!(store.images().unwrap().len(), 1);
    let raw = store.seal(tree, Form::Raw, &origin()).unwrap();
    assert_ne!(raw.image, manifest.image);
    assert_eq!(store.images().unwrap().len(), 2);
    let objects = store.objects_of(&manifest.image).unwrap();
    assert_eq!(objects.len(), 3);
    for (digest, size) in objects {
        let path = store.object_path(&digest);
        let status = fs::metadata(&path).unwrap();
        assert_eq!(status.len(), size);
        assert_eq!(status.permissions().mode() & 0o7777, 0o444);
    }
    assert_eq!(
        fs::read_dir(dir.path().join("store/tmp")).unwrap().count(),
        0
    );
}

#[test]
fn files_are_read_through_links_inside_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    let read = |path: &str| store.read_file(&tree, path, 100);
    assert_eq!(read("/usr/abs").unwrap().unwrap(), b"small\n");
    assert_eq!(
        read("usr/lib/conf/../etc/edge65").unwrap().unwrap().len(),
        65
    );
    assert_eq!(read("usr/lib/conf").unwrap(), None);
    assert_eq!(read("usr/lib/none").unwrap(), None);
    assert_eq!(read("etc/small/none").unwrap(), None);
    assert!(matches!(read("usr/loop"), Err(Error::Links { .. })));
    assert!(matches!(read("usr/lib/big"), Err(Error::TooLarge { .. })));
    let Some(Node::Leaf(id)) = tree.get(b"etc/edge65") else {
        panic!("no leaf");
    };
    let Content::Object { digest, .. } = tree.content(id) else {
        panic!("no object");
    };
    let path = store.object_path(&digest);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, [b'y'; 65]).unwrap();
    assert!(matches!(read("etc/edge65"), Err(Error::Damaged { .. })));
    // Another size is seen by an import, which mends it.
    fs::write(&path, [b'y'; 64]).unwrap();
    let _ = import(&store, &source);
    assert_eq!(read("etc/edge65").unwrap().unwrap(), [b'x'; 65]);
    fs::remove_file(&path).unwrap();
    let error = store.seal(tree, Form::Os1, &origin()).unwrap_err();
    assert!(
        matches!(error, Error::NoObjects { count: 1, .. }),
        "{error}"
    );
}

#[test]
fn names_lead_to_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_or_init(&dir.path().join("store")).unwrap();
    let store = Store::open_or_init(store.path()).unwrap();
    fs::create_dir(dir.path().join("source")).unwrap();
    let tree = import(&store, &dir.path().join("source"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    let name = "localhost:5000/hello:1.0";
    assert!(matches!(store.resolve(name), Err(Error::NoImage { .. })));
    store.set_ref(name, &image).unwrap();
    store.set_ref(name, &image).unwrap();
    let hex = image.to_string();
    for name in [name, &hex, &hex[..8]] {
        assert_eq!(store.resolve(name).unwrap(), image);
    }
    for name in [&hex[..7], "", "0000000g", ".."] {
        assert!(store.resolve(name).is_err(), "{name}");
    }
    assert_eq!(
        store.refs().unwrap().into_iter().collect::<Vec<_>>(),
        [(name.to_owned(), image)]
    );
    let other = elea_formats::digest::Sha256::of(b"").into();
    assert!(matches!(
        store.set_ref("x", &other),
        Err(Error::NoImage { .. })
    ));
    assert!(matches!(
        store.set_ref(&hex, &image),
        Err(Error::RefName { .. })
    ));
    assert!(store.remove_ref(name).unwrap());
    assert!(!store.remove_ref(name).unwrap());
    assert!(matches!(store.resolve(name), Err(Error::NoImage { .. })));
}

#[test]
fn a_folder_that_is_no_store_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::open(&dir.path().join("none")),
        Err(Error::NotAStore { .. })
    ));
    fs::write(dir.path().join("x"), "x").unwrap();
    assert!(matches!(
        Store::init(dir.path()),
        Err(Error::NotEmpty { .. })
    ));
    let store = Store::init(&dir.path().join("s")).unwrap();
    let meta = store.path().join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, text.replace("elea_1", "elea_9")).unwrap();
    let newer = Store::open(store.path()).unwrap();
    assert!(newer.images().unwrap().is_empty());
    let error = newer
        .import_dir(dir.path(), &Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("elea_9"), "{error}");
}

/// A tree that came without contents: what is missing is named, what is small is taken into the image.
#[test]
fn a_tree_without_contents_needs_its_objects() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let contents = [vec![b's'; 10], vec![b'm'; 100], vec![b'l'; 200]];
    let mut tree = Tree::default();
    for (number, content) in contents.iter().enumerate() {
        let name = format!("file{number}").into_bytes();
        let leaf = Leaf {
            meta: Meta::default(),
            content: Content::Object {
                digest: verity::measure(Algorithm::Sha256, content),
                size: content.len() as u64,
            },
        };
        tree.put_leaf(DirId::ROOT, &name, &leaf);
    }
    for form in [Form::Raw, Form::Os1] {
        let error = store.seal(tree.clone(), form, &origin()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NoObjects { count: 3, .. }), "{text}");
        let first = verity::measure(Algorithm::Sha256, &contents[0]).short();
        assert!(text.contains(&format!("`/file0` ({first})")), "{text}");
        assert_eq!(store.images().unwrap(), []);
    }
    for content in &contents {
        let path = store.object_path(&verity::measure(Algorithm::Sha256, content));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let image = |form| store.seal(tree.clone(), form, &origin()).unwrap().image;
    let small = |image| {
        let tree = store.tree(&image).unwrap();
        match tree.get(b"/file0") {
            Some(Node::Leaf(id)) => tree.content(id).to_owned(),
            other => panic!("{other:?}"),
        }
    };
    let first = tree.leaves().next().unwrap();
    assert_eq!(small(image(Form::Raw)), tree.content(first).to_owned());
    let inline = Content::Inline(contents[0].clone());
    assert_eq!(small(image(Form::Os1)), inline);
}
