//! What is refused or fails, and what is left then.

use super::lab::{Lab, LoopDevice, Mounted, Stop, can, imported, ok, ok_once_free, release};
use elea_host::install::{Contents, Error, Filesystem, Options, Target, plan};
use elea_sys::progress::Silent;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::AtomicI64;

/// What `inspect` says against a path.
fn refusal(path: &Path, size: Option<u64>) -> String {
    Target::inspect(path, size).unwrap_err().to_string()
}

#[test]
fn what_is_no_disk_is_named() {
    let lab = Lab::new();
    let folder = lab.path("folder");
    fs::create_dir(&folder).unwrap();
    let cases = [
        (Path::new("/dev/null"), None, "is a character device"),
        (&folder, None, "is a folder"),
        (
            Path::new("/dev/no-such-disk"),
            Some(1 << 30),
            "there is no device",
        ),
        (&lab.path("new"), None, "`--size 8G`"),
        (&lab.path("none/new"), Some(1 << 30), "cannot follow"),
    ];
    for (path, size, said) in cases {
        let text = refusal(path, size);
        assert!(text.contains(said), "{text}");
    }
    assert!(!lab.path("new").exists());
}

#[test]
fn a_file_is_looked_at() {
    if !can(&["mke2fs"]) {
        return;
    }
    let lab = Lab::new();
    let blank = lab.path("blank");
    File::create(&blank).unwrap().set_len(900 << 20).unwrap();
    assert!(Target::inspect(&blank, None).unwrap().found.is_empty());
    assert!(refusal(&blank, Some(1 << 20)).contains("cannot be made"));
    let text = lab.path("letter");
    fs::write(&text, "Dear reader").unwrap();
    let found = Target::inspect(&text, Some(1 << 30)).unwrap().found;
    assert_eq!(found, ["data that is no disk image"]);
    let used = lab.path("used");
    File::create(&used).unwrap().set_len(900 << 20).unwrap();
    ok(&format!("mke2fs -q -t ext4 -L holiday {}", used.display()));
    let target = Target::inspect(&used, None).unwrap();
    let error = plan(&lab.contents, &target, &Options::default()).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("labelled `holiday`") && said.contains("--wipe"),
        "{said}"
    );
    let before = fs::read(&used).unwrap();
    assert!(before == fs::read(&used).unwrap(), "looking writes nothing");
    let wipe = Options {
        wipe: true,
        ..Options::default()
    };
    let plan = plan(&lab.contents, &target, &wipe).unwrap();
    assert_eq!(plan.destroys, target.found);
    lab.apply(&plan, &Silent).unwrap();
    let found = Target::inspect(&used, None).unwrap().found;
    assert!(
        found.contains(&"a GPT partition table".to_owned()),
        "{found:?}"
    );
}

#[test]
fn too_small_is_said_with_the_size_that_would_do() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let options = Options::default();
    let Err(Error::TooSmall { needed, .. }) = lab.plan("disk", 600, &options) else {
        panic!("600 MiB were taken");
    };
    assert!(lab.plan("disk", (needed >> 20) - 1, &options).is_err());
    // What is said to be enough is enough.
    let plan = lab.plan("disk", needed >> 20, &options).unwrap();
    lab.apply(&plan, &Silent).unwrap();
}

#[test]
fn a_busy_disk_is_refused_with_its_user() {
    if !can(&["losetup", "mke2fs", "addpart"]) {
        return;
    }
    let lab = Lab::new();
    let file = lab.path("device");
    File::create(&file).unwrap().set_len(900 << 20).unwrap();
    let Some(device) = LoopDevice::new(&file, "") else {
        return;
    };
    let said = refusal(&file, None);
    assert!(
        said.contains("is in use") && said.contains(&device.0),
        "{said}"
    );
    let path = Path::new(&device.0);
    Target::inspect(path, None).unwrap();
    assert!(refusal(path, Some(1 << 30)).contains("cannot be made"));
    ok(&format!("mke2fs -q -t ext4 {}", device.0));
    let mounted = Mounted::new(&device.0, &lab.path("mnt"), "");
    let said = refusal(path, None);
    assert!(
        said.contains("is mounted on") && said.contains("unmount"),
        "{said}"
    );
    drop(mounted);
    ok(&format!("addpart {} 1 2048 20480", device.0));
    let partition = format!("{}p1", device.0);
    let said = refusal(Path::new(&partition), None);
    ok(&format!("mke2fs -q -t ext4 -F {partition}"));
    let mounted = Mounted::new(&partition, &lab.path("mnt"), "");
    let mounted_part = refusal(path, None);
    drop(mounted);
    ok_once_free(&format!("delpart {} 1", device.0));
    assert!(said.contains("is a partition of loop"), "{said}");
    assert!(mounted_part.contains("p1 is mounted on"), "{mounted_part}");
    drop(device);
    let read_only = LoopDevice::new(&file, "-r").unwrap();
    let said = refusal(Path::new(&read_only.0), None);
    assert!(said.contains("is read-only"), "{said}");
}

#[test]
fn stopped_anywhere_it_leaves_no_file() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let mut stopped = 0;
    for steps in 0.. {
        let plan = lab.plan("disk", 900, &Options::default()).unwrap();
        match lab.apply(&plan, &Stop(AtomicI64::new(steps))) {
            Ok(()) => break,
            Err(Error::Cancelled) => stopped += 1,
            Err(e) => panic!("after {steps} steps: {e}"),
        }
        assert!(!lab.path("disk").exists(), "after {steps} steps");
        let left = fs::read_dir(lab.dir.path()).unwrap().flatten();
        let left: Vec<_> = left
            .filter(|e| e.file_name().to_string_lossy().starts_with("elea-install-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(stopped > 10, "{stopped}");
}

#[test]
fn a_stopped_install_leaves_a_blank_file_blank() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    File::create(lab.path("disk"))
        .unwrap()
        .set_len(900 << 20)
        .unwrap();
    let target = Target::inspect(&lab.path("disk"), None).unwrap();
    let plan = plan(&lab.contents, &target, &Options::default()).unwrap();
    // As late as can be: all but the table has been written.
    let all = Stop(AtomicI64::new(1_000_000));
    let other = lab.plan("other", 900, &Options::default()).unwrap();
    lab.apply(&other, &all).unwrap();
    let steps = 1_000_000 - all.0.into_inner();
    let stop = Stop(AtomicI64::new(steps - 1));
    assert!(matches!(lab.apply(&plan, &stop), Err(Error::Cancelled)));
    assert!(matches!(fs::read(lab.path("disk")), Ok(bytes) if bytes.iter().all(|b| *b == 0)));
    let now = Target::inspect(&lab.path("disk"), None).unwrap();
    assert_eq!(now, target);
}

#[test]
fn a_damaged_object_is_named_and_nothing_is_made() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.plan("disk", 900, &Options::default()).unwrap();
    let (digest, _) = lab
        .contents
        .objects
        .iter()
        .find(|(_, s)| **s == 65_537)
        .unwrap();
    let path = lab.store.object_path(digest);
    ok(&format!(
        "chmod u+w {0}; printf x | dd of={0} bs=1 seek=50000 conv=notrunc status=none",
        path.display()
    ));
    let error = lab.apply(&plan, &Silent).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged(d) if d == digest),
        "{error}"
    );
    assert!(!lab.path("disk").exists());
}

#[test]
fn no_room_to_prepare_is_said_before_anything_is_made() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.plan("disk", 900, &Options::default()).unwrap();
    let small = Mounted::new("tmpfs", &lab.path("small"), "-t tmpfs -o size=4m");
    let store = lab.store.path();
    let error =
        elea_host::install::apply(&plan, &lab.contents, store, &small.0, &Silent).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert!(
        error.to_string().contains(&small.0.display().to_string()),
        "{error}"
    );
    assert!(!lab.path("disk").exists());
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0);
}

#[test]
fn no_room_for_the_file_is_said_before_anything_is_made() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let small = Mounted::new("tmpfs", &lab.path("small"), "-t tmpfs -o size=6m");
    let plan = lab.plan("small/disk", 900, &Options::default()).unwrap();
    let error = lab.apply(&plan, &Silent).unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error}");
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "{error}");
}

/// Fills a folder when the last file system is about to be written.
struct Filler(std::path::PathBuf);

impl elea_sys::progress::Progress for Filler {
    fn start(&self, step: &str, _: Option<u64>, _: elea_sys::progress::Unit) {
        if step == "writing the root file system" {
            ok(&format!(
                "dd if=/dev/zero of={} bs=64k status=none || true",
                self.0.display()
            ));
        }
    }
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}

#[test]
fn a_file_system_that_fills_up_leaves_no_file() {
    if !can(&["mkfs.btrfs"]) {
        return;
    }
    let lab = Lab::new();
    for filesystem in [Filesystem::Ext4, Filesystem::Btrfs] {
        let small = Mounted::new("tmpfs", &lab.path("small"), "-t tmpfs -o size=40m");
        let options = Options {
            filesystem,
            ..Options::default()
        };
        let plan = lab.plan("small/disk", 1100, &options).unwrap();
        let filler = Filler(small.0.join("filler"));
        let error = lab.apply(&plan, &filler).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(!small.0.join("disk").exists());
    }
}

#[test]
fn a_disk_that_changed_since_the_plan_is_not_touched() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.plan("disk", 900, &Options::default()).unwrap();
    fs::write(lab.path("disk"), "somebody else's").unwrap();
    let error = lab.apply(&plan, &Silent).unwrap_err();
    assert!(matches!(error, Error::Changed(_)), "{error}");
    assert_eq!(fs::read(lab.path("disk")).unwrap(), b"somebody else's");
}

#[test]
fn two_installs_at_once_do_not_mix() {
    if !can(&[]) {
        return;
    }
    let lab = Lab::new();
    File::create(lab.path("disk"))
        .unwrap()
        .set_len(900 << 20)
        .unwrap();
    let target = Target::inspect(&lab.path("disk"), None).unwrap();
    let plan = plan(&lab.contents, &target, &Options::default()).unwrap();
    let held = File::options().write(true).open(lab.path("disk")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let error = lab.apply(&plan, &Silent).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    let mut start = vec![0; 1 << 20];
    held.set_len(900 << 20).unwrap();
    File::open(lab.path("disk"))
        .unwrap()
        .read_exact_at(&mut start, 0)
        .unwrap();
    assert!(start.iter().all(|b| *b == 0));
}

#[test]
fn what_is_no_system_for_this_is_refused() {
    let mut other = release();
    other.architecture = "arm64".into();
    let (_dir, store, image) = imported(&other);
    let error = Contents::load(&store, &image).unwrap_err();
    assert!(error.to_string().contains("arm64"), "{error}");
    let mut other = release();
    other.loader = "usr/lib/elea/boot/none.efi".into();
    let (_dir, store, image) = imported(&other);
    let error = Contents::load(&store, &image).unwrap_err();
    assert!(
        matches!(&error, Error::Missing(path) if path.ends_with("none.efi")),
        "{error}"
    );
    let (dir, store, _) = imported(&release());
    fs::remove_file(dir.path().join("tree").join(elea_formats::release::PATH)).unwrap();
    let tree = store.import_dir(&dir.path().join("tree"), &Silent).unwrap();
    let origin = elea_store::Origin::default();
    let image = store
        .seal(tree, elea_formats::form::Form::Os1, &origin)
        .unwrap()
        .image;
    let error = Contents::load(&store, &image).unwrap_err();
    assert!(matches!(error, Error::NoRelease(_)), "{error}");
}
