//! A process that dies leaves a store that is sound, and goes on where it was.

use crate::sample::{import, origin};
use elea_formats::form::Form;
use elea_store::Store;
use elea_sys::progress::Silent;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PLACE: &str = "ELEA_STORE_CRASH";

/// Not a test by itself: what the others start and kill.
#[test]
fn child() {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let store = Store::open_or_init(&place.join("store")).unwrap();
    let _lease = store.lease("child").unwrap();
    let tree = import(&store, &place.join("source"));
    let image = store.seal(tree, Form::Os1, &origin()).unwrap().image;
    store.set_ref("done", &image).unwrap();
}

fn command(program: Option<&str>, place: &Path) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut command = match program {
        None => Command::new(me),
        Some(program) => {
            let mut command = Command::new(program);
            command
                .args(["-f", "-y", "-qq", "-o"])
                .arg(place.join("trace"))
                .args(["-e", "trace=syncfs,fsync,rename,renameat,renameat2"])
                .arg(me);
            command
        }
    };
    command
        .args(["--exact", "crash::child"])
        .env(PLACE, place)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn source(place: &Path) {
    let folder = place.join("source");
    fs::create_dir(&folder).unwrap();
    for number in 0..400_u32 {
        let content = number.to_le_bytes().repeat(2000);
        fs::write(folder.join(number.to_string()), content).unwrap();
    }
}

#[test]
fn a_killed_import_leaves_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    source(place);
    let mut killed = 0;
    for milliseconds in (0..240).step_by(24) {
        let mut child = command(None, place).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let Ok(store) = Store::open(&place.join("store")) else {
            // Killed before it was one; it is made again.
            let _ = fs::remove_dir_all(place.join("store"));
            continue;
        };
        let findings = store.fsck(&Silent).unwrap().findings;
        // A manifest without a name is what a death between the two leaves.
        assert!(
            findings.iter().all(|f| f.what.contains("is of no image")),
            "{findings:?}"
        );
        assert!(store.leases().unwrap().is_empty());
        // Every other time what is there is collected, or found by the next.
        if milliseconds % 48 == 0 {
            store.gc(&[], false, &Silent).unwrap();
            assert_eq!(store.fsck(&Silent).unwrap().findings, []);
            assert_eq!(fs::read_dir(place.join("store/tmp")).unwrap().count(), 0);
        }
    }
    assert!(killed > 0);
    assert!(command(None, place).status().unwrap().success());
    let store = Store::open(&place.join("store")).unwrap();
    assert_eq!(store.fsck(&Silent).unwrap().findings, []);
    assert_eq!(store.refs().unwrap().len(), 1);
}

/// What a name stands for is on the disk before the name is.
#[test]
fn names_come_after_what_they_name() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: no strace");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    source(dir.path());
    let status = command(Some("strace"), dir.path()).status().unwrap();
    if !status.success() {
        println!("skipped: strace may not trace here");
        return;
    }
    let trace = fs::read_to_string(dir.path().join("trace")).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    let first = |what: &dyn Fn(&str) -> bool| lines.iter().position(|l| what(l)).unwrap();
    let last_object = lines
        .iter()
        .rposition(|l| l.contains("rename") && l.contains("/store/objects/"))
        .unwrap();
    let synced = first(&|l| l.contains("syncfs("));
    let manifest = first(&|l| l.contains("rename") && l.contains("/image.json\""));
    let image = first(&|l| l.contains("rename") && l.contains("/store/images/"));
    let kept = first(&|l| l.contains("fsync(") && l.contains("/store/images>"));
    let reference = first(&|l| l.contains("rename") && l.contains("/refs/done\""));
    assert!(last_object < synced, "{trace}");
    assert!(synced < manifest, "{trace}");
    assert!(manifest < image, "{trace}");
    assert!(image < kept, "{trace}");
    assert!(kept < reference, "{trace}");
    // No object is synced by itself.
    let objects = |l: &&&str| l.contains("fsync(") && l.contains("/store/objects");
    assert_eq!(lines.iter().filter(objects).count(), 0);
}
