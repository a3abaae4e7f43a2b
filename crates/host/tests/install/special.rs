//! A disk on which the specialisations of an image stand beside its first generation.

use crate::lab::{INITRD, Lab, bytes, can, ok, release, sealed, tree};
use crate::part;
use elea_formats::release::Release;
use elea_host::install::{Contents, Options, Role};
use elea_host::view::{Disks, State, View};
use elea_host::{fsck, generations};
use elea_store::Store;
use elea_sys::disk::Folder;
use elea_sys::progress::Silent;
use std::fs;

/// A lab whose image names a specialisation that it has, with another initrd, and one that it has not.
fn lab() -> Lab {
    let lab = Lab::new();
    let quiet = Release {
        title: "Tiny 1.0 (quiet)".into(),
        arguments: vec!["quiet".into()],
        ..release()
    };
    tree(&lab.path("quiet"), &quiet);
    fs::write(lab.path("quiet").join(INITRD), bytes(80_000, 4)).unwrap();
    let quiet = sealed(&lab.store, &lab.path("quiet"));
    let gone = elea_formats::digest::Sha256::of(b"gone").into();
    let main = Release {
        specialisations: [("quiet".into(), quiet), ("gone".into(), gone)].into(),
        ..release()
    };
    tree(&lab.path("main"), &main);
    let image = sealed(&lab.store, &lab.path("main"));
    let contents = Contents::load_all(&lab.store, &image, &Silent).unwrap();
    Lab {
        image,
        contents,
        ..lab
    }
}

#[test]
fn the_specialisations_of_an_image_stand_beside_the_first_generation() {
    if !can(&["debugfs", "mcopy", "e2fsck"]) {
        return;
    }
    let lab = lab();
    let names: Vec<&str> = lab
        .contents
        .beside
        .iter()
        .map(|(n, _)| n.as_str())
        .collect();
    assert_eq!(names, ["quiet"]);
    let options = Options {
        arguments: vec!["own=1".into()],
        ..Options::default()
    };
    let plan = lab.install("disk", &options);
    assert_eq!(plan.specialisations.len(), 1);
    let disk = lab.path("disk").display().to_string();
    let out = lab.path("out");
    fs::create_dir(&out).unwrap();
    let (boot, root) = (part(&plan, Role::Boot), part(&plan, Role::Root));
    let place = format!("'{disk}?offset={}'", root.start);
    ok(&format!("e2fsck -fn {place}"));
    ok(&format!(
        "debugfs -R 'rdump /elea {}' {place}",
        out.display()
    ));
    ok(&format!(
        "mcopy -s -i {disk}@@{} '::/*' {}",
        boot.start,
        out.display()
    ));
    let elea = out.join("elea");
    let (state, boot) = (Folder::new(&elea), Folder::new(&out));
    let disks = Disks {
        state: &state,
        boot: &boot,
    };
    let view = View::load(disks).unwrap();
    assert_eq!(generations::next(&view), Some(1));
    assert_eq!(
        (view.state(1, None), view.state(2, None)),
        (State::Good, State::Staged)
    );
    assert_eq!(view.stands_beside(2), Some(1));
    let (main, quiet) = (view.manifest(1).unwrap(), view.manifest(2).unwrap());
    assert_eq!(main.image, lab.image);
    assert_eq!(quiet.image, lab.contents.beside[0].1.boots.image.image);
    assert!(
        quiet.options.contains("elea.generation=2 "),
        "{}",
        quiet.options
    );
    assert!(quiet.options.ends_with(" quiet own=1"), "{}", quiet.options);
    assert_eq!(quiet.source, main.source);
    // The kernel is there once, the initrds are two; all of them are whole.
    assert_eq!(quiet.kernel, main.kernel);
    assert_ne!(quiet.initrds, main.initrds);
    let mut found = fsck::check(&view, disks).unwrap().findings;
    found.retain(|one| one.severity == fsck::Severity::Broken);
    assert!(found.is_empty(), "{found:?}");
    let store = Store::open(&elea.join("store")).unwrap();
    let images: Vec<_> = store.images().unwrap().iter().map(|i| i.image).collect();
    assert!(
        images.contains(&quiet.image) && images.contains(&main.image),
        "{images:?}"
    );
    assert!(store.fsck(&Silent).unwrap().findings.is_empty());
}
