//! zstd:chunked layers: written, read by others, and put together of what is here.

use crate::hostile::Impatient;
use crate::sample::{import, run, sample};
use elea_formats::chunked::table::{File, Table};
use elea_formats::chunked::{Part, Position};
use elea_formats::digest::Sha256;
use elea_formats::oci::Descriptor;
use elea_store::export::{self, Compression, Packed};
use elea_store::parts::Outline;
use elea_store::{Error, Store};
use elea_sys::progress::Silent;
use std::fs;
use std::path::{Path, PathBuf};

/// The layer of what no package owns, and that of its large files.
const TOP: &str = "configuration";
const LARGE: &str = "generated files";

/// A store with a sample, and a layer of it as zstd:chunked.
struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
    packed: Packed,
    bytes: Vec<u8>,
    position: Position,
}

fn fixture(title: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    fs::write(source.join("usr/lib/many"), "many\n".repeat(50_000)).unwrap();
    // More than a segment's worth of directories between two contents.
    for number in 0..2100 {
        fs::create_dir_all(source.join(format!("srv/{number}"))).unwrap();
    }
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    let layers = export::layers(
        &store,
        &tree,
        Compression::Chunked,
        &dir.path().join("layers"),
        &Silent,
    );
    let packed = layers.unwrap().into_iter().find(|one| one.title == title);
    let packed = packed.unwrap();
    let bytes = fs::read(&packed.path).unwrap();
    let position = Position::of(&descriptor(&packed)).unwrap().unwrap();
    Fixture {
        dir,
        store,
        packed,
        bytes,
        position,
    }
}

fn descriptor(packed: &Packed) -> Descriptor {
    Descriptor {
        media_type: packed.media_type.into(),
        digest: packed.blob,
        size: packed.size,
        annotations: packed.annotations.clone(),
        platform: None,
    }
}

impl Fixture {
    fn part(&self, part: &Part) -> &[u8] {
        self.at(&part.range())
    }

    fn at(&self, range: &std::ops::Range<u64>) -> &[u8] {
        let place = |at: u64| usize::try_from(at).unwrap();
        &self.bytes[place(range.start)..place(range.end)]
    }

    fn outline(&self) -> Outline {
        let table = self.part(&self.position.table);
        let split = self.part(&self.position.split.unwrap());
        Outline::read(&self.position, table, split.to_vec()).unwrap()
    }

    fn empty_store(&self, name: &str) -> Store {
        Store::init(&self.dir.path().join(name)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// What a program makes of packed bytes.
fn unpacked(packed: &[u8], folder: &Path) -> Option<Vec<u8>> {
    fs::write(folder.join("packed.zst"), packed).unwrap();
    run("zstd", &["-d", "-f", "-q", "packed.zst"], folder)?;
    Some(fs::read(folder.join("packed")).unwrap())
}

#[test]
fn zstd_reads_the_whole_and_every_part() {
    let fixture = fixture(TOP);
    let folder = fixture.dir.path();
    let Some(tar) = unpacked(&fixture.bytes, folder) else {
        return;
    };
    assert_eq!(Sha256::of(&tar), fixture.packed.diff_id);
    let table = unpacked(fixture.part(&fixture.position.table), folder).unwrap();
    assert_eq!(table.len() as u64, fixture.position.table.size);
    let split = unpacked(fixture.part(&fixture.position.split.unwrap()), folder).unwrap();
    assert_eq!(split.len() as u64, fixture.position.split.unwrap().size);
    let table = Table::parse(table.as_slice(), fixture.position.table.offset).unwrap();
    let names: Vec<&str> = table.files.iter().map(|f| f.name.as_str()).collect();
    let expected = [
        "etc/edge64",
        "etc/edge65",
        "etc/small",
        "usr/lib/a/same",
        "usr/lib/many",
    ];
    assert_eq!(names, expected);
    for file in &table.files {
        let content = unpacked(fixture.at(&file.range), folder).unwrap();
        assert_eq!(content.len() as u64, file.size, "{}", file.name);
        assert_eq!(Sha256::of(&content), file.digest, "{}", file.name);
    }
}

#[test]
fn a_layer_is_put_together_of_what_is_here_and_what_is_added() {
    let fixture = fixture(TOP);
    let outline = fixture.outline();
    // Everything that is an object is here, since the sample was imported; what is smaller is not known
    // to be, since no layer brought it.
    let contents = fixture.store.contents([]).unwrap();
    let names = |missing: &[&File]| -> Vec<String> {
        missing.iter().map(|file| file.name.clone()).collect()
    };
    let missing = contents.missing(outline.files(), &Silent).unwrap();
    assert_eq!(names(&missing), ["etc/edge64", "etc/small"]);
    for file in missing {
        contents.add(file, fixture.at(&file.range)).unwrap();
    }
    assert!(
        contents
            .missing(outline.files(), &Silent)
            .unwrap()
            .is_empty()
    );
    let (blob, diff_id) = (fixture.packed.blob, fixture.packed.diff_id);
    let layer = fixture
        .store
        .import_parts(&blob, &diff_id, &outline, &contents, &Silent)
        .unwrap();
    // A store that gets the layer whole writes down the same.
    let other = fixture.empty_store("other");
    let whole = other.import_layer(
        &blob,
        fixture.packed.media_type,
        fixture.bytes.as_slice(),
        &Silent,
    );
    assert_eq!(whole.unwrap().diff_id, layer.diff_id);
    let record = |store: &Store| {
        store.sync().unwrap();
        let path = store.path().join(format!("manifests/layers/{blob}"));
        fs::read(path).unwrap()
    };
    assert_eq!(record(&fixture.store), record(&other));
    // Now a layer has brought what is small too.
    let contents = fixture.store.contents([]).unwrap();
    assert!(
        contents
            .missing(outline.files(), &Silent)
            .unwrap()
            .is_empty()
    );

    // And one that has nothing.
    let empty = fixture.empty_store("empty");
    let contents = empty.contents([]).unwrap();
    assert!(contents.is_empty());
    let missing = contents.missing(outline.files(), &Silent).unwrap();
    // Two files with one content are one.
    assert_eq!(missing.len(), outline.files().len() - 1);
    let import = || empty.import_parts(&blob, &diff_id, &outline, &contents, &Silent);
    assert!(matches!(import().map(drop), Err(Error::Parts { .. })));
    for file in &missing {
        contents.add(file, fixture.at(&file.range)).unwrap();
    }
    import().unwrap();
    assert_eq!(record(&empty), record(&other));
}

#[test]
fn large_contents_come_too() {
    let fixture = fixture(LARGE);
    let outline = fixture.outline();
    // A file with two names has its content at the first.
    let [file] = outline.files() else {
        panic!("{:?}", outline.files())
    };
    assert_eq!(
        (file.name.as_str(), file.size),
        ("usr/lib/a/linked", 9 << 20)
    );
    let store = fixture.empty_store("empty");
    let contents = store.contents([]).unwrap();
    let lie = File {
        digest: Sha256::of(b"another"),
        ..file.clone()
    };
    let packed = fixture.at(&file.range);
    assert!(contents.add(&lie, packed).is_err());
    assert!(contents.add(file, &packed[..packed.len() - 9]).is_err());
    assert_eq!(
        fs::read_dir(store.path().join("objects")).unwrap().count(),
        0
    );
    contents.add(file, packed).unwrap();
    let (blob, diff_id) = (fixture.packed.blob, fixture.packed.diff_id);
    store
        .import_parts(&blob, &diff_id, &outline, &contents, &Silent)
        .unwrap();
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
}

#[test]
fn large_contents_come_in_chunks() {
    let fixture = fixture(LARGE);
    let outline = fixture.outline();
    let [file] = outline.files() else {
        panic!("{:?}", outline.files())
    };
    let count = file.chunks.len();
    assert!(count > 10, "{count}");
    let mut whole = Vec::new();
    for chunk in &file.chunks {
        let Some(content) = unpacked(fixture.at(&chunk.range), fixture.dir.path()) else {
            return;
        };
        assert_eq!(content.len() as u64, chunk.size);
        assert_eq!(Sha256::of(&content), chunk.digest);
        whole.extend(content);
    }
    assert_eq!(Sha256::of(&whole), file.digest);

    let store = fixture.empty_store("chunks");
    let contents = store.contents([]).unwrap();
    assert!(
        contents
            .chunks(file, &Silent)
            .unwrap()
            .iter()
            .all(Option::is_none)
    );
    let packed = |number: usize| Ok(fixture.at(&file.chunks[number].range));
    let none = vec![None; count];
    contents.add_chunks(file, &none, packed).unwrap();
    assert!(
        contents
            .missing(outline.files(), &Silent)
            .unwrap()
            .is_empty()
    );

    // Whoever has enough is heard while contents are looked for.
    let impatient = fixture.empty_store("impatient");
    let contents = impatient.contents([]).unwrap();
    for error in [
        contents.missing(outline.files(), &Impatient).map(drop),
        contents.chunks(file, &Impatient).map(drop),
    ] {
        assert!(matches!(error, Err(Error::Cancelled)), "{error:?}");
    }

    // Another part of the layer, and one too few.
    let other = fixture.empty_store("wrong");
    let contents = other.contents([]).unwrap();
    let table = |_| Ok(fixture.part(&fixture.position.table));
    for error in [
        contents.add_chunks(file, &none, table),
        contents.add_chunks(file, &none[1..], packed),
    ] {
        assert!(matches!(error, Err(Error::Parts { .. })), "{error:?}");
    }
    let objects = fs::read_dir(other.path().join("objects")).unwrap();
    assert_eq!(objects.count(), 0);
}

#[test]
fn what_is_not_as_the_table_says_is_not_taken() {
    let fixture = fixture(TOP);
    let table = fixture.part(&fixture.position.table);
    let split = fixture.part(&fixture.position.split.unwrap());
    let refused = |table: &[u8], split: &[u8]| {
        let read = Outline::read(&fixture.position, table, split.to_vec());
        read.unwrap_err().to_string()
    };
    assert!(refused(&table[1..], split).contains("table has another checksum"));
    assert!(refused(table, &split[1..]).contains("tar-split has another checksum"));

    let store = fixture.empty_store("empty");
    let contents = store.contents([]).unwrap();
    let outline = fixture.outline();
    for file in outline.files() {
        let right = fixture.at(&file.range);
        let mut lies = vec![
            ("cut", right[..right.len() - 4].to_vec(), file.clone()),
            (
                "other",
                fixture.at(&outline.files()[0].range).to_vec(),
                file.clone(),
            ),
            ("no zstd", vec![0; 100], file.clone()),
        ];
        for size in [file.size - 1, file.size + 1] {
            let other = File {
                size,
                ..file.clone()
            };
            lies.push(("size", right.to_vec(), other));
        }
        for (lie, packed, file) in lies {
            if packed == right && lie != "size" {
                continue;
            }
            let error = contents.add(&file, packed.as_slice()).unwrap_err();
            let said = matches!(&error, Error::Parts { reason } if reason.contains(&file.name));
            assert!(said, "{lie}: {error}");
        }
    }
    let objects = fs::read_dir(store.path().join("objects")).unwrap();
    assert_eq!(objects.count(), 0);
    assert_eq!(fs::read_dir(store.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_object_that_is_damaged_does_not_become_part_of_a_layer() {
    let fixture = fixture(TOP);
    let outline = fixture.outline();
    let contents = fixture.store.contents([]).unwrap();
    for file in contents.missing(outline.files(), &Silent).unwrap() {
        contents.add(file, fixture.at(&file.range)).unwrap();
    }
    // Damaged after it was found.
    let mut found = Vec::new();
    for folder in fs::read_dir(fixture.path("store/objects")).unwrap() {
        for object in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            if fs::metadata(&path).unwrap().len() == 250_000 {
                found.push(path);
            }
        }
    }
    let mut bytes = fs::read(&found[0]).unwrap();
    bytes[200_000] ^= 1;
    fs::remove_file(&found[0]).unwrap();
    fs::write(&found[0], bytes).unwrap();
    let (blob, diff_id) = (fixture.packed.blob, fixture.packed.diff_id);
    let import = |contents: &elea_store::parts::Contents| {
        fixture
            .store
            .import_parts(&blob, &diff_id, &outline, contents, &Silent)
    };
    let error = import(&contents).map(drop).unwrap_err().to_string();
    assert!(error.contains(&diff_id.to_string()), "{error}");
    // Damaged before: it is not found, and what comes takes its place.
    let contents = fixture.store.contents([]).unwrap();
    let missing = contents.missing(outline.files(), &Silent).unwrap();
    assert!(missing.iter().any(|file| file.name == "usr/lib/many"));
    for file in missing {
        contents.add(file, fixture.at(&file.range)).unwrap();
    }
    import(&contents).unwrap();
    let check = fixture.store.fsck(&Silent).unwrap();
    assert_eq!(check.findings, []);
}

#[test]
fn a_layer_whose_names_no_table_can_hold_has_none() {
    use std::os::unix::ffi::OsStrExt as _;
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff");
    fs::write(source.join(odd), "odd ".repeat(100)).unwrap();
    fs::write(source.join("z"), "even ".repeat(100)).unwrap();
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    let folder = dir.path().join("layers");
    let packed = export::layers(&store, &tree, Compression::Chunked, &folder, &Silent).unwrap();
    assert_eq!(packed.len(), 1);
    assert!(packed[0].annotations.is_empty());
    let file = fs::File::open(&packed[0].path).unwrap();
    let layer = store.import_layer(&packed[0].blob, packed[0].media_type, file, &Silent);
    assert_eq!(layer.unwrap().diff_id, packed[0].diff_id);
}
