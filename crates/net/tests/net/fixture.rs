//! Small systems, stores, and the options that tests use.

use elea_formats::digest::Sha256;
use elea_formats::form::Form;
use elea_formats::oci::reference::Reference;
use elea_formats::release::{Health, ImageManifest, Release, SCHEMA};
use elea_net::{NetError, Offer, Options, Pulled, check, pull};
use elea_store::trust::{Algorithm, Keys, Policy, PrivateKey, PublicKey, Rules, Running};
use elea_store::{Origin, Store};
use elea_sys::progress::{Progress, Silent, Unit};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// A store in a folder that is removed with it.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a small system of this version and seals it.
    pub(crate) fn system(&self, name: &str, version: &str, epoch: u64) -> ImageManifest {
        let root = self.path(&format!("tree-{name}-{version}-{epoch}"));
        write_system(&root, name, version, epoch);
        self.import(&root)
    }

    /// The same with specialisations that it names: the small system of another title for each of these names.
    pub(crate) fn specialised(&self, version: &str, names: &[&str]) -> ImageManifest {
        let make = |folder: &str, title: &str, specialisations| {
            let root = self.path(&format!("tree-{folder}-{version}"));
            write_system(&root, "hello", version, 0);
            let release = Release {
                title: title.into(),
                specialisations,
                ..release("hello", version, 0)
            };
            let path = root.join(elea_formats::release::PATH);
            fs::write(&path, serde_json::to_vec(&release).unwrap()).unwrap();
            let time = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let file = fs::File::open(&path).unwrap();
            file.set_modified(time).unwrap();
            self.import(&root)
        };
        let one = |name: &&str| ((*name).to_owned(), make(name, name, BTreeMap::new()).image);
        make("main", "Hello", names.iter().map(one).collect())
    }

    pub(crate) fn import(&self, root: &Path) -> ImageManifest {
        let tree = self.store.import_dir(root, &Silent).unwrap();
        let origin = Origin {
            source: "dir:test".into(),
            ..Origin::default()
        };
        self.store.seal(tree, Form::Os1, &origin).unwrap()
    }

    /// Checks and pulls; the lease is dropped.
    pub(crate) fn pull(&self, reference: &Reference, policy: &Policy) -> Result<Pulled, NetError> {
        let offer = self.check(reference, policy)?;
        pull(&offer, &self.store, &options(), policy, None, &Silent)
    }

    pub(crate) fn check(&self, reference: &Reference, policy: &Policy) -> Result<Offer, NetError> {
        check(reference, &self.store, &options(), policy, None, &Silent)
    }

    pub(crate) fn assert_empty(&self) {
        assert!(self.store.images().unwrap().is_empty());
    }

    /// The sizes of the blobs that wait for another try.
    pub(crate) fn partial(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.store.path().join("partial")) else {
            return Vec::new();
        };
        entries
            .map(|e| e.unwrap().metadata().unwrap().len())
            .collect()
    }
}

/// Options with short waits.
pub(crate) fn options() -> Options {
    Options {
        attempts: 3,
        backoff: Duration::from_millis(1),
        idle_timeout: Duration::from_secs(10),
        ..Options::default()
    }
}

pub(crate) fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(crate) fn key() -> PrivateKey {
    PrivateKey::generate(Algorithm::EcdsaP256).unwrap()
}

/// Trusts these keys and nothing else.
pub(crate) fn trusting(keys: &[&PrivateKey]) -> Policy {
    trusting_public(keys.iter().map(|key| key.public()))
}

pub(crate) fn trusting_public(keys: impl IntoIterator<Item = PublicKey>) -> Policy {
    let mut trusted = Keys::default();
    for key in keys {
        trusted.add(Path::new("test.pub"), key);
    }
    ruled(Rules::of_keys(trusted))
}

pub(crate) fn ruled(rules: Rules) -> Policy {
    Policy {
        rules,
        allow_unsigned: false,
        allow_downgrade: false,
    }
}

pub(crate) fn anything() -> Policy {
    Policy {
        allow_unsigned: true,
        ..trusting(&[])
    }
}

pub(crate) fn running(name: &str, version: &str, epoch: u64) -> Running {
    Running {
        name: name.into(),
        version: version.into(),
        epoch,
    }
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Writes a system of a few packages, one of them large. Of two versions, the package `tool` and the
/// release differ.
pub(crate) fn write_system(root: &Path, name: &str, version: &str, epoch: u64) {
    let write = |path: &str, bytes: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let info = "usr/lib/sysimage/dpkg/info";
    write("usr/lib/big/data", &noise(1, 5 << 20));
    write(
        &format!("{info}/big.list"),
        b"/usr/lib/big\n/usr/lib/big/data\n",
    );
    write("usr/bin/tool", format!("tool of {version}\n").as_bytes());
    fs::set_permissions(
        root.join("usr/bin/tool"),
        fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    symlink("tool", root.join("usr/bin/link")).unwrap();
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/hard")).unwrap();
    write(
        &format!("{info}/tool.list"),
        b"/usr/bin/tool\n/usr/bin/link\n",
    );
    write(
        "usr/share/doc/text",
        &b"a text that compresses\n".repeat(1000),
    );
    write(&format!("{info}/text.list"), b"/usr/share/doc/text\n");
    write("usr/lib/modules/6.12/vmlinuz", &noise(2, 300_000));
    write("etc/hostname", b"hello\n");
    write("etc/empty", b"");
    fs::create_dir_all(root.join("var")).unwrap();
    let release = release(name, version, epoch);
    let text = serde_json::to_vec(&release).unwrap();
    write(elea_formats::release::PATH, &text);
    // A build leaves files the times of their packages, and sets directories to a time of its own.
    let touch = |kind: &str, time: &str| {
        run(Command::new("find").arg(root).args([
            kind, "-type", "d", "-exec", "touch", "-h", "-d", time, "{}", "+",
        ]));
    };
    touch("!", "@1700000000");
    touch(
        "-true",
        &format!(
            "@17100000{:02}",
            version.len() + usize::from(version.as_bytes()[0])
        ),
    );
}

pub(crate) fn release(name: &str, version: &str, epoch: u64) -> Release {
    Release {
        schema: SCHEMA.into(),
        name: name.into(),
        version: version.into(),
        epoch,
        architecture: "amd64".into(),
        title: format!("Hello {version}"),
        kernel: "usr/lib/modules/6.12/vmlinuz".into(),
        initrds: Vec::new(),
        loader: "usr/lib/elea/boot/systemd-bootx64.efi".into(),
        loader_version: "262".into(),
        arguments: Vec::new(),
        health: Health::default(),
        update: None,
        packages: Vec::new(),
        specialisations: BTreeMap::new(),
    }
}

/// Whether a program is there; if not, the test says that it is skipped.
pub(crate) fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: no {program}");
    }
    found
}

/// Runs a program that must succeed; gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {said}");
    String::from_utf8(out.stdout).unwrap()
}

/// The digest in `sha256:…`.
pub(crate) fn sha256(text: &str) -> Sha256 {
    text.strip_prefix("sha256:").unwrap().parse().unwrap()
}

/// Listens, and asks to stop once a step has gone far enough.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    /// The steps, and how far each went.
    steps: Mutex<Vec<(String, u64)>>,
    pub(crate) notes: Mutex<Vec<String>>,
    /// The step to stop in, and after how many bytes of it.
    pub(crate) stop: Option<(&'static str, u64)>,
}

impl Listener {
    /// Stops in a step after so many bytes of it.
    pub(crate) fn stopping(step: &'static str, after: u64) -> Self {
        Self {
            stop: Some((step, after)),
            ..Self::default()
        }
    }

    /// How far a step went.
    pub(crate) fn bytes_of(&self, step: &str) -> Option<u64> {
        let steps = self.steps.lock().unwrap();
        steps.iter().find(|(name, _)| name == step).map(|(_, b)| *b)
    }
}

impl Progress for Listener {
    fn start(&self, step: &str, _: Option<u64>, _: Unit) {
        self.steps.lock().unwrap().push((step.into(), 0));
    }
    fn advance(&self, amount: u64) {
        self.steps.lock().unwrap().last_mut().unwrap().1 += amount;
    }
    fn finish(&self) {}
    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.into());
    }
    fn cancelled(&self) -> bool {
        self.stop
            .is_some_and(|(step, after)| self.bytes_of(step).is_some_and(|bytes| bytes >= after))
    }
}
