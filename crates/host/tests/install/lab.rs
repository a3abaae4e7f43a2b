//! A small system image in a store, and other people's programs.

use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_formats::release::{Health, Release, Source};
use elea_host::install::{Contents, Error, Options, Plan, Target, apply, plan};
use elea_store::{Origin, Store};
use elea_sys::progress::{Progress, Silent, Unit};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

/// Sizes at every edge of fs-verity's tree, and of the 64 KiB that it is aligned to.
pub(crate) const SIZES: [usize; 10] = [
    65, 4095, 4096, 4097, 65_536, 65_537, 524_288, 524_289, 1_000_000, 3_000_001,
];
pub(crate) const KERNEL: &str = "usr/lib/modules/6.12/vmlinuz";
pub(crate) const INITRD: &str = "usr/lib/modules/6.12/elea-initrd.img";
pub(crate) const LOADER: &str = "usr/lib/elea/boot/systemd-bootx64.efi";

/// A folder, a store in it, and an image in that.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) image: Digest,
    pub(crate) contents: Contents,
}

/// Content without two blocks alike.
pub(crate) fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn release() -> Release {
    Release {
        schema: elea_formats::release::SCHEMA.into(),
        name: "tiny".into(),
        version: "1.0".into(),
        epoch: 3,
        architecture: "amd64".into(),
        title: "Tiny 1.0".into(),
        kernel: KERNEL.into(),
        initrds: vec![INITRD.into()],
        loader: LOADER.into(),
        loader_version: "262".into(),
        arguments: vec!["console=ttyS0".into(), "note=two words".into()],
        health: Health::default(),
        update: Some(Source {
            reference: "registry:example.org/tiny:stable".into(),
            plain_http: false,
        }),
        packages: Vec::new(),
        specialisations: BTreeMap::new(),
    }
}

/// Writes a system's tree.
pub(crate) fn tree(root: &Path, release: &Release) {
    let put = |path: &str, content: &[u8]| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put(
        elea_formats::release::PATH,
        &serde_json::to_vec(release).unwrap(),
    );
    put(KERNEL, &bytes(300_000, 1));
    put(INITRD, &bytes(70_000, 2));
    put(LOADER, &bytes(120_000, 3));
    for (size, seed) in SIZES.into_iter().zip(10..) {
        put(&format!("usr/share/sizes/{size}"), &bytes(size, seed));
    }
    // A block of zeros in the middle of a file, which mke2fs makes a hole.
    let mut hollow = bytes(40_000, 99);
    hollow[8192..20_480].fill(0);
    put("usr/share/sizes/hollow", &hollow);
    put("etc/shadow", b"root:*:::::::");
    for folder in ["var", "sysroot", "efi", "home"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::of(&release())
    }

    pub(crate) fn of(release: &Release) -> Self {
        let (dir, store, image) = imported(release);
        let contents = Contents::load(&store, &image).unwrap();
        Self {
            dir,
            store,
            image,
            contents,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A plan for a new file of so many MiB.
    pub(crate) fn plan(&self, name: &str, mib: u64, options: &Options) -> Result<Plan, Error> {
        let target = Target::inspect(&self.path(name), Some(mib << 20))?;
        plan(&self.contents, &target, options)
    }

    pub(crate) fn apply(&self, plan: &Plan, progress: &dyn Progress) -> Result<(), Error> {
        let store = self.store.path();
        apply(plan, &self.contents, store, self.dir.path(), progress)
    }

    /// A new disk file of 1.2 GiB.
    pub(crate) fn install(&self, name: &str, options: &Options) -> Plan {
        let plan = self.plan(name, 1200, options).unwrap();
        self.apply(&plan, &Silent).unwrap();
        plan
    }
}

/// A store with one image.
pub(crate) fn imported(release: &Release) -> (tempfile::TempDir, Store, Digest) {
    let base = std::env::var_os("CARGO_TARGET_TMPDIR").map(PathBuf::from);
    let base = base.unwrap_or_else(std::env::temp_dir);
    fs::create_dir_all(&base).unwrap();
    let dir = tempfile::tempdir_in(base).unwrap();
    tree(&dir.path().join("tree"), release);
    let store = Store::init(&dir.path().join("store")).unwrap();
    let image = sealed(&store, &dir.path().join("tree"));
    (dir, store, image)
}

/// The image of a tree.
pub(crate) fn sealed(store: &Store, tree: &Path) -> Digest {
    let tree = store.import_dir(tree, &Silent).unwrap();
    let origin = Origin {
        source: "dir:tree".into(),
        ..Origin::default()
    };
    store.seal(tree, Form::Os1, &origin).unwrap().image
}

/// Whether this test can run; says why not.
pub(crate) fn can(programs: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: not root");
        return false;
    }
    let there = |program: &&&str| {
        let mut found = Command::new("sh");
        found.args([
            "-c",
            &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}"),
        ]);
        found
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    };
    let missing = ["mke2fs", "debugfs", "e2fsck"]
        .iter()
        .chain(programs)
        .find(|p| !there(p));
    if let Some(program) = missing {
        eprintln!("skipped: no {program}");
    }
    missing.is_none()
}

/// Runs a command line; standard output and error together, and whether it succeeded.
pub(crate) fn sh(line: &str) -> (bool, String) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C MTOOLS_SKIP_CHECK=1; {line}"
        ))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Runs a command line that must succeed.
pub(crate) fn ok(line: &str) -> String {
    let (success, text) = sh(line);
    assert!(success, "{line}: {text}");
    text
}

/// The same of something that lets go of a device: another program's mount namespace, made while the device was
/// mounted here, keeps it busy until that program ends.
pub(crate) fn ok_once_free(line: &str) {
    for _ in 0..300 {
        if sh(line).0 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    ok(line);
}

/// Stops the work when so many steps and pieces have gone by.
pub(crate) struct Stop(pub(crate) AtomicI64);

impl Progress for Stop {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
    fn advance(&self, _: u64) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
    fn finish(&self) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }
}

/// A loop device, detached when it is dropped.
pub(crate) struct LoopDevice(pub(crate) String);

impl LoopDevice {
    pub(crate) fn new(file: &Path, options: &str) -> Option<Self> {
        let (success, text) = sh(&format!("losetup -f --show {options} {}", file.display()));
        if !success {
            eprintln!("skipped: no loop device: {text}");
        }
        success.then(|| Self(text.trim().to_owned()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        sh(&format!("losetup -d {}", self.0));
    }
}

/// A mount, taken away when it is dropped.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    pub(crate) fn new(what: &str, at: &Path, options: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        ok(&format!("mount {options} {what} {}", at.display()));
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        sh(&format!("umount {}", self.0.display()));
    }
}
