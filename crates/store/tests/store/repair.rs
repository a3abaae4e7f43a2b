//! Damage is put right: by whatever brings the content again, and by a repair.

use crate::check::{Fixture, fixture, rewrite};
use crate::sample::{import, origin};
use elea_formats::digest::{Algorithm, Sha256};
use elea_formats::form::Form;
use elea_store::Store;
use elea_store::export::{self, Compression};
use elea_store::repair::{Plan, Repair, Source};
use elea_sys::progress::Silent;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

fn flip(path: &Path) {
    rewrite(path, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
    });
}

/// The object of `usr/lib/big`, which is larger than what is read whole.
fn big(fixture: &Fixture) -> std::path::PathBuf {
    let content = vec![7; 9 << 20];
    let digest = elea_formats::verity::measure(Algorithm::Sha256, &content);
    fixture.store.object_path(&digest)
}

#[test]
fn an_import_replaces_what_the_disk_has_damaged_at_its_full_size() {
    let fixture = fixture();
    let source = fixture.source();
    let damaged = [fixture.object.clone(), big(&fixture), fixture.image_file()];
    for path in &damaged {
        let size = fs::metadata(path).unwrap().len();
        flip(path);
        assert_eq!(fs::metadata(path).unwrap().len(), size);
    }
    assert_eq!(fixture.store.fsck(&Silent).unwrap().findings.len(), 3);
    let tree = import(&fixture.store, &source);
    let sealed = fixture.store.seal(tree, Form::Os1, &origin()).unwrap();
    assert_eq!(sealed.image, fixture.image);
    assert_eq!(fixture.store.fsck(&Silent).unwrap().findings, []);
    // What is sound is left as it is: running systems have it mapped.
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before: Vec<u64> = damaged.iter().map(|path| inode(path)).collect();
    let tree = import(&fixture.store, &source);
    fixture.store.seal(tree, Form::Os1, &origin()).unwrap();
    let after: Vec<u64> = damaged.iter().map(|path| inode(path)).collect();
    assert_eq!(before, after);
}

#[test]
fn a_tar_file_replaces_what_is_damaged() {
    let fixture = fixture();
    let tree = fixture.store.tree(&fixture.image).unwrap();
    let mut tar = Vec::new();
    elea_store::export::tar(&fixture.store, &tree, &mut tar).unwrap();
    flip(&fixture.object);
    flip(&big(&fixture));
    fixture.store.import_tar(&tar[..], &Silent).unwrap();
    assert_eq!(fixture.store.fsck(&Silent).unwrap().findings, []);
}

/// Repairs from a store or a folder until a check says nothing new; what is left, and what was done.
fn repair(store: &Store, from: impl Fn(&mut Repair)) -> (Vec<String>, Vec<String>) {
    let mut did = Vec::new();
    loop {
        let check = store.fsck(&Silent).unwrap();
        let mut repair = Repair::new(store, Plan::new(&check)).unwrap();
        repair.tidy().unwrap();
        from(&mut repair);
        repair.rebuild();
        repair.rename();
        repair.finish().unwrap();
        if repair.done.is_empty() {
            let left = check.findings.iter();
            return (left.map(|f| f.what.clone()).collect(), did);
        }
        did.extend(repair.done.into_iter().map(|step| step.what));
    }
}

/// A store with the same image, and the folder that it was made of.
fn another(fixture: &Fixture) -> Store {
    let store = Store::init(&fixture.source().with_file_name("other")).unwrap();
    let tree = import(&store, &fixture.source());
    store.seal(tree, Form::Os1, &origin()).unwrap();
    store
}

type Damages = Vec<(&'static str, fn(&Fixture))>;

fn damages() -> Damages {
    vec![
        ("flipped", |f| flip(&f.object)),
        ("flipped and large", |f| flip(&big(f))),
        ("missing", |f| fs::remove_file(&f.object).unwrap()),
        ("truncated", |f| rewrite(&f.object, |b| b.truncate(9))),
        ("longer", |f| rewrite(&f.object, |b| b.push(0))),
        ("a folder", |f| {
            fs::remove_file(&f.object).unwrap();
            fs::create_dir(&f.object).unwrap();
            fs::write(f.object.join("x"), "x").unwrap();
        }),
        ("a link", |f| {
            fs::remove_file(&f.object).unwrap();
            symlink("/etc/passwd", &f.object).unwrap();
        }),
        ("damaged and of the wrong mode", |f| {
            flip(&f.object);
            fs::set_permissions(&f.object, fs::Permissions::from_mode(0o666)).unwrap();
        }),
        ("mode", |f| {
            fs::set_permissions(&f.object, fs::Permissions::from_mode(0o600)).unwrap();
        }),
        ("image", |f| flip(&f.image_file())),
        ("image and object", |f| {
            flip(&f.image_file());
            fs::remove_file(&f.object).unwrap();
        }),
        ("link", |f| {
            let link = f.store.path().join(format!("images/{}", f.image));
            fs::remove_file(&link).unwrap();
            symlink("../objects/ab/cd", &link).unwrap();
        }),
        ("manifest", |f| {
            let folder = f.store.path().join(format!("manifests/{}", f.image));
            fs::write(folder.join("image.json"), "{").unwrap();
        }),
        ("strangers", |f| {
            fs::create_dir_all(f.store.path().join("objects/zz")).unwrap();
            fs::write(f.store.path().join("objects/zz/x"), "x").unwrap();
            fs::write(f.store.path().join("images/x"), "x").unwrap();
            fs::write(f.store.path().join("refs/%"), "x").unwrap();
            symlink("/etc", f.store.path().join("objects/etc")).unwrap();
            symlink("x", f.store.path().join("images/.new-1-1")).unwrap();
        }),
        ("leftover", |f| {
            let gone = Sha256::of(b"gone");
            fs::create_dir(f.store.path().join(format!("manifests/{gone}"))).unwrap();
        }),
        ("of no use", |f| {
            let gone = f.store.object_path(&Sha256::of(b"gone").into());
            fs::create_dir_all(gone.parent().unwrap()).unwrap();
            fs::write(gone, "other").unwrap();
        }),
    ]
}

#[test]
fn every_damage_is_put_right_from_another_store() {
    for (name, damage) in damages() {
        let fixture = fixture();
        let other = another(&fixture);
        damage(&fixture);
        assert_ne!(fixture.store.fsck(&Silent).unwrap().findings, [], "{name}");
        let (left, did) = repair(&fixture.store, |repair| {
            repair.from(&Source::Store(other.clone()), &Silent).unwrap();
        });
        assert_eq!(left, Vec::<String>::new(), "{name}");
        assert!(!did.is_empty(), "{name}");
        assert_eq!(fixture.store.refs().unwrap()["it"], fixture.image);
        let manifest = fixture.store.image(&fixture.image).unwrap();
        assert_eq!(
            (manifest.form.as_str(), manifest.source.as_str()),
            ("os-1", "dir:/x")
        );
        assert!(Path::new("/etc/passwd").is_file(), "{name}");
    }
}

#[test]
fn contents_are_found_in_any_folder_by_what_they_are() {
    for (name, damage) in damages() {
        let fixture = fixture();
        let folder = fixture.source().with_file_name("folder");
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        for (number, from) in [fixture.object.clone(), big(&fixture), fixture.image_file()]
            .iter()
            .enumerate()
        {
            fs::copy(from, folder.join(format!("deep/er/{number}"))).unwrap();
        }
        // Of the right size, and not what is wanted.
        fs::write(folder.join("0"), [b'y'; 65]).unwrap();
        symlink("..", folder.join("deep/round")).unwrap();
        damage(&fixture);
        let (left, _) = repair(&fixture.store, |repair| {
            repair
                .from(&Source::open(&folder).unwrap(), &Silent)
                .unwrap();
        });
        assert_eq!(left, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn what_is_nowhere_is_left_and_named_and_nothing_is_invented() {
    let fixture = fixture();
    let gone = Sha256::of(b"gone");
    let refs = fixture.store.path().join("refs");
    symlink(format!("../images/{gone}"), refs.join("lost")).unwrap();
    flip(&fixture.object);
    // Another store whose object is damaged too is not believed.
    let other = another(&fixture);
    let name = fixture.object.strip_prefix(fixture.store.path()).unwrap();
    flip(&other.path().join(name));
    let before = fs::read(&fixture.object).unwrap();
    let (left, did) = repair(&fixture.store, |repair| {
        repair.from(&Source::Store(other.clone()), &Silent).unwrap();
        let folder = other.path().join("objects");
        repair
            .from(&Source::open(&folder).unwrap(), &Silent)
            .unwrap();
    });
    assert_eq!(did, Vec::<String>::new());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].contains("is damaged"), "{left:?}");
    assert!(left[1].contains(&gone.to_string()), "{left:?}");
    assert_eq!(fs::read(&fixture.object).unwrap(), before);
    assert!(refs.join("lost").is_symlink());
}

#[test]
fn an_image_is_made_anew_of_its_layers() {
    let fixture = fixture();
    let tree = fixture.store.tree(&fixture.image).unwrap();
    let folder = fixture.source().with_file_name("layers");
    fs::create_dir(&folder).unwrap();
    let how = Compression::Chunked;
    let packed = export::layers(&fixture.store, &tree, how, &folder, &Silent).unwrap();
    let mut layers = Vec::new();
    for one in &packed {
        let content = fs::File::open(&one.path).unwrap();
        let imported = fixture
            .store
            .import_layer(&one.blob, one.media_type, content, &Silent);
        layers.push(imported.unwrap().blob);
    }
    fixture.store.note_layers(&fixture.image, &layers).unwrap();
    flip(&fixture.image_file());
    let (left, did) = repair(&fixture.store, |_| {});
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(did, ["made anew of the image's layers"]);
}
