//! A machine without a disk: `elea vm`.

use super::{Scenario, Stage, Told};
use crate::Result;
use crate::works::Release;
use elea_testkit::vm::{Accelerator, usable_accelerator};
use elea_testkit::{Error, bound};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "memory",
    done: "nothing: `elea vm` boots 1.0 from the store, and a person works on its console",
    run: memory,
}];

/// How long each answer may take.
const LIMIT: Duration = Duration::from_mins(12);
/// What the console shows when root may type.
const PROMPT: &str = "root@hello:~# ";

fn memory(stage: &mut Stage, _: &str) -> Result<Told> {
    let works = &stage.works;
    works.build(Release::First)?;
    let said = works.folder.join("memory.log");
    let fail = |e| Error::other(format!("cannot start `elea vm`: {e}"));
    let log = File::create(&said).map_err(fail)?;
    let how = match usable_accelerator() {
        Accelerator::Kvm => "kvm",
        Accelerator::Tcg => "tcg",
    };
    let mut elea = bound(&works.programs.elea);
    elea.arg("--store").arg(works.store());
    let begun = Instant::now();
    let child = elea
        .args(["vm", &Release::First.name(), "--accelerator", how])
        .stdin(Stdio::piped())
        .stderr(log.try_clone().map_err(fail)?)
        .stdout(log)
        .spawn()
        .map_err(fail)?;
    let mut console = Console {
        child,
        said: &said,
        seen: 0,
    };
    console.wait(PROMPT)?;
    let up = begun.elapsed().as_secs();
    let state = console.ask("systemctl is-system-running --wait; echo after: $?")?;
    if !state.contains("running") {
        return Err(Error::other(format!("the system is not well:\n{state}")));
    }
    let booted = console.ask("cat /run/elea/booted")?;
    for part in ["\"tmpfs\"", "\"generation\": 1", "\"fresh\""] {
        if !booted.contains(part) {
            return Err(Error::other(format!("no {part} in:\n{booted}")));
        }
    }
    // What a machine writes stays in memory; what an image has cannot be written.
    let kept = console.ask("echo edit > /etc/edited && touch /var/lib/kept && elea etc diff")?;
    let refused = console.ask("touch /usr/bin/new; echo code $?")?;
    if !kept.contains("/etc/edited") || !refused.contains("code 1") {
        return Err(Error::other(format!("{kept}\n{refused}")));
    }
    console.type_in("poweroff\n")?;
    console.end()?;
    Ok(Told {
        happened: "it comes up whole, lets root in, and is gone when it is switched off".into(),
        boots: 1,
        seconds: up,
        evidence: "`/run/elea/booted`".into(),
    })
}

/// The console of the machine, which dies with us.
struct Console<'a> {
    child: Child,
    said: &'a Path,
    /// What was looked at already, in bytes.
    seen: usize,
}

impl Console<'_> {
    /// Waits for a text; gives what was said until then.
    fn wait(&mut self, text: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let said = fs::read(self.said).unwrap_or_default();
            let new = String::from_utf8_lossy(&said[self.seen.min(said.len())..]).into_owned();
            if new.contains(text) {
                self.seen = said.len();
                return Ok(new);
            }
            let ended = self.child.try_wait().ok().flatten();
            if begun.elapsed() > LIMIT || ended.is_some() {
                let tail: Vec<&str> = new.lines().rev().take(30).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(Error::other(format!(
                    "`{text}` did not come on the console:\n{}",
                    tail.join("\n")
                )));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn type_in(&mut self, text: &str) -> Result<()> {
        let written = match &mut self.child.stdin {
            Some(input) => input
                .write_all(text.as_bytes())
                .and_then(|()| input.flush()),
            None => Ok(()),
        };
        written.map_err(|e| Error::other(format!("cannot type: {e}")))
    }

    /// Types a command; gives what is said until the next prompt.
    fn ask(&mut self, command: &str) -> Result<String> {
        self.type_in(&format!("{command}\n"))?;
        self.wait(PROMPT)
    }

    /// Waits until the machine is off.
    fn end(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Error::other(format!("`elea vm` ended with {status}")));
                }
                _ => std::thread::sleep(Duration::from_millis(200)),
            }
        }
        Err(Error::other("the machine did not switch itself off"))
    }
}

impl Drop for Console<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
