//! Edits made through a real overlay, carried to another image, seen through a real overlay.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail, and says when it skips"
)]

use elea_etc::{Change, Report, Sides, carry, differences, edits, late, seen};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// An image's `/etc` as a plain folder, and an overlay over it.
struct Machine {
    base: tempfile::TempDir,
}

struct Overlay(PathBuf);

impl Drop for Overlay {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl Machine {
    /// `None` where the test is not root or the kernel has no overlay.
    fn new() -> Option<Self> {
        // Overlays do not nest on every file system; a tmpfs carries one everywhere.
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let machine = Self { base };
        for name in ["old", "new", "upper", "next", "work", "work2", "merged"] {
            fs::create_dir(machine.at(name)).unwrap();
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return None;
        }
        Some(machine)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// The same file in both images.
    fn both(&self, path: &str, content: &str) {
        for image in ["old", "new"] {
            put(&self.at(image).join(path), content);
        }
    }

    fn mount(&self, lower: &str, upper: &str, work: &str) -> Overlay {
        let at = self.at("merged");
        let options = format!(
            "lowerdir={},upperdir={},workdir={},metacopy=off,redirect_dir=off,index=off,xino=off",
            self.at(lower).display(),
            self.at(upper).display(),
            self.at(work).display()
        );
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "overlay",
            &at,
            "overlay",
            MountFlags::empty(),
            Some(options.as_c_str()),
        )
        .unwrap();
        Overlay(at)
    }

    /// Lets `edit` work on the old image's `/etc` as a person does.
    fn edit(&self, edit: impl FnOnce(&Path)) {
        let overlay = self.mount("old", "upper", "work");
        edit(&overlay.0);
    }

    fn carry(&self) -> Report {
        let (upper, lower) = (self.at("upper"), self.at("old"));
        let sides = Sides {
            upper: &upper,
            lower: &lower,
        };
        carry(&sides, &self.at("new"), &self.at("next")).unwrap()
    }

    /// Looks at the new release's `/etc`.
    fn see(&self, look: impl FnOnce(&Path)) {
        let overlay = self.mount("new", "next", "work2");
        look(&overlay.0);
    }

    fn changes(&self) -> Vec<(String, Change)> {
        let (upper, lower) = (self.at("upper"), self.at("old"));
        edits(&Sides {
            upper: &upper,
            lower: &lower,
        })
        .unwrap()
        .into_iter()
        .map(|e| (String::from_utf8(e.path).unwrap(), e.change))
        .collect()
    }
}

fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn read_link(path: PathBuf) -> String {
    fs::read_link(path).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_copy_without_a_change_is_no_edit() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.both("hosts", "one");
    machine.both("dir/file", "one");
    machine.edit(|etc| {
        fs::write(etc.join("hosts"), "two").unwrap();
        fs::write(etc.join("hosts"), "one").unwrap();
        // Opened for writing is copied up.
        drop(
            fs::OpenOptions::new()
                .append(true)
                .open(etc.join("dir/file"))
                .unwrap(),
        );
        fs::write(etc.join(".updated"), "").unwrap();
    });
    assert!(machine.at("upper/dir/file").exists());
    assert_eq!(machine.changes(), []);
}

#[test]
fn every_kind_of_edit_is_found_and_carried() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for path in [
        "changed",
        "gone",
        "mode",
        "owner",
        "becomes-link",
        "tree/a",
        "tree/b",
        "remade/old",
    ] {
        machine.both(path, "image");
    }
    machine.both("becomes-dir", "image");
    put(&machine.at("new/remade/released"), "new");
    machine.edit(|etc| {
        fs::write(etc.join("changed"), "mine").unwrap();
        fs::remove_file(etc.join("gone")).unwrap();
        fs::set_permissions(etc.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        chown(etc.join("owner"), Some(12), Some(34)).unwrap();
        fs::remove_file(etc.join("becomes-link")).unwrap();
        symlink("changed", etc.join("becomes-link")).unwrap();
        fs::remove_file(etc.join("becomes-dir")).unwrap();
        put(&etc.join("becomes-dir/inside"), "mine");
        fs::remove_dir_all(etc.join("tree")).unwrap();
        fs::remove_dir_all(etc.join("remade")).unwrap();
        put(&etc.join("remade/mine"), "mine");
        put(&etc.join("added/deep/file"), "mine");
        rustix::fs::setxattr(
            etc.join("added"),
            "user.note",
            b"yes",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    });
    let expected = [
        ("added", Change::Added),
        ("added/deep", Change::Added),
        ("added/deep/file", Change::Added),
        ("becomes-dir", Change::Replaced),
        ("becomes-dir/inside", Change::Added),
        ("becomes-link", Change::Replaced),
        ("changed", Change::Modified),
        ("gone", Change::Deleted),
        ("mode", Change::Modified),
        ("owner", Change::Modified),
        ("remade/mine", Change::Added),
        ("remade/old", Change::Deleted),
        ("tree", Change::Deleted),
    ];
    let found = machine.changes();
    let found: Vec<(&str, Change)> = found.iter().map(|(p, c)| (p.as_str(), *c)).collect();
    assert_eq!(found, expected);

    let report = machine.carry();
    assert_eq!(report.conflicts, [""; 0]);
    assert_eq!(report.carried, 13);
    machine.see(|etc| {
        assert_eq!(read(etc.join("changed")), "mine");
        assert!(!etc.join("gone").exists() && !etc.join("tree").exists());
        let mode = fs::metadata(etc.join("mode")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let owner = rustix::fs::stat(etc.join("owner")).unwrap();
        assert_eq!((owner.st_uid, owner.st_gid), (12, 34));
        assert_eq!(
            fs::read_link(etc.join("becomes-link")).unwrap(),
            Path::new("changed")
        );
        assert_eq!(read(etc.join("becomes-dir/inside")), "mine");
        assert_eq!(read(etc.join("added/deep/file")), "mine");
        let mut note = [0; 8];
        let n = rustix::fs::getxattr(etc.join("added"), "user.note", &mut note[..]).unwrap();
        assert_eq!(&note[..n], b"yes");
        assert!(!etc.join("remade/old").exists());
        assert_eq!(read(etc.join("remade/mine")), "mine");
        assert_eq!(read(etc.join("remade/released")), "new");
    });
}

#[test]
fn both_sides_keep_the_machines_and_say_so() {
    let Some(machine) = Machine::new() else {
        return;
    };
    for path in ["both", "deleted", "dropped", "typed", "agreed"] {
        put(&machine.at("old").join(path), "image");
    }
    put(&machine.at("new/both"), "release");
    put(&machine.at("new/deleted"), "release");
    put(&machine.at("new/typed/now-a-folder"), "release");
    put(&machine.at("new/agreed"), "mine");
    put(&machine.at("new/added"), "release");
    machine.edit(|etc| {
        for path in ["both", "dropped", "typed", "agreed", "added"] {
            fs::write(etc.join(path), "mine").unwrap();
        }
        fs::remove_file(etc.join("deleted")).unwrap();
    });
    let report = machine.carry();
    let conflicting: Vec<&str> = report
        .conflicts
        .iter()
        .map(|c| c.split(':').next().unwrap())
        .collect();
    assert_eq!(
        conflicting,
        ["added", "both", "deleted", "dropped", "typed"]
    );
    assert_eq!(report.adopted, ["agreed"]);
    machine.see(|etc| {
        for path in ["both", "dropped", "typed", "agreed", "added"] {
            assert_eq!(read(etc.join(path)), "mine", "{path}");
        }
        assert!(!etc.join("deleted").exists());
    });
    assert!(!machine.at("next/agreed").exists());
}

#[test]
fn a_local_mode_and_a_released_content_both_hold() {
    let Some(machine) = Machine::new() else {
        return;
    };
    put(&machine.at("old/conf"), "one");
    put(&machine.at("new/conf"), "two");
    machine.edit(|etc| {
        fs::set_permissions(etc.join("conf"), fs::Permissions::from_mode(0o600)).unwrap();
    });
    let report = machine.carry();
    assert_eq!(
        (report.merged.as_slice(), report.conflicts.len()),
        (&["conf".to_owned()][..], 0)
    );
    machine.see(|etc| {
        assert_eq!(read(etc.join("conf")), "two");
        let mode = fs::metadata(etc.join("conf")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
    });
}

#[test]
fn accounts_merge_by_record() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.both("passwd", "root:x:0:0::/root:/bin/sh\n");
    put(
        &machine.at("new/passwd"),
        "root:x:0:0::/root:/bin/sh\ntor:x:990:990::/:/bin/false\n",
    );
    machine.edit(|etc| {
        put(
            &etc.join("passwd"),
            "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\n",
        );
    });
    assert_eq!(machine.carry().merged, ["passwd"]);
    machine.see(|etc| {
        assert_eq!(
            read(etc.join("passwd")),
            "root:x:0:0::/root:/bin/sh\ntor:x:990:990::/:/bin/false\nanna:x:1000:1000::/home/anna:/bin/sh\n"
        );
    });
}

#[test]
fn a_link_on_one_side_never_leads_the_other_astray() {
    let Some(machine) = Machine::new() else {
        return;
    };
    put(&machine.at("old/alt/x"), "image");
    let outside = machine.at("outside");
    put(&outside.join("x"), "outside");
    symlink(&outside, machine.at("new/alt")).unwrap();
    machine.edit(|etc| fs::write(etc.join("alt/x"), "mine").unwrap());
    let report = machine.carry();
    assert_eq!(report.conflicts.len(), 1, "{report:?}");
    machine.see(|etc| assert_eq!(read(etc.join("alt/x")), "mine"));
    assert_eq!(read(outside.join("x")), "outside");
}

#[test]
fn what_is_written_late_is_carried_too() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.both("hosts", "one");
    machine.both("issue", "one");
    machine.both("dir/gone", "one");
    put(&machine.at("old/alt/x"), "image");
    let outside = machine.at("outside");
    put(&outside.join("x"), "outside");
    symlink(&outside, machine.at("new/alt")).unwrap();
    put(&machine.at("new/motd"), "new");
    machine.edit(|etc| {
        fs::write(etc.join("early"), "early").unwrap();
        fs::write(etc.join("dropped"), "early").unwrap();
        fs::write(etc.join("issue"), "mine").unwrap();
    });
    let before = seen(&machine.at("upper")).unwrap();
    machine.carry();
    machine.edit(|etc| {
        fs::write(etc.join("hosts"), "late").unwrap();
        fs::set_permissions(etc.join("hosts"), PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(etc.join("early"), "again").unwrap();
        fs::remove_file(etc.join("dropped")).unwrap();
        fs::remove_file(etc.join("dir/gone")).unwrap();
        fs::write(etc.join("alt/x"), "mine").unwrap();
        fs::create_dir_all(etc.join("a/b")).unwrap();
        symlink("target", etc.join("a/b/link")).unwrap();
        // Back to what the image has: no edit any more.
        fs::write(etc.join("issue"), "one").unwrap();
    });
    let (upper, lower, new) = (machine.at("upper"), machine.at("old"), machine.at("new"));
    let sides = Sides {
        upper: &upper,
        lower: &lower,
    };
    machine.see(|etc| {
        let paths = late(&sides, &before, &new, etc).unwrap();
        let expected = [
            "a", "a/b", "a/b/link", "alt", "alt/x", "dir", "dir/gone", "dropped", "early", "hosts",
            "issue",
        ];
        assert_eq!(paths, expected);
        assert_eq!(read(etc.join("hosts")), "late");
        let mode = fs::metadata(etc.join("hosts")).unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o600);
        assert_eq!(read(etc.join("early")), "again");
        assert_eq!(read(etc.join("alt/x")), "mine");
        assert_eq!(read(etc.join("issue")), "one");
        assert_eq!(read(etc.join("motd")), "new");
        assert_eq!(read_link(etc.join("a/b/link")), "target");
        assert!(!etc.join("dropped").exists() && !etc.join("dir/gone").exists());
        assert_eq!(
            late(&sides, &seen(&upper).unwrap(), &new, etc).unwrap(),
            [""; 0]
        );
    });
    assert_eq!(read(outside.join("x")), "outside");
    // The next time it is carried at once, with the same result.
    let (old, next) = (machine.at("next"), machine.at("work"));
    fs::remove_dir_all(&next).unwrap();
    fs::create_dir(&next).unwrap();
    carry(&sides, &new, &next).unwrap();
    let found = differences(&old, &next).unwrap();
    // A copy of what the image has is no edit.
    let paths: Vec<&str> = found.iter().map(|d| d.path.as_str()).collect();
    assert_eq!(paths, ["issue"]);
}

#[test]
fn differences_are_those_that_programs_see() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.both("same", "one");
    machine.both("content", "one");
    machine.both("mode", "one");
    machine.both("kind", "one");
    machine.both(".updated", "one");
    put(&machine.at("new/content"), "two");
    put(&machine.at("new/.updated"), "two");
    put(&machine.at("new/dir/added"), "");
    put(&machine.at("old/removed"), "");
    fs::set_permissions(machine.at("new/mode"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::remove_file(machine.at("new/kind")).unwrap();
    symlink("x", machine.at("new/kind")).unwrap();
    let found = differences(&machine.at("old"), &machine.at("new")).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|d| (d.path.as_str(), d.sides, d.fields.as_slice()))
        .collect();
    let expected: [(&str, (bool, bool), &[&str]); 6] = [
        ("content", (true, true), &["content"]),
        ("dir", (false, true), &[]),
        ("dir/added", (false, true), &[]),
        ("kind", (true, true), &["type"]),
        ("mode", (true, true), &["mode"]),
        ("removed", (true, false), &[]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_machines_identity_is_carried_and_no_edit() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.both("machine-id", "");
    machine.edit(|etc| {
        fs::write(etc.join("machine-id"), "0123\n").unwrap();
        put(&etc.join("ssh/ssh_host_ed25519_key"), "key");
    });
    let upper = machine.at("upper");
    let lower = machine.at("old");
    let found = edits(&Sides {
        upper: &upper,
        lower: &lower,
    })
    .unwrap();
    assert!(
        found.iter().filter(|e| e.path != b"ssh").all(|e| e.machine),
        "{found:?}"
    );
    assert_eq!(machine.carry().carried, 1);
    machine.see(|etc| {
        assert_eq!(read(etc.join("machine-id")), "0123\n");
        assert_eq!(read(etc.join("ssh/ssh_host_ed25519_key")), "key");
    });
}
