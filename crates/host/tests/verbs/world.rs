//! A machine in a folder, and somebody who publishes releases for it in an OCI layout.

use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::generation::Generation;
use elea_formats::oci::reference::Reference;
use elea_formats::oplog::Cause;
use elea_formats::release::{Health, Package, Release, SCHEMA, Source};
use elea_host::Machine;
use elea_host::apply::NoPayloads;
use elea_host::install::Bootable;
use elea_host::plan;
use elea_store::trust::{Algorithm, PrivateKey};
use elea_store::{Origin, Store};
use elea_sys::progress::Silent;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) key: PrivateKey,
    publisher: Store,
}

fn release(version: &str, layout: &str) -> Release {
    let package = |name: &str, version: &str| Package {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
    };
    let mut packages = vec![package("base", "1"), package("hello", version)];
    if version == "2.0" {
        packages.push(package("tree", "2.1"));
    }
    Release {
        schema: SCHEMA.into(),
        name: "tiny".into(),
        version: version.into(),
        epoch: 0,
        architecture: "amd64".into(),
        title: format!("Tiny {version}"),
        kernel: "usr/lib/modules/6/vmlinuz".into(),
        initrds: vec!["usr/lib/modules/6/elea-initrd.img".into()],
        loader: "usr/lib/elea/boot/systemd-bootx64.efi".into(),
        loader_version: "262".into(),
        arguments: vec![format!("release={version}")],
        health: Health::default(),
        update: Some(Source {
            reference: layout.into(),
            plain_http: false,
        }),
        packages,
        specialisations: BTreeMap::new(),
    }
}

impl World {
    /// A machine that runs 1.0 from its disk, good, with an argument of its own.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same, with more files in its image.
    pub(crate) fn with(more: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = PrivateKey::generate(Algorithm::Ed25519).unwrap();
        let publisher = Store::init(&dir.path().join("publisher")).unwrap();
        let world = Self {
            dir,
            key,
            publisher,
        };
        let root = world.root();
        for folder in [
            "elea/state",
            "elea/generations",
            "efi/loader",
            "etc/elea/trust.d",
        ] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let trusted = root.join("etc/elea/trust.d/tiny.pub");
        fs::write(trusted, world.key.public().to_pem()).unwrap();
        let store = Store::init(&root.join("elea/store")).unwrap();
        let image = world.import(&store, "1.0", more);
        let contents = Bootable::load(&store, &image).unwrap();
        let uuid = "00000000-1111-2222-3333-444444444444";
        let own = ["own=1".to_owned()];
        let created = "2026-11-24T16:30:00Z".to_owned();
        let first = contents.generation(uuid, &own, created).unwrap();
        let machine = world.machine();
        let plan = plan::stage(&machine.view().unwrap(), &first, false, None).unwrap();
        machine.apply(&plan, &contents).unwrap();
        world.healthy(1);
        world
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn machine(&self) -> Machine {
        Machine::open(&self.root(), "test").unwrap()
    }

    pub(crate) fn reference(&self) -> String {
        format!("oci:{}:stable", self.layout().display())
    }

    pub(crate) fn import(&self, store: &Store, version: &str, more: &[(&str, &str)]) -> Digest {
        self.import_release(store, &release(version, &self.reference()), more)
    }

    fn import_release(&self, store: &Store, release: &Release, more: &[(&str, &str)]) -> Digest {
        let version = release.version.as_str();
        let tree = self.dir.path().join("tree");
        let _ = fs::remove_dir_all(&tree);
        let put = |path: &str, content: &[u8]| {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            // Content alone tells two releases apart.
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_760_000_000);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
        };
        put(
            elea_formats::release::PATH,
            &serde_json::to_vec(release).unwrap(),
        );
        put(&release.kernel, "kernel ".repeat(4000).as_bytes());
        put(&release.initrds[0], version.repeat(9000).as_bytes());
        put(&release.loader, "loader ".repeat(700).as_bytes());
        put("usr/share/common", "common ".repeat(15_000).as_bytes());
        for (path, text) in more {
            put(path, text.as_bytes());
        }
        put("usr/bin/hello", version.repeat(2000).as_bytes());
        let tree = store.import_dir(&tree, &Silent).unwrap();
        let origin = Origin {
            source: "dir:tree".into(),
            ..Origin::default()
        };
        store.seal(tree, Form::Os1, &origin).unwrap().image
    }

    /// The image of a version in a store, with specialisations of these names.
    pub(crate) fn import_with(&self, store: &Store, version: &str, beside: &[&str]) -> Digest {
        let mut main = release(version, &self.reference());
        for name in beside {
            let mut one = release(version, &self.reference());
            one.title = format!("Tiny {version} ({name})");
            one.arguments.push((*name).to_owned());
            let image = self.import_release(store, &one, &[("etc/special", name)]);
            main.specialisations.insert((*name).to_owned(), image);
        }
        self.import_release(store, &main, &[])
    }

    /// Publishes a version with specialisations.
    pub(crate) fn publish_with(&self, version: &str, beside: &[&str]) {
        let image = self.import_with(&self.publisher, version, beside);
        self.push(&image, Some(&self.key));
    }

    fn push(&self, image: &Digest, key: Option<&PrivateKey>) {
        let reference: Reference = self.reference().parse().unwrap();
        let options = elea_net::Options::default();
        elea_net::push(image, &self.publisher, &reference, &options, key, &Silent).unwrap();
    }

    /// Publishes a version under the tag that the machine follows.
    pub(crate) fn publish(&self, version: &str, signed: bool) {
        let image = self.import(&self.publisher, version, &[]);
        self.push(&image, signed.then_some(&self.key));
    }

    /// The folder of the layout that the machine follows.
    pub(crate) fn layout(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    pub(crate) fn manifest(&self, number: u64) -> Generation {
        let view = self.machine().view().unwrap();
        view.manifest(number).unwrap().clone()
    }

    /// A boot of a generation was healthy.
    pub(crate) fn healthy(&self, number: u64) {
        let machine = self.machine();
        machine.apply(&plan::healthy(number), &NoPayloads).unwrap();
        let commit = plan::commit(&machine.view().unwrap(), number).unwrap();
        machine.apply(&commit, &NoPayloads).unwrap();
    }

    /// A generation used up its tries, and the next boot wrote down why.
    pub(crate) fn failed(&self, number: u64, reason: &str) {
        let machine = self.machine();
        let condemn = plan::condemn(&machine.view().unwrap(), number);
        machine.apply(&condemn, &NoPayloads).unwrap();
        let failed = plan::failed(&machine.view().unwrap(), number, Cause::Health, reason);
        machine.apply(&failed, &NoPayloads).unwrap();
    }
}
