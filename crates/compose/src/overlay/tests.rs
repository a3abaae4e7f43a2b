use super::*;
use crate::program::{Clock, Sandbox};
use crate::{program, written};
use elea_formats::digest::Digest;
use elea_formats::form::Form;
use elea_store::Origin;
use elea_sys::progress::Silent;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

/// What a kept tree has.
const OLD: &str = r"
umask 022
mkdir -p etc usr/bin var/lib/old/deep var/lib/gone/deep var/lib/anew srv/link-to-be proc dev
chmod 2775 var/lib/anew
chown 5:70000 var/lib/anew
for name in etc/changed etc/removed etc/appended etc/moved usr/bin/tool usr/bin/kept usr/bin/guest usr/bin/several \
  var/lib/old/deep/file var/lib/gone/deep/file var/lib/anew/file srv/link-to-be/file usr/bin/capable; do
  seq 1 200 | sed s,^,$name, > $name
done
: > etc/empty
ln usr/bin/several usr/bin/same
ln -s tool usr/bin/link
ln -s nowhere etc/dangling
mkfifo srv/pipe
mknod srv/null c 1 3
setfattr -n user.kept -v yes usr/bin/kept usr/bin/guest var/lib/old
setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 usr/bin/capable
find . -depth -exec touch -h -d @1500000000.5 {} +
chmod 1775 .
chown 3:4 .
touch -d @1400000000.25 .
";

/// What changes it, in a sandbox.
const CHANGE: &str = r"
set -e
umask 022
cd /mnt/tree
echo new > etc/changed.new; touch -d @1600000000 etc/changed.new; mv etc/changed.new etc/changed
rm etc/removed etc/dangling
echo more >> etc/appended; touch -d @1600000000.5 etc/appended
mv etc/moved etc/was-moved
touch var/lib/old/deep/.try; rm var/lib/old/deep/.try; touch -d @1600000001 var/lib/old/deep
chmod 4755 usr/bin/kept
chown 7:8 usr/bin/guest
chmod 600 usr/bin/capable; chmod 755 usr/bin/capable
ln usr/bin/tool usr/bin/another
seq 500 600 > usr/bin/new; ln usr/bin/new usr/bin/newer
ln -sfn new usr/bin/link
rm -r var/lib/gone
rm -r var/lib/anew; mkdir var/lib/anew; echo x > var/lib/anew/other
rm -r srv/link-to-be; ln -s ../etc srv/link-to-be
rm srv/pipe; mkdir srv/pipe; mkfifo srv/pipe/pipe
mkdir -p opt/some/where; chmod 2750 opt/some; echo x > opt/some/where/file
mv opt opt-moved
rm usr/bin/several
find etc usr var srv opt-moved -depth -newermt @1650000000 -exec touch -h -d @1650000000 {} +
touch -d @1650000000 .
";

struct Place {
    folder: tempfile::TempDir,
    store: Store,
    kept: Digest,
}

impl Place {
    /// None where nobody may mount.
    fn new() -> Option<Self> {
        let tools = ["setfattr", "mknod", "tar"];
        let has = |tool| Command::new(tool).arg("--version").output().is_ok();
        if !rustix::process::geteuid().is_root() || !tools.into_iter().all(has) {
            println!("skipped: needs root and setfattr");
            return None;
        }
        // Not in /tmp, which may be of memory.
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let store = Store::init(&folder.path().join("store")).unwrap();
        let old = folder.path().join("old");
        fs::create_dir(&old).unwrap();
        let mut script = Command::new("sh");
        let made = script.args(["-ec", OLD]).current_dir(&old).status();
        assert!(made.unwrap().success());
        let tree = store.import_dir(&old, &Silent).unwrap();
        let kept = seal(&store, tree);
        Some(Self {
            folder,
            store,
            kept,
        })
    }

    fn kept(&self) -> Kept {
        Kept {
            name: String::new(),
            image: self.kept,
            tree: self.store.tree(&self.kept).unwrap(),
        }
    }

    fn work(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.folder.path()).unwrap()
    }

    fn run(work: &Path, script: &str) -> Result<(), Error> {
        let command = Sandbox {
            work,
            prepare: "",
            clock: Clock {
                epoch: 17,
                ahead: Duration::ZERO,
            },
        };
        let command = command.command(&["/bin/sh", "-c", script].map(OsStr::new));
        program::run(command, "util-linux", &work.join("log"), &Silent)?;
        Ok(())
    }

    /// What a script makes of the tree over its image.
    fn over(&self, script: &str) -> Result<Result<Digest, String>, Error> {
        let work = self.work();
        let run = || Self::run(work.path(), script);
        let tree = changed(&self.store, &self.kept(), work.path(), run, &Silent)?;
        let left = fs::read_dir(work.path()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(
            left.iter().all(|name| name == "log" || name == "root"),
            "{left:?}"
        );
        Ok(tree.map(|tree| seal(&self.store, tree)))
    }

    /// What it makes of a copy.
    fn copied(&self, script: &str) -> Digest {
        let work = self.work();
        let (tree, log) = (work.path().join("tree"), work.path().join("log"));
        written::write(&self.store, &self.kept().tree, &tree, &log, &Silent).unwrap();
        Self::run(work.path(), script).unwrap();
        seal(&self.store, self.store.import_dir(&tree, &Silent).unwrap())
    }
}

fn seal(store: &Store, tree: Tree) -> Digest {
    let sealed = store.seal(tree, Form::Raw, &Origin::default());
    sealed.unwrap().image
}

/// Says how two images differ.
fn assert_same(store: &Store, found: Digest, wanted: Digest) {
    let trees = [found, wanted].map(|image| store.tree(&image).unwrap());
    let [found_text, wanted_text] = trees.map(|tree| elea_formats::dump::encode(&tree));
    for (found, wanted) in found_text.lines().zip(wanted_text.lines()) {
        assert_eq!(found, wanted);
    }
    assert_eq!(found, wanted);
}

#[test]
fn what_is_written_over_a_tree_is_what_a_copy_becomes() {
    let Some(place) = Place::new() else {
        return;
    };
    for script in ["true", CHANGE] {
        let wanted = place.copied(script);
        let found = place
            .over(script)
            .unwrap()
            .expect("overlays can be mounted");
        assert_same(&place.store, found, wanted);
        assert_eq!(found == place.kept, script == "true");
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(&*place.folder.path().to_string_lossy()),
        "{mounts}"
    );
}

#[test]
fn where_it_is_in_doubt_there_is_no_result() {
    let Some(place) = Place::new() else {
        return;
    };
    for (script, word) in [
        // Another name of the same file would have it too.
        ("echo x >> /mnt/tree/usr/bin/several", "`/usr/bin/several`"),
        ("chmod 700 /mnt/tree/usr/bin/same", "`/usr/bin/same`"),
        // A program that does not help itself where a folder cannot be renamed, and one that fails everywhere.
        (
            "perl -e 'rename q(/mnt/tree/var/lib/old), q(/mnt/tree/var/lib/older) or die $!'",
            "cross-device",
        ),
        ("exit 3", "exit status: 3"),
    ] {
        let why = place.over(script).unwrap().unwrap_err();
        assert!(why.contains(word), "{script}: {why}");
    }
}

#[test]
fn who_may_not_mount_gets_no_result_and_runs_nothing() {
    let Some(place) = Place::new() else {
        return;
    };
    let outer = tempfile::tempdir_in("/var/tmp").unwrap();
    let [upper, scratch, at] = ["upper", "scratch", "at"].map(|name| outer.path().join(name));
    for path in [&upper, &scratch, &at] {
        fs::create_dir(path).unwrap();
    }
    let result = apart(|| {
        // Overlays are stacked twice at most (FILESYSTEM_MAX_STACK_DEPTH), and this is the first.
        over(place.folder.path(), &upper, &scratch, &at).unwrap();
        let store = Store::open(&at.join("store")).unwrap();
        let work = tempfile::tempdir_in(&at).unwrap();
        let run = || panic!("nothing is to run");
        changed(&store, &place.kept(), work.path(), run, &Silent)
    });
    let why = result.unwrap().unwrap().unwrap_err();
    assert!(why.contains("mount"), "{why}");
}

#[test]
fn a_damaged_file_is_found_before_anything_runs() {
    let Some(place) = Place::new() else {
        return;
    };
    let kept = place.kept();
    let mut objects = kept.tree.leaves().filter_map(|id| kept.tree.object(id));
    let path = place.store.object_path(&objects.next().unwrap().0);
    let mut content = fs::read(&path).unwrap();
    content[0] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, content).unwrap();
    let error = place.over("true").unwrap_err().to_string();
    assert!(error.contains("is damaged"), "{error}");
}
