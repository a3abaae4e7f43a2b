//! A service takes a file that changed, and the manager reads nothing anew: no daemon-reload.

use crate::{OLD, User, command_of, inside, switch, tree};
use elea_formats::digest::Digest;
use elea_host::live::{
    Differences, Etc, FOLDERS, Files, Outcome, Side, Step, System, Units, Verb, Which, execute,
    plan, revert,
};
use elea_store::{Change, Kind};
use elea_sys::disk::Folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of two folders is mounted at a third, as an overlay is at `/etc`: paths stay the same.
#[derive(Debug)]
struct Mounts(PathBuf);

impl Etc for Mounts {
    fn show(&mut self, which: Which) -> Result<(), String> {
        let name = if which == Which::New { "new" } else { "old" };
        let shown = self.0.join("shown");
        let mut mount = Command::new("mount");
        let mount = mount.arg("--bind").arg(self.0.join(name)).arg(shown);
        let done = mount.status().map_err(|e| e.to_string())?;
        done.success().then_some(()).ok_or("no mount".into())
    }
    fn show_usr(&mut self, _: &Digest) -> Result<(), String> {
        Err("this system has no images".into())
    }
    fn keep(&mut self) -> Result<(), String> {
        Err("nobody keeps it".into())
    }
    fn is_kept(&self) -> Result<bool, String> {
        Ok(false)
    }
}

#[test]
fn a_service_takes_its_file_and_the_manager_needs_no_reload() {
    if !inside("reads::a_service_takes_its_file_and_the_manager_needs_no_reload") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let (old, new) = (root.join("old"), root.join("new"));
    let service = format!(
        "[Service]\nType=exec\nExecStart=sleep infinity\nExecReload=cp {}/shown/etc/hello.conf %t/read\n",
        root.display()
    );
    tree(&old, OLD);
    tree(
        &old,
        &[
            (
                "default.target",
                "[Unit]\nWants=dbus.service hello.service\n",
            ),
            ("hello.service", &service),
        ],
    );
    let units = old.join(&FOLDERS[0][1..]);
    fs::create_dir(units.join("hello.service.d")).unwrap();
    fs::write(
        units.join("hello.service.d/60-elea-files.conf"),
        "[Unit]\nX-Reload-On=/etc/hello.conf\n",
    )
    .unwrap();
    // The same units, of the same times, as two images have them.
    let copied = Command::new("cp").arg("-a").arg(&old).arg(&new).status();
    assert!(copied.unwrap().success());
    for (side, content) in [(&old, "1"), (&new, "2")] {
        fs::write(side.join("etc/hello.conf"), content).unwrap();
    }
    fs::create_dir(root.join("shown")).unwrap();
    std::os::unix::fs::symlink(
        root.join("shown").join(&FOLDERS[0][1..]),
        root.join("units"),
    )
    .unwrap();
    let mut mounts = Mounts(root.to_owned());
    mounts.show(Which::Old).unwrap();
    let _user = User::start(root);
    fs::create_dir(root.join("state")).unwrap();
    let disk = Folder::new(root.join("state"));
    let mut system = System::new(mounts, true);
    while !system.live().unwrap().runs("hello.service") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut live = system.live().unwrap();
    // Whatever generators this machine has, the manager of the test has none.
    live.generators.clear();
    let side = |path: &Path| Side {
        units: Units::new(Files::load(path).unwrap()),
        ..Side::default()
    };
    let differences = Differences {
        files: vec![Change {
            path: "/etc/hello.conf".into(),
            kind: Kind::Changed,
            fields: vec!["content"],
        }],
        ..Differences::default()
    };
    let steps = plan(&side(&old), &side(&new), differences, &live)
        .unwrap()
        .steps;
    let reload = Step::Unit {
        unit: "hello.service".into(),
        verb: Verb::Reload,
    };
    assert_eq!(steps, [Step::Files, reload]);
    let stale = || {
        let mut shown = Command::new("systemctl");
        shown.args(["--user", "show", "--property=NeedDaemonReload", "--value"]);
        let shown = shown.arg("hello.service").output().unwrap();
        String::from_utf8(shown.stdout).unwrap().trim() == "yes"
    };
    let read = || fs::read_to_string("/run/u/read").unwrap();
    let before = command_of("hello.service");

    let outcome = execute(&steps, &switch(true), &disk, &mut system).unwrap();
    assert_eq!(outcome, Outcome::Waiting);
    assert_eq!((read().as_str(), stale()), ("2", false));
    let outcome = revert("nobody confirmed", "boot", &disk, &mut system).unwrap();
    assert!(matches!(outcome, Outcome::Reverted { ref missed, .. } if missed.is_empty()));
    assert_eq!((read().as_str(), stale()), ("1", false));
    assert_eq!(command_of("hello.service"), before);
    // The manager would say so.
    let service = root.join("units/hello.service");
    fs::write(service, "[Service]\nExecStart=true\n").unwrap();
    assert!(stale());
}
