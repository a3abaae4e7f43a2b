//! `elea apply` on a machine that runs: an image with its own systemd as process 1, on the kernel of this machine.
//!
//! A machine under emulation says little of speed. This one is in namespaces of its own, and as fast as any other program.

use super::build::cells;
use super::measure::spread;
use super::report::Section;
use crate::Result;
use crate::programs::{cargo, profile};
use crate::vm::small_config;
use crate::works::{Release, Works};
use elea_testkit::{Error, run};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often each is measured in a round.
const TIMES: usize = 10;
/// How long the machine may take until it is up.
const BOOT: Duration = Duration::from_secs(60);
/// What may go wrong before any output.
const SCRIPT: &str = include_str!("apply/machine.sh");

/// What is measured, with what is done before each that does not count.
const ROWS: [(&str, &str, &str); 7] = [
    ("`elea version`: its start alone", ":", "elea version"),
    (
        "`elea apply`: nothing changed",
        ":",
        "elea apply b.toml --locked",
    ),
    (
        "`elea apply --dry-run`: a changed file that a service reads",
        ":",
        "elea apply a.toml --locked --dry-run",
    ),
    (
        "`elea apply`: the same, done",
        "elea apply a.toml --locked",
        "elea apply b.toml --locked",
    ),
    (
        "`elea apply`: a unit that changed, done",
        "elea apply b.toml --locked",
        "elea apply unit.toml --locked",
    ),
    (
        "`systemctl reload` of that service",
        ":",
        "systemctl reload watch.service",
    ),
    (
        "`systemctl daemon-reload`, which the changed unit needs too",
        ":",
        "systemctl daemon-reload",
    ),
];

/// Measures on a machine that is made for it and gone afterwards.
pub(super) fn applies(works: &Works, rounds: usize) -> Result<Section> {
    if !works.has(Release::First) {
        works.build(Release::First)?;
    }
    let machine = Machine::start(works)?;
    machine.must("cp -r /usr/lib/elea/source /root/own")?;
    let small = [("a", small_config("a")), ("b", small_config("b"))];
    let unit = small_config("b").replace("sleep 2000", "sleep 2001");
    for (name, text) in small.into_iter().chain([("unit", unit)]) {
        machine.must(&format!(
            "cd /root/own; cat > {name}.toml <<'END'\n{text}END\ncp elea.lock {name}.lock; elea apply {name}.toml --locked"
        ))?;
    }
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); ROWS.len()];
    for _ in 0..rounds {
        for ((_, before, what), all) in ROWS.iter().zip(&mut figures) {
            all.extend(machine.times(before, what)?);
        }
    }
    let row = |((name, ..), all): (&(&str, &str, &str), Vec<f64>)| {
        let text = spread(all).map_or_else(|| "—".into(), |s| s.text(1));
        vec![(*name).to_owned(), text]
    };
    let times = rounds * TIMES;
    Ok(Section {
        title: "Apply on a machine",
        head: cells(["what", "wall ms"]),
        rows: ROWS.iter().zip(figures).map(row).collect(),
        how: format!(
            "The example's image with its own systemd as process 1, in namespaces on the kernel of the machine that measures: no emulation, no virtual\n\
             machine. It builds its own config, without a package or a network, and applies it; each {times} times, between two configs. The physical root is a folder;\n\
             there is no boot partition and no fs-verity, so that images are hashed. A file that a service names with `reload_on` needs no daemon-reload;\n\
             a unit that differs does, and its service is stopped and started."
        ),
    })
}

/// The machine. It ends with this value.
struct Machine {
    child: Child,
    /// Process 1 of it, as it is called here.
    init: String,
    folder: PathBuf,
}

impl Machine {
    fn start(works: &Works) -> Result<Self> {
        let folder = works.folder.join("machine");
        let _ = fs::remove_dir_all(&folder);
        let disk = folder.join("disk");
        let store = works.store();
        let mut lay = cargo();
        lay.args(["run", "--profile", &profile(), "--quiet", "-p", "elea-host"])
            .args(["--example", "machine", "--"]);
        let line = run(lay.arg(&store).arg(Release::First.name()).arg(&disk))?;
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text)
                .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
        };
        put("cmdline", &line)?;
        put("machine.sh", SCRIPT)?;
        let log = fs::File::create(folder.join("log"))
            .map_err(|e| Error::other(format!("cannot write {}: {e}", folder.display())))?;
        let namespaces = [
            "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup",
        ];
        let child = Command::new("unshare")
            .args(namespaces)
            .args(["--kill-child", "bash"])
            .arg(folder.join("machine.sh"))
            .args([&folder, &works.programs.initrd, &disk])
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| Error::other(e.to_string()))?)
            .stderr(log)
            .spawn()
            .map_err(|e| Error::other(format!("cannot start unshare: {e}")))?;
        let mut machine = Self {
            child,
            init: String::new(),
            folder,
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

    /// Runs a command in it.
    fn must(&self, command: &str) -> Result<String> {
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
        run(&mut enter)
    }

    /// The milliseconds that a command takes, by the clock of the machine; `before` is run, and not counted, before each.
    fn times(&self, before: &str, command: &str) -> Result<Vec<f64>> {
        let said = self.must(&format!(
            "cd /root/own; for i in {{1..{TIMES}}}; do {before} >/dev/null; b=$(date +%s%N); {command} >/dev/null || exit; \
             echo $((($(date +%s%N) - b) / 1000)); done 2>/dev/null"
        ))?;
        let times: Vec<f64> = said.lines().filter_map(|t| t.parse().ok()).collect();
        if times.len() != TIMES {
            return Err(Error::other(format!(
                "`{command}` did not end well in the machine"
            )));
        }
        Ok(times.into_iter().map(|micros| micros / 1000.0).collect())
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
