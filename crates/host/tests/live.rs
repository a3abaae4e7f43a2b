//! A live switch with a real systemd: the manager of a user, in namespaces of its own.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

#[path = "live/home.rs"]
mod home;
#[path = "live/reads.rs"]
mod reads;
#[path = "live/rows.rs"]
mod rows;

use elea_formats::digest::Digest;
use elea_host::live::{
    Active, Differences, Etc, FOLDERS, Files, Live, Machine as _, Outcome, PROPERTIES, Policy,
    REVERT_TIMER, Side, Step, Switch, System, Units, Verb, Which, confirm, execute, plan, recover,
    revert,
};
use elea_store::{Change, Kind};
use elea_sys::disk::Folder;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const INSIDE: &str = "ELEA_TEST_INSIDE";

/// The folder of units is a link to the old or the new one; what is kept is a file.
#[derive(Debug)]
struct Links(PathBuf);

impl Etc for Links {
    fn show(&mut self, which: Which) -> Result<(), String> {
        let name = if which == Which::New { "new" } else { "old" };
        let link = self.0.join("units.tmp");
        let target = self.0.join(name).join(&FOLDERS[0][1..]);
        std::os::unix::fs::symlink(target, &link).map_err(|e| e.to_string())?;
        fs::rename(link, self.0.join("units")).map_err(|e| e.to_string())
    }
    fn show_usr(&mut self, _: &Digest) -> Result<(), String> {
        Err("this system has no images".into())
    }
    fn keep(&mut self) -> Result<(), String> {
        fs::write(self.0.join("kept"), "").map_err(|e| e.to_string())
    }
    fn is_kept(&self) -> Result<bool, String> {
        Ok(self.0.join("kept").exists())
    }
}

fn switch(confirm: bool) -> Switch {
    Switch {
        boot: "boot".into(),
        old: 1,
        new: 2,
        confirm,
        test: false,
    }
}

const OLD: &[(&str, &str)] = &[
    ("basic.target", "[Unit]\nDefaultDependencies=no\n"),
    ("sysinit.target", "[Unit]\nDefaultDependencies=no\n"),
    ("shutdown.target", "[Unit]\nDefaultDependencies=no\n"),
    (
        "default.target",
        "[Unit]\nWants=dbus.service same.service changed.service gone.service\n",
    ),
    ("same.service", "[Service]\nExecStart=sleep 1000\n"),
    ("changed.service", "[Service]\nExecStart=sleep 1001\n"),
    ("gone.service", "[Service]\nExecStart=sleep 1002\n"),
    ("dbus.socket", "[Socket]\nListenStream=%t/bus\n"),
    (
        "dbus.service",
        "[Unit]\nRequires=dbus.socket\n[Service]\nType=notify\n\
            ExecStart=dbus-daemon --session --address=systemd: --nofork --nopidfile --systemd-activation\n",
    ),
];

fn tree(root: &Path, units: &[(&str, &str)]) {
    let folder = root.join(&FOLDERS[0][1..]);
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in units {
        fs::write(folder.join(name), text).unwrap();
    }
}

fn new_units(new_service: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut units: Vec<_> = OLD
        .iter()
        .copied()
        .filter(|(name, _)| *name != "gone.service")
        .collect();
    units[3].1 = "[Unit]\nWants=dbus.service same.service changed.service new.service\n";
    units[5].1 = "[Service]\nExecStart=sleep 2001\n";
    units.push(("new.service", new_service));
    units
}

/// Runs this very test again as the first process of its own namespaces; there is no systemd in
/// them but the one that it starts.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/u && chmod 700 /run/u && \
        mount -t tmpfs none /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && \
        dbus-daemon --version >/dev/null && test -x /usr/lib/systemd/systemd";
    let namespaces = [
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "--cgroup",
    ];
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(namespaces).args(["sh", "-c", script]);
        command
    };
    if !shell(script)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        eprintln!("skipped: no namespaces, no cgroup v2 or no systemd");
        return false;
    }
    let group = format!("elea-test-{}-{test}", std::process::id());
    let own = format!(
        "{script} && mkdir /sys/fs/cgroup/{group} && echo $$ > /sys/fs/cgroup/{group}/cgroup.procs && exec \"$0\" --exact {test} --nocapture"
    );
    let status = shell(&own)
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .env("XDG_RUNTIME_DIR", "/run/u")
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .status();
    // The processes are gone with their namespace; the groups stay until they are removed.
    let remove =
        format!("{script} && find /sys/fs/cgroup/{group} -depth -type d -exec rmdir {{}} ';'");
    let _ = shell(&remove).stderr(Stdio::null()).status();
    assert!(status.unwrap().success());
    false
}

struct User(Child);

impl User {
    fn start(root: &Path) -> Self {
        Self::with_units(&root.join("units").display().to_string())
    }

    /// With units from these folders.
    fn with_units(folders: &str) -> Self {
        let user = Command::new("/usr/lib/systemd/systemd")
            .arg("--user")
            .env("XDG_RUNTIME_DIR", "/run/u")
            .env("SYSTEMD_UNIT_PATH", folders)
            .spawn()
            .unwrap();
        let user = Self(user);
        while !Path::new("/run/u/systemd/private").exists() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command_of(unit: &str) -> String {
    let shown = Command::new("systemctl")
        .args(["--user", "show", "--property=MainPID", "--value", unit])
        .output()
        .unwrap();
    let pid = String::from_utf8(shown.stdout).unwrap();
    let begun = std::time::Instant::now();
    loop {
        let line = fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        // Until it has become the program it is systemd, calls itself by the name in brackets, or has no words.
        let is_begun = !line.is_empty() && !line.starts_with('(') && !line.contains("systemd");
        if is_begun || begun.elapsed() > std::time::Duration::from_secs(20) {
            return format!("{} {}", pid.trim(), line.trim());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

fn running(live: &Live) -> Vec<&str> {
    live.running()
        .map(|(name, _)| name)
        .filter(|name| name.ends_with(".service") && *name != "dbus.service")
        .collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, in order")]
fn a_real_manager_switches_goes_back_and_confirms() {
    if !inside("a_real_manager_switches_goes_back_and_confirms") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    tree(&root.join("old"), OLD);
    tree(
        &root.join("new"),
        &new_units("[Service]\nType=exec\nExecStart=false\nExecStartPre=false\n"),
    );
    let mut links = Links(root.to_owned());
    links.show(Which::Old).unwrap();
    let _user = User::start(root);
    let disk = Folder::new(root.join("state"));
    fs::create_dir(root.join("state")).unwrap();
    let mut system = System::new(links, true);
    while running(&system.live().unwrap()).len() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let side = |name: &str| Side {
        units: Units::new(Files::load(&root.join(name)).unwrap()),
        ..Side::default()
    };
    let planned = |system: &System<Links>| {
        let differences = Differences {
            files: vec![Change {
                path: "/etc/x".into(),
                kind: Kind::Added,
                fields: vec![],
            }],
            ..Differences::default()
        };
        plan(
            &side("old"),
            &side("new"),
            differences,
            &system.live().unwrap(),
        )
        .unwrap()
        .steps
    };
    let step = |verb, unit: &str| Step::Unit {
        unit: unit.into(),
        verb,
    };
    let steps = planned(&system);
    assert_eq!(
        steps,
        [
            step(Verb::Stop, "gone.service"),
            step(Verb::Stop, "changed.service"),
            Step::Files,
            Step::DaemonReload,
            step(Verb::Start, "changed.service"),
            step(Verb::Start, "new.service"),
        ]
    );
    let same = command_of("same.service");

    // The new service does not start: all is as it was.
    let outcome = execute(&steps, &switch(false), &disk, &mut system).unwrap();
    let Outcome::Reverted { why, missed } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        why.starts_with("start new.service: failed (exit-code); "),
        "{why}"
    );
    assert_eq!(missed, [""; 0]);
    let now = system.live().unwrap();
    assert_eq!(
        running(&now),
        ["changed.service", "gone.service", "same.service"]
    );
    assert!(command_of("changed.service").ends_with("sleep 1001"));

    // Mended, it waits; nobody confirms; then somebody does.
    tree(
        &root.join("new"),
        &[("new.service", "[Service]\nExecStart=sleep 2002\n")],
    );
    let steps = planned(&system);
    for confirmed in [false, true] {
        assert_eq!(
            execute(&steps, &switch(true), &disk, &mut system).unwrap(),
            Outcome::Waiting
        );
        let now = system.live().unwrap();
        assert_eq!(
            running(&now),
            ["changed.service", "new.service", "same.service"]
        );
        assert!(command_of("changed.service").ends_with("sleep 2001"));
        if confirmed {
            assert_eq!(confirm("boot", &disk, &mut system).unwrap(), Outcome::Kept);
        } else {
            let outcome = revert("nobody confirmed", "boot", &disk, &mut system).unwrap();
            assert!(matches!(outcome, Outcome::Reverted { ref missed, .. } if missed.is_empty()));
            assert!(command_of("changed.service").ends_with("sleep 1001"));
            assert_eq!(
                running(&system.live().unwrap()),
                ["changed.service", "gone.service", "same.service"]
            );
        }
    }
    assert_eq!(
        recover(Policy::Revert, "boot", &disk, &mut system).unwrap(),
        Outcome::Nothing
    );
    // What did not change was not touched once.
    assert_eq!(command_of("same.service"), same);
    system.check().unwrap();
}

#[test]
fn the_bus_says_what_systemctl_says() {
    if !inside("the_bus_says_what_systemctl_says") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let names: Vec<String> = (0..100).map(|n| format!("many-{n}.service")).collect();
    let wants = format!(
        "[Unit]\nWants=dbus.service again.service odd\\x2dname@1-2.service gone.service passing@1.service {}\n",
        names.join(" ")
    );
    let once = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\n";
    let needed = |(name, _): &&(&str, &str)| name.starts_with("dbus") || name.ends_with("target");
    let mut units: Vec<(&str, &str)> = OLD.iter().filter(needed).copied().collect();
    units.retain(|(name, _)| *name != "default.target");
    units.extend([
        ("default.target", &*wants),
        // It waits to be started again.
        (
            "again.service",
            "[Service]\nExecStart=sh -c 'exit 3'\nRestart=always\nRestartSec=1000\n",
        ),
        ("odd\\x2dname@.service", once),
        ("link.slice", ""),
    ]);
    units.extend(names.iter().map(|name| (&**name, once)));
    tree(&root.join("old"), &units);
    Links(root.to_owned()).show(Which::Old).unwrap();
    // Somebody made it for the moment.
    let passing = "/run/u/systemd/user";
    fs::create_dir_all(passing).unwrap();
    fs::write(format!("{passing}/passing@.service"), once).unwrap();
    let folders = format!("{passing}:{}", root.join("units").display());
    let _user = User::with_units(&folders);
    let failed = |live: &Live| live.units.get("again.service").is_some_and(Active::failed);
    let settled = |live: &Live| failed(live) && names.iter().all(|name| live.runs(name));
    while !Live::load(true).is_ok_and(|live| settled(&live)) {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let transient = Command::new("systemd-run")
        .args(["--user", "--quiet", "--unit=transient", "sleep", "1000"])
        .status();
    assert!(transient.unwrap().success());
    let begin = std::time::Instant::now();
    let asked = Live::load(true).unwrap();
    let took = begin.elapsed();
    let begin = std::time::Instant::now();
    let said = Command::new("systemctl")
        .args(["--user", "show", &format!("--property={PROPERTIES}"), "*"])
        .output()
        .unwrap();
    let mut said = Live::parse(&String::from_utf8(said.stdout).unwrap());
    let other = begin.elapsed();
    for unit in said.units.values_mut() {
        // These are not asked for where nobody needs them.
        if unit.sub != "auto-restart" {
            unit.status = 0;
        }
    }
    assert_eq!(asked.units["again.service"].status, 3);
    assert!(asked.runs("odd\\x2dname@1-2.service"));
    assert_eq!(asked, said);
    for (name, passing) in [
        ("passing@1.service", true),
        ("transient.service", true),
        ("odd\\x2dname@1-2.service", false),
        ("many-1.service", false),
    ] {
        assert_eq!(asked.units[name].passing, passing, "{name}");
    }
    let number = asked.units.len();
    eprintln!("{number} units: the bus took {took:?}, systemctl {other:?}");
}

#[test]
fn the_timer_goes_off_and_can_be_disarmed() {
    if !inside("the_timer_goes_off_and_can_be_disarmed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    tree(&root.join("old"), OLD);
    Links(root.to_owned()).show(Which::Old).unwrap();
    let _user = User::start(root);
    let program = root.join("elea");
    let said = root.join("said");
    let script = format!("#!/bin/sh\necho \"$@\" >{}\n", said.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let user = |program: &str, arguments: &[String]| {
        let mut command = Command::new(program);
        let status = command.arg("--user").args(arguments).status().unwrap();
        assert!(status.success());
    };
    // One that would go off much later begins anew, is disarmed, and leaves its name free.
    let system = System::new(Links(root.to_owned()), true);
    let program = program.to_str().unwrap();
    system.arm_timer(10_000, program).unwrap();
    let twice = system.arm_timer(10_000, program).unwrap_err();
    assert!(twice.contains("elea-revert"), "{twice}");
    system.restart_timer().unwrap();
    user("systemctl", &["is-active".into(), REVERT_TIMER.into()]);
    system.stop_timer();
    assert!(system.restart_timer().is_err(), "it is gone");
    system.stop_timer();
    system.arm_timer(1, program).unwrap();
    while fs::read_to_string(&said).unwrap_or_default() != "agent revert\n" {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
