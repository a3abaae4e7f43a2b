//! Trees as squashfs images, and back by other people's programs and by the kernel.

use crate::mounts::in_namespace;
use crate::sample::{import, origin, run, system};
use elea_formats::form::Form;
use elea_formats::tree::Tree;
use elea_store::{Store, export};
use elea_sys::progress::Silent;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::fs;
use std::path::Path;

/// Writes a tree, or says that the program is not there.
fn write(store: &Store, tree: &Tree, path: &Path) -> Option<Result<(), String>> {
    match export::squashfs(store, tree, path, &Silent) {
        Err(elea_store::Error::NoProgram { program, .. }) => {
            println!("skipped: no {program}");
            None
        }
        written => Some(written.map_err(|e| e.to_string())),
    }
}

fn date(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn a_squashfs_image_is_the_tree() {
    in_namespace(|dir| {
        let source = dir.join("source");
        system(&source);
        let store = Store::init(&dir.join("store")).unwrap();
        let image = dir.join("image");
        // Each that it cannot hold is refused by name, until there is none.
        let refused = [
            ("/etc/edge64", "system.posix_acl_access", "no ACLs"),
            ("/etc/edge64", "", "from 1970 to 2106"),
            ("/etc/small", "", "from 1970 to 2106"),
            ("/usr/lib/a/linked", "user.b=%c", "`=` or `%`"),
            ("/var/empty", "system.posix_acl_default", "no ACLs"),
        ];
        for (path, attribute, reason) in refused {
            let at = source.join(&path[1..]);
            let tree = import(&store, &source);
            let Some(written) = write(&store, &tree, &image) else {
                return;
            };
            let error = written.unwrap_err();
            assert!(error.contains(path) && error.contains(reason), "{error}");
            if attribute.is_empty() {
                date(&at, 1_000_000_000);
            } else {
                rustix::fs::lremovexattr(&at, attribute).unwrap();
            }
        }
        let tree = import(&store, &source);
        write(&store, &tree, &image).unwrap().unwrap();
        let first = fs::read(&image).unwrap();
        write(&store, &tree, &image).unwrap().unwrap();
        assert!(fs::read(&image).unwrap() == first);
        let digest = |tree: Tree| store.seal(tree, Form::Os1, &origin()).unwrap().image;
        let wanted = digest(tree);
        let file = image.to_str().unwrap();
        let list = run("unsquashfs", &["-lln", "-d", "", file], dir).unwrap();
        for line in ["-rws--s--x 0/42 ", "\ncrw-", " -> ../../etc"] {
            assert!(list.contains(line), "{line}: {list}");
        }
        run("unsquashfs", &["-q", "-n", "-d", "unpacked", file], dir).unwrap();
        assert_eq!(digest(import(&store, &dir.join("unpacked"))), wanted);
        let target = dir.join("target");
        fs::create_dir(&target).unwrap();
        let filesystems = fs::read_to_string("/proc/filesystems").unwrap();
        if !filesystems.contains("squashfs") {
            println!("skipped: no squashfs in the kernel");
            return;
        }
        run("mount", &["-o", "loop,ro", file, "target"], dir).unwrap();
        assert_eq!(digest(import(&store, &target)), wanted);
        let same = |a: &Path, b: &Path| {
            use std::os::unix::fs::MetadataExt as _;
            let of = |path| {
                let status = fs::metadata(path).unwrap();
                (status.mode(), status.uid(), status.gid(), status.mtime())
            };
            assert_eq!(of(a), of(b));
        };
        same(&source, &target);
        run("umount", &["target"], dir).unwrap();
    });
}
