//! Snapshots, restores and versions of a state on a real file system.

use super::restore::{self, resume};
use super::snapshot::{self, About};
use super::versions::{Offer, Step, Versions, carry_out, plan};
use super::*;
use elea_formats::state::{How, Kind, Rollback, SCHEMA};
use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

/// What a test's services were told.
#[derive(Default)]
struct Told(RefCell<Vec<String>>);

impl Services for Told {
    fn stop(&self, unit: &str) -> Result<bool, Error> {
        self.0.borrow_mut().push(format!("stop {unit}"));
        Ok(unit == "db.service")
    }

    fn start(&self, unit: &str) -> Result<(), Error> {
        self.0.borrow_mut().push(format!("start {unit}"));
        Ok(())
    }
}

fn one(path: &str, kind: Kind, service: Option<&str>, version: Option<u64>) -> Keep {
    Keep {
        path: path.into(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        how: How::Bind,
        service: service.map(str::to_owned),
        version,
        usual: false,
    }
}

fn list(rollback: Rollback, version: Option<u64>) -> State {
    State {
        schema: SCHEMA.into(),
        mode: Mode::Ephemeral,
        rollback,
        keep: vec![
            one("/etc/app.conf", Kind::File, Some("app.service"), None),
            one("/var/lib/db", Kind::Directory, Some("db.service"), version),
        ],
    }
}

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(disk.path("var/lib/db/sub")).unwrap();
        fs::create_dir_all(disk.path("etc")).unwrap();
        disk.put("var/lib/db/data", "1");
        disk.put("var/lib/db/sub/x", "1");
        disk.put("etc/app.conf", "1");
        disk
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }
}

#[test]
fn what_a_snapshot_has_comes_back_and_the_directory_stays_itself() {
    let disk = Disk::new();
    let list = list(Rollback::Offer, None);
    let kept = Kept::new(disk.folder(), &list);
    fs::hard_link(disk.path("var/lib/db/data"), disk.path("var/lib/db/twin")).unwrap();
    fs::set_permissions(disk.path("var/lib/db"), fs::Permissions::from_mode(0o2750)).unwrap();
    let told = Told::default();
    let first = snapshot::take(&kept, &[], About::default(), &told).unwrap();
    assert_eq!(
        *told.0.borrow(),
        ["stop app.service", "stop db.service", "start db.service"]
    );
    let inode = |path: &str| fs::metadata(disk.path(path)).unwrap().ino();
    let (folder, file) = (inode("var/lib/db"), inode("etc/app.conf"));
    // Much changes, the mode too.
    disk.put("var/lib/db/data", "2");
    disk.put("var/lib/db/new", "2");
    disk.put("etc/app.conf", "2 and more");
    fs::remove_dir_all(disk.path("var/lib/db/sub")).unwrap();
    fs::set_permissions(disk.path("var/lib/db"), fs::Permissions::from_mode(0o700)).unwrap();
    let done = restore::restore(&kept, first.number, &[], About::default(), &told).unwrap();
    assert_eq!(disk.text("var/lib/db/data"), "1");
    assert_eq!(disk.text("var/lib/db/sub/x"), "1");
    assert_eq!(disk.text("etc/app.conf"), "1");
    assert!(!disk.path("var/lib/db/new").exists());
    assert_eq!((inode("var/lib/db"), inode("etc/app.conf")), (folder, file));
    assert_eq!(inode("var/lib/db/data"), inode("var/lib/db/twin"));
    let mode = fs::metadata(disk.path("var/lib/db")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o2750);
    // What was there before is in a snapshot of its own.
    assert_eq!(done.before, Some(2));
    restore::restore(&kept, 2, &["/var/lib/db".into()], About::default(), &Nobody).unwrap();
    assert_eq!(disk.text("var/lib/db/new"), "2");
    assert_eq!(disk.text("etc/app.conf"), "1");
    // Nothing is left beside it.
    let mut names: Vec<_> = fs::read_dir(disk.folder())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["etc", "snapshots", "var", "versions.json"]);
}

#[test]
fn numbers_are_not_used_again_and_wrong_ones_are_said() {
    let disk = Disk::new();
    let list = list(Rollback::Offer, None);
    let kept = Kept::new(disk.folder(), &list);
    // One that was cut short is no snapshot.
    fs::create_dir_all(disk.path("snapshots/.new/data")).unwrap();
    let take = |paths: &[String]| snapshot::take(&kept, paths, About::default(), &Nobody);
    assert_eq!(take(&[]).unwrap().number, 1);
    assert_eq!(take(&["/var/lib/db/".into()]).unwrap().number, 2);
    snapshot::remove(disk.folder(), 1).unwrap();
    assert_eq!(take(&[]).unwrap().number, 3);
    assert!(matches!(
        snapshot::remove(disk.folder(), 1),
        Err(Error::NoSnapshot(1))
    ));
    assert!(matches!(
        take(&["/var/lib/x".into()]),
        Err(Error::NotKept(_))
    ));
    let wrong = restore::plan(&kept, 2, &["/etc/app.conf".into()]);
    assert!(matches!(wrong, Err(Error::NotIn { .. })));
    let mode = fs::metadata(disk.path("snapshots/3")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn a_restore_that_was_cut_short_is_done_again() {
    let disk = Disk::new();
    let list = list(Rollback::Offer, None);
    let kept = Kept::new(disk.folder(), &list);
    snapshot::take(&kept, &[], About::default(), &Nobody).unwrap();
    assert_eq!(resume(&kept, &Nobody).unwrap(), None);
    // As it is in the middle: the old content gone, half of the new one there.
    fs::remove_dir_all(disk.path("var/lib/db")).unwrap();
    fs::create_dir_all(disk.path("var/lib/db")).unwrap();
    fs::create_dir_all(disk.path(".restoring/new/sub")).unwrap();
    disk.put("var/lib/db/data", "1");
    let mark = r#"{"schema":"elea.state-restoring/1","snapshot":1,"paths":["/var/lib/db","/var/lib/gone"]}"#;
    disk.put("restoring.json", mark);
    assert_eq!(resume(&kept, &Nobody).unwrap(), Some(1));
    assert_eq!(disk.text("var/lib/db/sub/x"), "1");
    assert!(!disk.path("restoring.json").exists() && !disk.path(".restoring").exists());
}

#[test]
fn a_link_in_the_place_leads_nowhere_else() {
    let disk = Disk::new();
    let list = list(Rollback::Offer, None);
    let kept = Kept::new(disk.folder(), &list);
    snapshot::take(&kept, &[], About::default(), &Nobody).unwrap();
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("mine"), "x").unwrap();
    fs::remove_dir_all(disk.path("var/lib/db")).unwrap();
    std::os::unix::fs::symlink(other.path(), disk.path("var/lib/db")).unwrap();
    let done = restore::restore(&kept, 1, &[], About::default(), &Nobody);
    assert!(done.is_err());
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 1);
}

#[test]
fn each_change_of_a_version_has_its_steps() {
    let disk = Disk::new();
    let kept_of =
        |list: &State, settle: &mut dyn FnMut(&Kept<'_>)| settle(&Kept::new(disk.folder(), list));
    let versions = |pairs: &[u64]| {
        let mut all = Versions::load(&disk.path("none")).unwrap();
        for version in pairs {
            all.set("/var/lib/db", *version);
        }
        all
    };
    let steps = |version, has: &[u64], restore| {
        plan(
            &list(Rollback::Offer, version),
            &versions(has),
            &[],
            restore,
        )
    };
    assert_eq!(steps(None, &[1], true), []);
    assert_eq!(steps(Some(2), &[2], true), []);
    let record = Step::Record {
        path: "/var/lib/db".into(),
        version: 2,
    };
    assert_eq!(steps(Some(2), &[], true), std::slice::from_ref(&record));
    assert!(
        matches!(&steps(Some(2), &[1], true)[..], [Step::Snapshot { has: 1, knows: 2, .. }, last] if *last == record)
    );
    let offer = Offer {
        path: "/var/lib/db".into(),
        has: 3,
        knows: 2,
        snapshot: None,
    };
    assert_eq!(steps(Some(2), &[3], true), [Step::Offer(offer)]);
    // Of a persistent machine, /etc goes with the generation.
    let mut persistent = list(Rollback::Offer, None);
    persistent.mode = Mode::Persistent;
    persistent.keep[0].version = Some(1);
    assert_eq!(plan(&persistent, &versions(&[]), &[], true), []);
    kept_of(&persistent, &mut |kept| {
        assert_eq!(snapshot::plan(kept, &[]).unwrap().len(), 1);
    });
}

#[test]
fn a_rollback_takes_or_offers_what_was_there_before_the_upgrade() {
    let disk = Disk::new();
    let boot = |rollback, version, generation, asked| {
        let list = list(rollback, Some(version));
        carry_out(&Kept::new(disk.folder(), &list), generation, asked).unwrap()
    };
    assert_eq!(boot(Rollback::Offer, 1, 1, false).snapshot, None);
    assert_eq!(boot(Rollback::Offer, 1, 1, false).steps, []);
    let upgraded = boot(Rollback::Offer, 2, 2, false);
    assert_eq!(upgraded.snapshot, Some(1));
    disk.put("var/lib/db/data", "2");
    // Offered, and nothing is touched; the data is what it is, however often this boots.
    for _ in 0..2 {
        let back = boot(Rollback::Offer, 1, 1, false);
        let offers = matches!(
            &back.steps[..],
            [Step::Offer(Offer {
                has: 2,
                knows: 1,
                snapshot: Some(1),
                ..
            })]
        );
        assert!(offers, "{:?}", back.steps);
        assert_eq!(disk.text("var/lib/db/data"), "2");
    }
    assert_eq!(boot(Rollback::Offer, 2, 2, false).steps, []);
    // Asked for, and by policy.
    for (rollback, asked) in [(Rollback::Offer, true), (Rollback::Restore, false)] {
        let back = boot(rollback, 1, 1, asked);
        assert_eq!(back.restored.len(), 1);
        assert_eq!(disk.text("var/lib/db/data"), "1");
        // Forward again: what is of version 1 now is copied, and 2 is offered to nobody.
        let again = boot(rollback, 2, 2, false);
        assert!(again.snapshot.is_some());
        disk.put("var/lib/db/data", "2");
    }
    // The file without a version was in none of them.
    let all = snapshot::load(disk.folder());
    assert!(
        all.iter()
            .all(|one| one.entry("/etc/app.conf").is_none() && one.about.automatic)
    );
    let versions: Vec<_> = all.iter().map(|one| one.entries[0].version).collect();
    assert_eq!(versions, [Some(1), Some(2), Some(1), Some(2), Some(1)]);
}
