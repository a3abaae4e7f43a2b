//! A machine without emulation: an image with its own systemd as process 1, in namespaces on the kernel that runs.
//!
//! It is up in two seconds, and as fast as any other program. It has no firmware, no boot loader and no kernel of its own:
//! those are what `cargo xtask vm` is for.

mod checks;

use crate::Result;
use crate::programs::{self, target_folder};
use crate::works::{Release, Works};
use elea_testkit::{Error, bound, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the machine may take until it is up.
const BOOT: Duration = Duration::from_mins(1);
/// What of its own it has.
const NAMESPACES: [&str; 7] = [
    "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup",
];
/// How it begins.
const SCRIPT: &str = include_str!("contained/machine.sh");

/// `cargo xtask contained`: what is checked on such a machine; a line for each check. With the folder of a demo its first
/// release is taken, also while the demo goes on; `--built` says that the workspace's tests are built.
pub(crate) fn check(words: &[String]) -> Result<()> {
    let mut work = target_folder().join("contained");
    let mut is_built = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--work" => {
                let folder = words.next();
                work = folder
                    .ok_or_else(|| Error::other("--work needs a folder"))?
                    .into();
            }
            "--built" => is_built = true,
            _ => return Err(Error::other(format!("contained has no option `{word}`"))),
        }
    }
    if let Some(why) = missing() {
        println!("skipped contained machines: {why}");
        return Ok(());
    }
    let programs = programs::build()?;
    let store = work.join("store");
    let mut ask = Command::new(&programs.elea);
    ask.arg("--store").arg(&store);
    if run(ask.args(["image", "show", &Release::First.name()])).is_err() {
        Works::open(&work)?.build(Release::First)?;
    }
    let folder = work.join("contained");
    let machine = Machine::start(&layout(is_built)?, &store, &programs.initrd, &folder)?;
    checks::all(&machine)
}

/// The program that lays out a machine's physical root, built as the workspace's tests are. Where those are built it is
/// there; alone it wants other features of the same libraries.
pub(crate) fn layout(is_built: bool) -> Result<PathBuf> {
    if is_built {
        return Ok(programs::built_example("machine", "dev"));
    }
    programs::example("machine", "dev")
}

/// Why there can be no such machine here.
fn missing() -> Option<String> {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let known: Vec<&str> = known.split_whitespace().collect();
    let needed = ["cgroup2", "erofs", "overlay"];
    if let Some(lacks) = needed.iter().find(|name| !known.contains(name)) {
        return Some(format!("this kernel has no {lacks}"));
    }
    let root = run(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if !root {
        return Some("only root can start them".to_owned());
    }
    let try_it = "mount --make-rprivate / && mount -t tmpfs none /mnt && mkdir /mnt/x && mount -t cgroup2 none /mnt/x";
    let mut tried = Command::new("unshare");
    tried
        .args(NAMESPACES)
        .args(["--kill-child", "sh", "-c", try_it]);
    run(&mut tried).err().map(|e| e.to_string())
}

/// The machine. It ends with this value.
pub(crate) struct Machine {
    child: Child,
    /// Process 1 of it, as it is called here.
    init: String,
    folder: PathBuf,
}

impl Machine {
    /// Starts one of the first release of a store; `folder` is the machine's own, which [`layout`] made a program for.
    pub(crate) fn start(layout: &Path, store: &Path, initrd: &Path, folder: &Path) -> Result<Self> {
        let _ = fs::remove_dir_all(folder);
        let disk = folder.join("disk");
        let mut lay = Command::new(layout);
        let line = run(lay.arg(store).arg(Release::First.name()).arg(&disk))?;
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text)
                .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
        };
        put("cmdline", &line)?;
        put("machine.sh", SCRIPT)?;
        let log = fs::File::create(folder.join("log"))
            .map_err(|e| Error::other(format!("cannot write {}: {e}", folder.display())))?;
        // Not its own Ctrl-C: it ends with this program, however that ends.
        let child = bound("unshare")
            .args(NAMESPACES)
            .args(["--kill-child", "bash"])
            .arg(folder.join("machine.sh"))
            .args([folder, initrd, &disk])
            .stdout(log.try_clone().map_err(|e| Error::other(e.to_string()))?)
            .stderr(log)
            .spawn()
            .map_err(|e| Error::other(format!("cannot start unshare: {e}")))?;
        let mut machine = Self {
            child,
            init: String::new(),
            folder: folder.to_owned(),
        };
        machine.wait()?;
        Ok(machine)
    }

    /// Until it is up.
    fn wait(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let id = self.child.id();
            let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
            children
                .unwrap_or_default()
                .trim()
                .clone_into(&mut self.init);
            let state = "systemctl is-system-running";
            if !self.init.is_empty() && self.must(state).is_ok_and(|s| s.trim() == "running") {
                return Ok(());
            }
            if begun.elapsed() > BOOT || matches!(self.child.try_wait(), Ok(Some(_))) {
                let said = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(Error::other(format!("the machine did not come up: {said}")));
            }
            sleep(Duration::from_millis(200));
        }
    }

    /// Runs a command in it, which must end well.
    pub(crate) fn must(&self, command: &str) -> Result<String> {
        run(&mut self.command(command))
    }

    /// Runs a command in it: its code, and all that it said.
    pub(crate) fn run(&self, command: &str) -> Result<(i32, String)> {
        let ended: Output = self
            .command(&format!("{{ {command}\n}} 2>&1"))
            .output()
            .map_err(|e| Error::other(format!("cannot run nsenter: {e}")))?;
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        Ok((ended.status.code().unwrap_or(-1), said))
    }

    /// A command in it, not run yet.
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut enter = Command::new("nsenter");
        enter
            .args(["--target", &self.init, "--all", "--root", "--wd"])
            .args([
                "/usr/bin/env",
                "-i",
                "PATH=/usr/sbin:/usr/bin",
                "HOME=/root",
            ])
            .args(["bash", "-c", command]);
        enter.stdin(Stdio::null());
        enter
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All that is in its namespaces ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(self.folder.join("disk"));
    }
}
