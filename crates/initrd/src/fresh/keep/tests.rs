//! Three boots of one machine, with real mounts in a namespace of their own.

use super::super::{Boot, declared};
use super::*;
use crate::etc;
use elea_formats::state::{Mode, PATH, Rollback, SCHEMA};
use elea_sys::mount::{Filesystem, own_namespace};

/// Runs in a thread with its own mounts, where that is allowed.
fn in_namespace(test: impl FnOnce(&Path) + Send + 'static) {
    let joined = std::thread::spawn(move || {
        if !rustix::process::geteuid().is_root() || own_namespace().is_err() {
            eprintln!("skipped: not root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        Filesystem::new("tmpfs")
            .source("elea-test")
            .mount(dir.path())
            .unwrap();
        test(dir.path());
        detach(dir.path()).unwrap();
    });
    joined.join().unwrap();
}

fn one(path: &str, kind: Kind, how: How) -> Keep {
    Keep {
        path: path.into(),
        kind,
        mode: if kind == Kind::Directory {
            0o750
        } else {
            0o640
        },
        uid: 7,
        gid: 8,
        how,
        service: None,
        version: None,
        usual: false,
    }
}

/// A machine's disk and its image.
struct Machine<'a> {
    dir: &'a Path,
    list: State,
}

impl Machine<'_> {
    fn new(dir: &Path, mut keep: Vec<Keep>) -> Machine<'_> {
        keep.sort_by(|a, b| a.path.cmp(&b.path));
        let list = State {
            schema: SCHEMA.into(),
            mode: Mode::Ephemeral,
            rollback: Rollback::Offer,
            keep,
        };
        for folder in [
            "image/etc/app.d",
            "image/usr/lib/elea",
            "image/var",
            "state",
            "root",
            "linked",
        ] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        fs::write(dir.join("image/etc/app.d/default"), "image").unwrap();
        fs::write(dir.join("image/etc/hostname"), "image").unwrap();
        fs::write(
            dir.join("image").join(PATH),
            serde_json::to_vec(&list).unwrap(),
        )
        .unwrap();
        Machine { dir, list }
    }

    /// Boots as the initrd does, runs `inside` in the new root, and stops.
    fn boot(&self, id: &str, inside: impl FnOnce(&Path)) -> Result<(), Error> {
        let (root, state) = (self.dir.join("root"), self.dir.join("state"));
        bind(&self.dir.join("image"), &root, Attributes::READ_ONLY).unwrap();
        let done = self.start(id, &root, &state);
        if done.is_ok() {
            inside(&root);
        }
        detach(&root).unwrap();
        done
    }

    fn start(&self, id: &str, root: &Path, state: &Path) -> Result<(), Error> {
        let list = declared(root)?.unwrap();
        assert_eq!(list, self.list);
        let boot = Boot::new(state, id, 1, false, String::new());
        boot.make(root)?;
        etc::mount(&boot.folder().join("etc"), root)?;
        bind(
            &boot.folder().join("var"),
            &root.join("var"),
            Attributes::NONE,
        )?;
        let last = self.dir.join("last");
        let sides = Sides {
            state,
            root,
            last: Some(&last),
            linked: self.dir.join("linked"),
        };
        keep(&list, &sides)
    }
}

fn status(path: &Path) -> (u32, u32, u32) {
    let meta = fs::metadata(path).unwrap();
    (meta.permissions().mode() & 0o7777, meta.uid(), meta.gid())
}

#[test]
fn what_is_kept_lasts_and_nothing_else() {
    in_namespace(|dir| {
        let machine = Machine::new(
            dir,
            vec![
                one("/var/lib/app/data", Kind::Directory, How::Bind),
                one("/var/lib/seed", Kind::File, How::Bind),
                one("/etc/app.d", Kind::Directory, How::Bind),
                one("/etc/new/app.conf", Kind::File, How::Bind),
                one("/etc/linked", Kind::Directory, How::Symlink),
                one("/var/linked", Kind::File, How::Symlink),
            ],
        );
        // What the machine's /etc had when it was not ephemeral yet.
        fs::create_dir_all(dir.join("last/app.d")).unwrap();
        fs::write(dir.join("last/app.d/local"), "local").unwrap();
        machine
            .boot("1", |root| {
                assert_eq!(fs::read(root.join("etc/app.d/default")).unwrap(), b"image");
                assert_eq!(fs::read(root.join("etc/app.d/local")).unwrap(), b"local");
                assert_eq!(status(&root.join("etc/app.d")), (0o750, 7, 8));
                assert_eq!(status(&root.join("var/lib/app/data")), (0o750, 7, 8));
                assert_eq!(status(&root.join("etc/new/app.conf")), (0o640, 7, 8));
                assert_eq!(status(&root.join("etc/new")), (0o755, 0, 0));
                // The same file on both sides.
                let (shown, kept) = (root.join("var/lib/seed"), dir.join("state/var/lib/seed"));
                let inode = |path: &Path| fs::metadata(path).unwrap().ino();
                assert_eq!(inode(&shown), inode(&kept));
                for path in [
                    "var/lib/app/data/x",
                    "var/lib/seed",
                    "etc/app.d/x",
                    "etc/new/app.conf",
                ] {
                    fs::write(root.join(path), "kept").unwrap();
                }
                // What a rename would replace says so, instead of losing it.
                fs::write(root.join("var/lib/other"), "x").unwrap();
                let error = fs::rename(root.join("var/lib/other"), &shown).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
                let link = fs::read_link(root.join("etc/linked")).unwrap();
                assert_eq!(link, Path::new("/run/elea/state/etc/linked"));
                fs::write(dir.join("linked/etc/linked/x"), "kept").unwrap();
                assert_eq!(fs::read(dir.join("state/etc/linked/x")).unwrap(), b"kept");
                for path in [
                    "etc/hostname",
                    "etc/lost",
                    "var/lib/lost",
                    "var/lib/app/lost",
                ] {
                    fs::write(root.join(path), "lost").unwrap();
                }
                // The owner that a folder on the way has in its place.
                chown(dir.join("state/var/lib/app"), Some(9), Some(9)).unwrap();
            })
            .unwrap();
        for id in ["2", "3"] {
            machine
                .boot(id, |root| {
                    for path in [
                        "var/lib/app/data/x",
                        "var/lib/seed",
                        "etc/app.d/x",
                        "etc/new/app.conf",
                    ] {
                        assert_eq!(fs::read(root.join(path)).unwrap(), b"kept", "{path}");
                    }
                    assert_eq!(fs::read(root.join("etc/hostname")).unwrap(), b"image");
                    for path in ["etc/lost", "var/lib/lost", "var/lib/app/lost"] {
                        assert!(!root.join(path).exists(), "{path}");
                    }
                    assert_eq!(status(&root.join("var/lib/app")).1, 9);
                    fs::write(root.join("etc/hostname"), "lost").unwrap();
                })
                .unwrap();
        }
        // The image was written to by nobody.
        assert_eq!(fs::read(dir.join("image/etc/hostname")).unwrap(), b"image");
        assert!(!dir.join("state/etc/.new-kept").exists());
    });
}

#[test]
fn a_place_that_services_write_leads_nowhere_else() {
    in_namespace(|dir| {
        let machine = Machine::new(
            dir,
            vec![one("/var/lib/app/data", Kind::Directory, How::Bind)],
        );
        fs::create_dir_all(dir.join("secret/data")).unwrap();
        fs::create_dir_all(dir.join("state/var/lib")).unwrap();
        // In the place a link to what is outside of it.
        symlink(dir.join("secret"), dir.join("state/var/lib/app")).unwrap();
        let booted = machine.boot("1", |root| {
            fs::write(root.join("var/lib/app/data/x"), "x").unwrap();
        });
        assert!(booted.is_err());
        assert!(!dir.join("secret/data/x").exists());
        // One that leads nowhere else is followed inside.
        fs::remove_file(dir.join("state/var/lib/app")).unwrap();
        symlink("/lib/real", dir.join("state/var/lib/app")).unwrap();
        fs::create_dir_all(dir.join("state/var/lib/real/data")).unwrap();
        machine
            .boot("2", |root| {
                fs::write(root.join("var/lib/app/data/x"), "x").unwrap();
            })
            .unwrap();
        assert!(dir.join("state/var/lib/real/data/x").exists());
    });
}

#[test]
fn what_is_cut_short_is_made_anew_and_what_is_no_directory_is_said() {
    in_namespace(|dir| {
        let machine = Machine::new(dir, vec![one("/var/lib/app", Kind::Directory, How::Bind)]);
        fs::create_dir_all(dir.join("state/var/.new-kept/half")).unwrap();
        machine
            .boot("1", |root| {
                assert_eq!(fs::read_dir(root.join("var/lib/app")).unwrap().count(), 0);
            })
            .unwrap();
        fs::remove_dir(dir.join("state/var/lib/app")).unwrap();
        fs::write(dir.join("state/var/lib/app"), "").unwrap();
        let error = machine.boot("2", |_| ()).unwrap_err().to_string();
        assert!(
            error.contains("state/var/lib/app") && error.contains("move it away"),
            "{error}"
        );
    });
}
