use super::*;
use crate::lock::Package;
use elea_formats::form::Form;
use elea_formats::tree::{Content as Bytes, DirId, Leaf, Meta};
use elea_store::Origin;

type Files = BTreeMap<String, Vec<u8>>;

const CONFIG: &str = r#"
    [system]
    name = "x"
    version = "1"
    [packages]
    install = ["less"]
    [files."/etc/a"]
    source = "a"
    mode = "0640"
    [files."/etc/b"]
    content = "b\n"
    [units."c.service"]
    source = "c"
    [vars]
    word = "hello"
    [templates."/etc/t"]
    source = "t.in"
    [trust]
    keys = ["key.pub"]
    [users.ada]
    groups = ["adm"]
    [home.ada.files.".profile"]
    source = "a"
    [specialisation.other.system]
    title = "Other"
"#;

const KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";

fn lock(config: &Config) -> Lock {
    let package = |name: &str| Package {
        name: name.into(),
        version: "1".into(),
        architecture: "amd64".into(),
        sha256: Sha256::of(name.as_bytes()),
        size: 4,
        archive: "trixie".into(),
        file: format!("pool/{name}.deb"),
    };
    Lock {
        schema: lock::SCHEMA.into(),
        request: lock::request(config),
        architecture: "amd64".into(),
        epoch: 1_760_000_000,
        archives: Vec::new(),
        packages: vec![package("less")],
        stages: Vec::new(),
        loader: Some(package("systemd-boot-efi")),
        users: BTreeMap::from([("ada".into(), 1000)]),
        groups: BTreeMap::new(),
    }
}

fn written(folder: &Path) -> Config {
    for (name, text) in [
        ("a", "a\n"),
        ("c", "[Unit]\nDescription=c\n"),
        ("t.in", "${vars.word}\n"),
        ("key.pub", KEY),
        ("x.toml", CONFIG),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    config::load(&folder.join("x.toml")).unwrap_or_else(|e| panic!("{e}"))
}

/// An image with these files.
fn image(store: &Store, files: &Files) -> Digest {
    let mut draft = store.draft(store.empty_tree()).unwrap();
    for (path, bytes) in files {
        let mut here = DirId::ROOT;
        let (above, name) = path.rsplit_once('/').unwrap();
        for part in above.split('/') {
            here = match draft.tree.child(here, part.as_bytes()) {
                Some(elea_formats::tree::Node::Directory(id)) => id,
                _ => draft
                    .tree
                    .add_directory(here, part.as_bytes(), &Meta::default()),
            };
        }
        let content: Bytes = draft.content(bytes).unwrap();
        let leaf = Leaf {
            meta: Meta::default(),
            content,
        };
        draft.tree.put_leaf(here, name.as_bytes(), &leaf);
    }
    let tree = draft.finish();
    store
        .seal(tree, Form::Raw, &Origin::default())
        .unwrap()
        .image
}

/// The files of an image that was built.
fn whole(gathered: &Files) -> Files {
    let inside = gathered
        .iter()
        .map(|(path, bytes)| (format!("{FOLDER}/{path}"), bytes.clone()));
    let programs = [(ELEA, "elea"), (INITRD, "initrd")];
    let programs = programs.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    inside.chain(programs).collect()
}

#[test]
fn what_an_image_brings_is_the_same_again_when_it_is_built_from_that() {
    let dir = tempfile::tempdir().unwrap();
    let config = written(dir.path());
    let lock = lock(&config);
    let gathered = gather(&config, &lock, &Builder::this()).unwrap();
    let text = String::from_utf8_lossy(&gathered[super::CONFIG]);
    assert!(!text.contains(&*dir.path().to_string_lossy()), "{text}");
    let contents: Vec<&[u8]> = gathered.values().map(Vec::as_slice).collect();
    for content in ["a\n", "[Unit]\nDescription=c\n", "hello\n", KEY] {
        assert!(contents.contains(&content.as_bytes()), "{content}");
    }
    let store = Store::init(&dir.path().join("store")).unwrap();
    let source = Source::load(&store, &image(&store, &whole(&gathered)), dir.path()).unwrap();
    assert_eq!(source.lock, lock);
    assert_eq!(source.builder, Builder::this());
    assert_eq!(
        source.programs,
        [Sha256::of(b"elea"), Sha256::of(b"initrd")]
    );
    let again = gather(&source.config, &source.lock, &Builder::this()).unwrap();
    assert_eq!(
        again.keys().collect::<Vec<_>>(),
        gathered.keys().collect::<Vec<_>>()
    );
    for (name, content) in &gathered {
        let (old, new) = (
            String::from_utf8_lossy(content),
            String::from_utf8_lossy(&again[name]),
        );
        assert_eq!(old, new, "{name}");
    }
}

#[test]
fn what_makes_no_sense_in_an_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = written(dir.path());
    let gathered = gather(&config, &lock(&config), &Builder::this()).unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let refused = |change: &dyn Fn(&mut Files)| {
        let mut files = whole(&gathered);
        change(&mut files);
        Source::load(&store, &image(&store, &files), dir.path())
            .unwrap_err()
            .to_string()
    };
    let at = |name: &str| format!("{FOLDER}/{name}");
    let config = |from: &str, to: &str| {
        let text = String::from_utf8(gathered[super::CONFIG].clone()).unwrap();
        assert!(text.contains(from), "{text}");
        text.replace(from, to).into_bytes()
    };
    let outside = dir.path().join("a").display().to_string();
    let first = gathered
        .keys()
        .find(|name| name.starts_with(FILES))
        .unwrap();
    for (error, words) in [
        (
            refused(&|f| drop(f.remove(&at(super::CONFIG)))),
            "does not have /usr/lib/elea/source/elea.json",
        ),
        (refused(&|f| drop(f.remove(INITRD))), "elea-initrd"),
        (
            refused(&|f| drop(f.insert(at(super::CONFIG), config(first, &outside)))),
            "which it does not bring",
        ),
        (
            refused(&|f| drop(f.insert(at(super::CONFIG), config("\"less\"", "\"more\"")))),
            "not that of its config",
        ),
        (
            refused(&|f| drop(f.insert(at(super::CONFIG), b"{".to_vec()))),
            "elea.json",
        ),
        (
            refused(&|f| drop(f.insert(at(super::LOCK), b"x".to_vec()))),
            "makes no sense",
        ),
        (
            refused(&|f| drop(f.insert(at("files/x/y/z"), b"x".to_vec()))),
            "`y` is no file",
        ),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}
