//! Folders to import.

use elea_formats::tree::Tree;
use elea_store::{Origin, Store};
use elea_sys::progress::Silent;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn origin() -> Origin {
    Origin {
        source: "dir:/x".into(),
        ..Origin::default()
    }
}

pub(crate) fn import(store: &Store, path: &Path) -> Tree {
    store.import_dir(path, &Silent).unwrap()
}

/// Runs a program; none, after saying so, if it is not there.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let output = match Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("LC_ALL", "C")
        .output()
    {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no {program}");
            return None;
        }
        output => output.unwrap(),
    };
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder with one of each kind that needs no privilege.
pub(crate) fn sample(at: &Path) {
    fs::create_dir_all(at.join("usr/lib/a")).unwrap();
    fs::create_dir_all(at.join("etc")).unwrap();
    fs::write(at.join("etc/small"), "small\n").unwrap();
    fs::write(at.join("etc/edge64"), [b'x'; 64]).unwrap();
    fs::write(at.join("etc/edge65"), [b'x'; 65]).unwrap();
    fs::write(at.join("usr/lib/big"), vec![7; 9 << 20]).unwrap();
    fs::write(at.join("usr/lib/a/same"), [b'x'; 65]).unwrap();
    fs::hard_link(at.join("usr/lib/big"), at.join("usr/lib/a/linked")).unwrap();
    symlink("../../etc", at.join("usr/lib/conf")).unwrap();
    symlink("/usr/lib/conf/small", at.join("usr/abs")).unwrap();
    symlink("loop", at.join("usr/loop")).unwrap();
    let mode = fs::Permissions::from_mode(0o4711);
    fs::set_permissions(at.join("etc/edge65"), mode).unwrap();
}

/// Whether this process may make devices and set any owner.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: not root");
    }
    root
}

fn set(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn date(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// An access ACL with a person and a mask; the id has a line end among its bytes.
fn acl() -> Vec<u8> {
    let mut value = vec![2, 0, 0, 0];
    for (tag, bits, id) in [
        (1_u8, 6_u8, u32::MAX),
        (2, 4, 0x0a0a),
        (4, 4, u32::MAX),
        (16, 4, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        value.extend([tag, 0, bits, 0]);
        value.extend(id.to_le_bytes());
    }
    value
}

/// Makes a folder with all that this process may make: [`system`] for root, else [`sample`].
pub(crate) fn made(dir: &Path) -> PathBuf {
    let source = dir.join("source");
    if is_root() {
        system(&source);
    } else {
        sample(&source);
    }
    source
}

/// Everything that a system may hold, as root.
pub(crate) fn system(at: &Path) {
    sample(at);
    let path = |name: &str| at.join(name);
    let long = "n".repeat(120);
    fs::create_dir_all(path(&format!("usr/share/{long}/{long}"))).unwrap();
    fs::write(
        path(&format!("usr/share/{long}/{long}/{long}")),
        long.repeat(3),
    )
    .unwrap();
    symlink(long.repeat(2), path("usr/share/long-target")).unwrap();
    fs::write(path("usr/share/gr\u{f6}\u{df}e = \n\\ x"), "odd name").unwrap();
    let raw = std::os::unix::ffi::OsStrExt::from_bytes(b"usr/share/\xff\xfe");
    fs::write(at.join::<&std::ffi::OsStr>(raw), "no UTF-8").unwrap();
    for (folder, mode) in [
        ("run/lock", 0o755),
        ("tmp", 0o1777),
        ("var/empty/inner", 0o2750),
    ] {
        fs::create_dir_all(path(folder)).unwrap();
        fs::set_permissions(path(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    let node = |name: &str, kind, mode, number| {
        rustix::fs::mknodat(CWD, path(name), kind, Mode::from_raw_mode(mode), number).unwrap();
    };
    node(
        "usr/lib/null",
        FileType::CharacterDevice,
        0o666,
        rustix::fs::makedev(1, 3),
    );
    node(
        "usr/lib/large",
        FileType::BlockDevice,
        0o640,
        rustix::fs::makedev(259, 0x4_2345),
    );
    node("usr/lib/pipe", FileType::Fifo, 0o600, 0);
    let socket = std::os::unix::net::UnixListener::bind(path("run/socket")).unwrap();
    drop(socket);
    for (name, owner) in [
        ("etc/small", 3_000_000),
        ("usr/abs", 7),
        ("var/empty", 0x7fff_fffe),
    ] {
        std::os::unix::fs::lchown(path(name), Some(owner), Some(owner + 1)).unwrap();
    }
    chown(path("etc/edge65"), Some(0), Some(42)).unwrap();
    let mode = fs::Permissions::from_mode(0o6711);
    fs::set_permissions(path("etc/edge65"), mode).unwrap();
    // Revision 2, effective; cap_chown and cap_fowner make the low byte a line end.
    let mut capability = vec![1, 0, 0, 2, 10, 0, 0, 0];
    capability.resize(20, 0);
    set(&path("usr/lib/a/same"), "security.capability", &capability);
    set(&path("usr/lib/big"), "user.note", b"a=b\nc\0d");
    set(&path("usr/lib/big"), "user.b=%c", b"v");
    set(&path("usr/lib/a"), "user.folder", b"");
    set(&path("etc/edge64"), "trusted.of-this-machine", b"x");
    set(&path("etc/edge64"), "system.posix_acl_access", &acl());
    set(&path("var/empty"), "system.posix_acl_default", &acl());
    for (name, seconds, nanoseconds) in [
        ("etc/small", -86_400, 0),
        ("etc/edge64", 1 << 33, 0),
        ("etc/edge65", 1_700_000_000, 400_000_000),
        ("usr/abs", 1_600_000_000, 0),
        ("usr/lib/a", 1_500_000_000, 0),
        ("usr/lib/big", 0, 0),
    ] {
        date(&path(name), seconds, nanoseconds);
    }
    whole_seconds(at);
}

/// Go's tar rounds times to the next second, so what goes through umoci must have whole ones.
pub(crate) fn whole_seconds(at: &Path) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let status = fs::symlink_metadata(&path).unwrap();
        if status.is_dir() {
            whole_seconds(&path);
        }
        let seconds = std::os::unix::fs::MetadataExt::mtime(&status);
        date(&path, seconds, 0);
    }
}
