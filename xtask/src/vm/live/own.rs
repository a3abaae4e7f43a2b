//! A machine changes its own configuration, by itself.

use super::{boots_next, config, look};
use crate::Result;
use crate::guest::BOOT;
use crate::vm::stage::{Base, Stage, Told, Trial};

/// Where the person keeps it.
const FOLDER: &str = "/root/own";

/// A file and a service that reads it anew; nothing else differs between two of them.
pub(crate) fn small_config(which: &str) -> String {
    format!(
        r#"imports = ["elea.json"]

[files."/etc/hello.conf"]
content = "{which}\n"

[units."watch.service"]
enable = true
reload_on = ["/etc/hello.conf"]
Service.ExecStart = "/bin/sh -c 'cp /etc/hello.conf /run/watch.conf; exec sleep 2000'"
Service.ExecReload = "/bin/cp /etc/hello.conf /run/watch.conf"
"#
    )
}

fn write(trial: &Trial, name: &str, text: &str) -> Result<()> {
    let command = format!("cat > {FOLDER}/{name} <<'END'\n{text}END");
    trial.guest.ask(&command).map(drop)
}

/// Applies it, without asking any network.
fn apply(trial: &Trial, name: &str, more: &str) -> Result<String> {
    let command = format!("cd {FOLDER} && elea apply {name} --locked {more}");
    trial.guest.must(&command)
}

/// The median of the milliseconds that the guest counts for a command; `other` is run, and not counted, before each.
fn milliseconds(trial: &Trial, other: &str, command: &str) -> Result<u64> {
    let times = trial.guest.must(&format!(
        "cd {FOLDER}; for i in 1 2 3 4 5; do {other}; b=$(date +%s%N); {command} >/dev/null || exit; \
         echo $((($(date +%s%N) - b) / 1000000)); done"
    ))?;
    let mut times: Vec<u64> = times
        .lines()
        .filter_map(|t| t.trim().parse().ok())
        .collect();
    trial.check(times.len() == 5, "not five times were counted")?;
    times.sort_unstable();
    Ok(times[2])
}

pub(super) fn own(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::First)?;
    trial.start()?;
    trial.good("1.0", BOOT)?;

    // What it was built from is there, and with it the tree of its packages.
    trial
        .guest
        .must(&format!("cp -r /usr/lib/elea/source {FOLDER}"))?;
    let imports = "imports = [\"elea.json\"]\n";
    for (name, which) in [("elea.toml", "1"), ("second.toml", "2")] {
        write(&trial, name, &format!("{imports}{}", config(which, "")))?;
        if name != "elea.toml" {
            trial
                .guest
                .must(&format!("cp {FOLDER}/elea.lock {FOLDER}/second.lock"))?;
        }
    }
    apply(&trial, "elea.toml", "")?;
    let one = look(&trial)?;
    trial.check(one.file == "1" && one.talk != "0", &format!("{one:?}"))?;
    apply(&trial, "second.toml", "")?;
    let two = look(&trial)?;
    trial.check(
        two.file == "2" && two.reloaded == "2" && two.talk != one.talk && two.watch == one.watch,
        &format!("{one:?} became {two:?}"),
    )?;
    let packages = trial
        .guest
        .ask("ls /elea/cache/packages/*.deb 2>/dev/null | wc -l")?;
    trial.check(packages.trim() == "0", "packages were fetched")?;

    // What it takes, beside what systemd takes for the same.
    for which in ["a", "b"] {
        write(&trial, &format!("{which}.toml"), &small_config(which))?;
        trial
            .guest
            .must(&format!("cp {FOLDER}/elea.lock {FOLDER}/{which}.lock"))?;
        apply(&trial, &format!("{which}.toml"), "")?;
    }
    let nothing = milliseconds(&trial, ":", "elea apply b.toml --locked")?;
    let plan = milliseconds(&trial, ":", "elea apply a.toml --locked --dry-run")?;
    let version = milliseconds(&trial, ":", "elea version")?;
    let reload = milliseconds(&trial, ":", "systemctl reload watch.service")?;
    let daemon = milliseconds(&trial, ":", "systemctl daemon-reload")?;
    let applied = milliseconds(
        &trial,
        "elea apply a.toml --locked >/dev/null",
        "elea apply b.toml --locked",
    )?;

    boots_next(&mut trial)?;
    let end = trial.guest.ask("cat /etc/hello.conf /run/watch.conf")?;
    trial.check(end == "b\nb\n", &format!("after the restart: {end}"))?;
    trial.told(
        "a machine built its own configuration without a package or a network, and applied it live",
        format!(
            "in the guest, ms: `elea version` {version}, apply of nothing {nothing}, plan {plan}, a file and a reload {applied}; \
             `systemctl reload` {reload}, `systemctl daemon-reload` {daemon}"
        ),
    )
}
