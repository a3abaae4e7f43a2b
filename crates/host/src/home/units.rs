//! User units: the links that enable them, and telling a user manager of changes.

use super::Error;
use super::declared::UNITS;
use super::plan::{Action, HomePlan};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A user manager that is busy is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at units.
const SETTLING: Duration = Duration::from_millis(250);

/// A link that enables a unit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// Below the folder of units.
    pub(super) path: String,
    pub(super) target: String,
}

/// The links that `[Install]` asks for (systemd.unit(5)): `WantedBy=`, `RequiredBy=`, `UpheldBy=`, `Alias=`.
pub(super) fn links(name: &str, text: &str) -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    let mut section = "";
    for line in text.replace("\\\n", " ").lines() {
        let line = line.trim();
        if line.starts_with('[') {
            section = if line == "[Install]" { "install" } else { "" };
        } else if section == "install"
            && let Some((key, value)) = line.split_once('=')
        {
            let end = match key.trim() {
                "WantedBy" => "wants",
                "RequiredBy" => "requires",
                "UpheldBy" => "upholds",
                "Alias" => "",
                _ => continue,
            };
            for other in value.split_whitespace() {
                if other.contains(['/', '%']) {
                    let why = format!("`{other}` in its [Install] is no plain name");
                    return Err(Error::declared(name, why));
                }
                links.push(if end.is_empty() {
                    Link {
                        path: other.to_owned(),
                        target: name.to_owned(),
                    }
                } else {
                    Link {
                        path: format!("{other}.{end}/{name}"),
                        target: format!("../{name}"),
                    }
                });
            }
        }
    }
    if links.is_empty() {
        let why = "it is enabled, but its [Install] names nothing that would start it; add `WantedBy=default.target`";
        return Err(Error::declared(name, why));
    }
    links.sort_by(|a, b| a.path.cmp(&b.path));
    links.dedup();
    Ok(links)
}

/// What a user manager is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked<'p> {
    start: BTreeSet<&'p str>,
    stop: BTreeSet<&'p str>,
    /// Restarted if they run.
    changed: BTreeSet<&'p str>,
    /// Whether units are to be read anew.
    any: bool,
}

/// What a plan means for a user manager.
fn asked(plan: &HomePlan) -> Asked<'_> {
    let prefix = format!("{UNITS}/");
    let mut asked = Asked::default();
    for change in &plan.changes {
        let Some(rest) = change.path.strip_prefix(&prefix) else {
            continue;
        };
        if matches!(change.action, Action::Keep | Action::Leave) {
            continue;
        }
        asked.any = true;
        let enables = |folder: &str| {
            let ends = [".wants", ".requires", ".upholds"];
            ends.iter().any(|end| folder.ends_with(end))
        };
        match (rest.rsplit_once('/'), change.action) {
            (Some((folder, unit)), Action::Create) if enables(folder) => {
                asked.start.insert(unit);
            }
            (Some((folder, unit)), Action::Remove) if enables(folder) => {
                asked.stop.insert(unit);
            }
            // A part of a unit (`x.service.d/y.conf`).
            (Some((folder, _)), _) => asked.changed.extend(folder.strip_suffix(".d")),
            (None, Action::Remove) => {
                asked.stop.insert(rest);
            }
            (None, Action::Replace | Action::Merge) => {
                asked.changed.insert(rest);
            }
            _ => {}
        }
    }
    asked.changed.retain(|unit| !asked.stop.contains(unit));
    asked
}

/// Tells the user manager, if one runs, of units that changed. What to do by hand otherwise, and units that failed.
pub(super) fn reload(plan: &HomePlan) -> (Option<String>, Vec<String>) {
    let asked = asked(plan);
    if !asked.any {
        return (None, Vec::new());
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    if !Path::new(&runtime).join("systemd/private").exists() {
        let note = "no systemd user manager runs here; units take effect at the next login";
        return (Some(note.into()), Vec::new());
    }
    let mut wrong = Vec::new();
    let mut run = |verb: &[&str], units: &BTreeSet<&str>| {
        if (verb[0] == "daemon-reload" || !units.is_empty())
            && let Err(why) = systemctl(verb, units)
        {
            wrong.push(format!("systemctl --user {}: {why}", verb[0]));
        }
    };
    run(&["stop", "--no-block"], &asked.stop);
    // What failed as it was may run as it is: after a rollback it does. Nothing else that does not run is started.
    let (failed, _) = look(&asked.changed);
    let failed: BTreeSet<&str> = failed.iter().map(String::as_str).collect();
    run(&["reset-failed"], &failed);
    run(&["daemon-reload"], &BTreeSet::new());
    run(&["try-restart", "--no-block"], &asked.changed);
    let start = asked.start.union(&failed).copied().collect();
    run(&["start", "--no-block"], &start);
    let units: BTreeSet<&str> = asked.start.union(&asked.changed).copied().collect();
    let (failed, busy) = settle(&units);
    if !busy.is_empty() {
        // A oneshot may take its time.
        let list = busy.join(" ");
        wrong.push(format!(
            "not waited for any longer: {list} (`systemctl --user status {list}`)"
        ));
    }
    ((!wrong.is_empty()).then(|| wrong.join("; ")), failed)
}

/// Waits until the manager has no more work for these units, and they have had a moment to fail: those that failed, and
/// those that it still works on.
fn settle(units: &BTreeSet<&str>) -> (Vec<String>, Vec<String>) {
    let begin = Instant::now();
    let mut still = false;
    while !units.is_empty() {
        let (failed, busy) = look(units);
        if busy.is_empty() && still || begin.elapsed() > PATIENCE {
            return (failed, busy);
        }
        still = busy.is_empty();
        std::thread::sleep(SETTLING);
    }
    (Vec::new(), Vec::new())
}

/// Which of some units failed, and which have a job.
fn look(units: &BTreeSet<&str>) -> (Vec<String>, Vec<String>) {
    if units.is_empty() {
        return (Vec::new(), Vec::new());
    }
    let shown = Command::new("systemctl")
        .args(["--user", "show", "--property=ActiveState,Job", "--"])
        .args(units)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let text = shown.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    sort(units, &text.unwrap_or_default())
}

/// The same, of what `systemctl show` printed: one block for each unit, in their order.
fn sort(units: &BTreeSet<&str>, text: &str) -> (Vec<String>, Vec<String>) {
    let (mut failed, mut busy) = (Vec::new(), Vec::new());
    for (unit, block) in units.iter().zip(text.trim().split("\n\n")) {
        let has = |line: &str| block.lines().any(|found| found == line);
        let works = block
            .lines()
            .any(|line| line.starts_with("Job=") && line.len() > 4);
        if has("ActiveState=failed") {
            failed.push((*unit).to_owned());
        } else if works || has("ActiveState=activating") {
            busy.push((*unit).to_owned());
        }
    }
    (failed, busy)
}

fn systemctl(verb: &[&str], units: &BTreeSet<&str>) -> Result<(), String> {
    let child = Command::new("systemctl")
        .arg("--user")
        .args(verb)
        .arg("--")
        .args(units)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    wait(child.map_err(|e| e.to_string())?)
}

fn wait(mut child: Child) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        match child.try_wait() {
            Err(e) => return Err(e.to_string()),
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if begin.elapsed() > PATIENCE => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("it took too long".into());
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_shows_is_read() {
        let units = BTreeSet::from(["a.service", "b.service", "c.service", "d.timer"]);
        let text = "ActiveState=failed\n\nJob=12\nActiveState=inactive\n\nActiveState=activating\n\nActiveState=active\n";
        let (failed, busy) = sort(&units, text);
        assert_eq!(failed, ["a.service"]);
        assert_eq!(busy, ["b.service", "c.service"]);
    }

    #[test]
    fn install_becomes_links() {
        let text = "[Unit]\nWantedBy=x\n[Install]\nWantedBy=default.target \\\n a.target\nAlias=b.service\n";
        let found = links("a.service", text).unwrap();
        let paths: Vec<_> = found.iter().map(|l| l.path.as_str()).collect();
        let wanted = [
            "a.target.wants/a.service",
            "b.service",
            "default.target.wants/a.service",
        ];
        assert_eq!(paths, wanted);
        assert_eq!(found[0].target, "../a.service");
        assert!(links("a.service", "[Unit]\nWantedBy=x\n").is_err());
        assert!(links("a.service", "[Install]\nWantedBy=../x\n").is_err());
    }
}
