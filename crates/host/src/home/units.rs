//! User units: the links that enable them, and telling a user manager of changes.

use super::Error;
use super::declared::UNITS;
use super::plan::{Action, HomePlan};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A user manager that is busy is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// Tells the user manager, if one runs, of units that changed. What to do by hand otherwise.
pub(super) fn reload(plan: &HomePlan) -> Option<String> {
    let prefix = format!("{UNITS}/");
    let (mut started, mut stopped, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    let mut any = false;
    for change in &plan.changes {
        let Some(rest) = change.path.strip_prefix(&prefix) else {
            continue;
        };
        if matches!(change.action, Action::Keep | Action::Leave) {
            continue;
        }
        any = true;
        match (rest.rsplit_once('/'), change.action) {
            (Some((_, unit)), Action::Create) => started.push(unit),
            (None, Action::Remove) => stopped.push(rest),
            (None, Action::Replace | Action::Merge) => changed.push(rest),
            _ => {}
        }
    }
    if !any {
        return None;
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").unwrap_or_default();
    if !Path::new(&runtime).join("systemd/private").exists() {
        return Some(
            "no systemd user manager runs here; units take effect at the next login".into(),
        );
    }
    let mut failed = Vec::new();
    let mut run = |verb: &[&str], units: &[&str]| {
        // Nothing waits for what a unit does: a oneshot may take its time.
        if (verb[0] == "daemon-reload" || !units.is_empty())
            && let Err(why) = systemctl(verb, units)
        {
            failed.push(format!("systemctl --user {}: {why}", verb[0]));
        }
    };
    run(&["stop", "--no-block"], &stopped);
    run(&["daemon-reload"], &[]);
    run(&["try-restart", "--no-block"], &changed);
    run(&["start", "--no-block"], &started);
    (!failed.is_empty()).then(|| failed.join("; "))
}

fn systemctl(verb: &[&str], units: &[&str]) -> Result<(), String> {
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
