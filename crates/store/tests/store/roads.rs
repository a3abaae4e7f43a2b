//! The same tree by every road has the same name.

use crate::sample::{import, is_root, origin, run, sample, system};
use elea_formats::digest::Sha256;
use elea_formats::dump;
use elea_formats::form::{Form, canonical};
use elea_formats::oci::media;
use elea_formats::tree::Tree;
use elea_store::Store;
use elea_store::export::{self, Compression};
use elea_store::layer::Layer;
use elea_sys::progress::Silent;
use std::fs::{self, File};
use std::path::Path;

fn os1(tree: &Tree) -> String {
    let mut tree = tree.clone();
    canonical(&mut tree, Form::Os1);
    dump::encode(&tree)
}

/// The trees are compared as text first, so that a failure says where they differ.
fn assert_same(road: &str, store: &Store, tree: &Tree, expected: &Tree) {
    let (found, wanted) = (os1(tree), os1(expected));
    for (found, wanted) in found.lines().zip(wanted.lines()) {
        assert_eq!(found, wanted, "by {road}");
    }
    assert_eq!(found, wanted, "by {road}");
    let seal = |tree: &Tree| {
        store
            .seal(tree.clone(), Form::Os1, &origin())
            .unwrap()
            .image
    };
    assert_eq!(seal(tree), seal(expected), "by {road}");
}

fn layers(store: &Store, tree: &Tree, how: Compression, folder: &Path) -> Vec<Layer> {
    let packed = export::layers(store, tree, how, folder, &Silent).unwrap();
    packed
        .iter()
        .map(|one| {
            let file = File::open(&one.path).unwrap();
            let layer = store
                .import_layer(&one.blob, one.media_type, file, &Silent)
                .unwrap();
            assert_eq!(layer.diff_id, one.diff_id);
            let known = store.layer(&one.blob).unwrap().unwrap();
            assert_eq!(known.diff_id, one.diff_id);
            known
        })
        .collect()
}

#[test]
fn a_folder_is_read_without_a_store_as_it_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    sample(&source);
    // At the edges of what is inline, of one piece, and of what is read whole.
    for size in [0, 1, 64, 65, 128 << 10, (128 << 10) + 1, (8 << 20) + 1] {
        let content: Vec<u8> = (0..=250).cycle().take(size).collect();
        fs::write(source.join(format!("of-{size}")), content).unwrap();
    }
    let store = Store::init(&dir.path().join("store")).unwrap();
    let read = elea_store::read_dir(&source, dir.path(), store.algorithm(), &Silent).unwrap();
    let imported = import(&store, &source);
    assert_eq!(dump::encode(&read), dump::encode(&imported));
}

#[test]
fn folder_tar_and_layers_agree() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    system(&source);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);

    let mut ours = Vec::new();
    export::tar(&store, &tree, &mut ours).unwrap();
    let mut again = Vec::new();
    export::tar(&store, &tree, &mut again).unwrap();
    assert!(ours == again, "the same tree gives the same bytes");
    let back = store.import_tar(ours.as_slice(), &Silent).unwrap();
    assert_same("our tar", &store, &back, &tree);

    // A store that has nothing of it yet, through each packing.
    fs::write(dir.path().join("ours.tar"), &ours).unwrap();
    for (program, end) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz")] {
        if run(program, &["-k", "-1", "-q", "ours.tar"], dir.path()).is_none() {
            continue;
        }
        let other = Store::init(&dir.path().join(end)).unwrap();
        let file = File::open(dir.path().join(format!("ours.tar.{end}"))).unwrap();
        let back = other.import_tar(file, &Silent).unwrap();
        assert_same(program, &other, &back, &back);
        assert_same(program, &store, &back, &tree);
    }

    let list = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    for (how, compression) in Compression::NAMES {
        let folder = dir.path().join(format!("{how} layers"));
        let parts = layers(&store, &tree, compression, &folder);
        assert!(parts.len() > 1);
        assert_same(how, &store, &store.assemble(&parts).unwrap(), &tree);
        let second = dir.path().join(format!("{how} again"));
        export::layers(&store, &tree, compression, &second, &Silent).unwrap();
        assert_eq!(
            list(&folder),
            list(&second),
            "the same tree gives the same layers"
        );
    }
}

#[test]
fn gnu_tar_agrees() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    system(&source);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let tree = import(&store, &source);
    for format in ["pax", "gnu"] {
        let file = format!("{format}.tar");
        let mut arguments = vec!["--numeric-owner", "-C", "source", "-cf", &file];
        let format = format!("--format={format}");
        arguments.push(&format);
        // Only PAX headers hold attributes.
        if format.ends_with("pax") {
            arguments.extend(["--xattrs", "--xattrs-include=*", "--acls"]);
        }
        arguments.push(".");
        if run("tar", &arguments, dir.path()).is_none() {
            return;
        }
        let file = File::open(dir.path().join(&file)).unwrap();
        let back = store.import_tar(file, &Silent).unwrap();
        if format.ends_with("pax") {
            assert_same("GNU tar", &store, &back, &tree);
        } else {
            let mut bare = tree.clone();
            strip(&mut bare);
            assert_same("GNU tar without PAX", &store, &back, &bare);
        }
    }
    // Theirs reads ours.
    let mut ours = Vec::new();
    export::tar(&store, &tree, &mut ours).unwrap();
    fs::write(dir.path().join("ours.tar"), &ours).unwrap();
    fs::create_dir(dir.path().join("out")).unwrap();
    let arguments = [
        "--xattrs",
        "--xattrs-include=*",
        "--numeric-owner",
        "-C",
        "out",
        "-xpf",
    ];
    run("tar", &[&arguments[..], &["ours.tar"]].concat(), dir.path());
    let back = import(&store, &dir.path().join("out"));
    assert_same("GNU tar's unpacking", &store, &back, &tree);
}

fn strip(tree: &mut Tree) {
    tree.each_meta(|meta| meta.xattrs.clear());
}

/// Makes an OCI layout of layers, by hand.
fn layout(folder: &Path, packed: &[export::Packed]) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |text: &str| {
        let digest = Sha256::of(text.as_bytes());
        fs::write(blobs.join(digest.to_string()), text).unwrap();
        (digest, text.len())
    };
    let mut ids = Vec::new();
    let mut descriptors = Vec::new();
    for one in packed {
        fs::copy(&one.path, blobs.join(one.blob.to_string())).unwrap();
        ids.push(format!("\"sha256:{}\"", one.diff_id));
        descriptors.push(format!(
            r#"{{"mediaType":"{}","digest":"sha256:{}","size":{}}}"#,
            one.media_type, one.blob, one.size
        ));
    }
    let (config, config_size) = put(&format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        ids.join(",")
    ));
    let (manifest, manifest_size) = put(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"sha256:{config}","size":{config_size}}},"layers":[{}]}}"#,
        media::MANIFEST,
        media::CONFIG,
        descriptors.join(",")
    ));
    fs::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"sha256:{manifest}","size":{manifest_size},"annotations":{{"org.opencontainers.image.ref.name":"latest"}}}}]}}"#,
        media::MANIFEST
    );
    fs::write(folder.join("index.json"), index).unwrap();
}

/// The layers of a layout's image, imported.
fn read_layout(store: &Store, folder: &Path, tag: &str) -> Vec<Layer> {
    let index = fs::read(folder.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let named = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let blob = |descriptor: &serde_json::Value| {
        let digest: Sha256 = descriptor["digest"].as_str().unwrap()["sha256:".len()..]
            .parse()
            .unwrap();
        (digest, folder.join(format!("blobs/sha256/{digest}")))
    };
    let manifest = fs::read(blob(named.unwrap()).1).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    layers
        .iter()
        .map(|layer| {
            let (digest, path) = blob(layer);
            let kind = layer["mediaType"].as_str().unwrap();
            let file = File::open(path).unwrap();
            store.import_layer(&digest, kind, file, &Silent).unwrap()
        })
        .collect()
}

#[test]
fn skopeo_and_umoci_agree() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let source = at.join("source");
    system(&source);
    let store = Store::init(&at.join("store")).unwrap();
    let tree = import(&store, &source);
    let packed = export::layers(
        &store,
        &tree,
        Compression::Gzip,
        &at.join("layers"),
        &Silent,
    )
    .unwrap();
    layout(&at.join("image"), &packed);

    let copied = run(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            "oci:image:latest",
            "oci:copy:latest",
        ],
        at,
    );
    if copied.is_some() {
        let layers = read_layout(&store, &at.join("copy"), "latest");
        assert_same("skopeo", &store, &store.assemble(&layers).unwrap(), &tree);
    }

    if run(
        "umoci",
        &["unpack", "--image", "image:latest", "bundle"],
        at,
    )
    .is_none()
    {
        return;
    }
    let unpacked = import(&store, &at.join("bundle/rootfs"));
    assert_same("umoci's unpacking", &store, &unpacked, &tree);

    // A layer of umoci's own, with whiteouts in it.
    let rootfs = at.join("bundle/rootfs");
    fs::remove_file(rootfs.join("etc/small")).unwrap();
    fs::remove_dir_all(rootfs.join("usr/share")).unwrap();
    fs::create_dir(rootfs.join("usr/share")).unwrap();
    fs::write(rootfs.join("usr/share/new"), "new file ".repeat(20)).unwrap();
    fs::remove_file(rootfs.join("usr/lib/conf")).unwrap();
    fs::create_dir(rootfs.join("usr/lib/conf")).unwrap();
    fs::write(rootfs.join("usr/lib/conf/inside"), "x").unwrap();
    crate::sample::whole_seconds(&rootfs);
    run(
        "umoci",
        &["repack", "--image", "image:second", "bundle"],
        at,
    );
    let layers = read_layout(&store, &at.join("image"), "second");
    assert_eq!(layers.len(), packed.len() + 1);
    let changed = import(&store, &rootfs);
    assert_same(
        "umoci's layer",
        &store,
        &store.assemble(&layers).unwrap(),
        &changed,
    );
}
