//! The plan of a live switch, of many units.

use super::build::cells;
use super::measure::spread;
use super::report::Section;
use crate::Result;
use crate::programs;
use elea_testkit::{Error, run};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// How many units a configuration has, and how many of them differ.
const UNITS: usize = 200;
const CHANGED: usize = 20;
/// How often it is planned in a round.
const TIMES: usize = 20;

/// Plans the same switch again and again, each time in a process of its own.
pub(super) fn plans(folder: &Path, rounds: usize) -> Result<Section> {
    let program = programs::example("live_plan", "release")?;
    let folder = folder.join("live");
    let (old, new) = (folder.join("old"), folder.join("new"));
    write(&old, |_| 1)?;
    write(
        &new,
        |unit| if unit % (UNITS / CHANGED) == 0 { 2 } else { 1 },
    )?;
    let mut figures: [Vec<f64>; 4] = Default::default();
    let mut counted = (0, 0);
    for _ in 0..rounds * TIMES {
        let begun = Instant::now();
        let said = run(Command::new(&program).args([&old, &new]))?;
        let process = begun.elapsed().as_secs_f64() * 1000.0;
        let numbers = parse(&said).ok_or_else(|| Error::other(format!("it said `{said}`")))?;
        let ((units, steps), measured) = numbers;
        counted = (units, steps);
        for (all, value) in figures
            .iter_mut()
            .zip(measured.into_iter().chain([process]))
        {
            all.push(value);
        }
    }
    let names = [
        "reading the units of both from the disk",
        "what becomes of each unit",
        "the whole plan, that in it",
        "the process, from its start to its end",
    ];
    let row = |(name, all): (&str, Vec<f64>)| {
        vec![
            name.to_owned(),
            spread(all).map_or_else(|| "—".into(), |s| s.text(2)),
        ]
    };
    Ok(Section {
        title: "The plan of a live switch",
        head: cells(["what", "wall ms"]),
        rows: names.into_iter().zip(figures).map(row).collect(),
        how: format!(
            "Two configurations of {UNITS} services, all running, with dependencies among each other and a drop-in each; {CHANGED} of them differ. It was planned\n\
             {} times, each in a process of its own, by `crates/host/examples/live_plan.rs`: `plan` and `plan_units` of `elea_host::live`, as `elea apply` calls them, and\n\
             nothing else; the process plans the units twice, and makes up what runs. What comes of it: {} units, {} steps. Beside it, `elea apply` asks systemd what runs, and compares the trees.",
            rounds * TIMES,
            counted.0,
            counted.1
        ),
    })
}

/// Writes the units of a configuration, each with the version that `version` gives it.
fn write(root: &Path, version: impl Fn(usize) -> u32) -> Result<()> {
    let folder = root.join("etc/systemd/system");
    for unit in 0..UNITS {
        let name = format!("bench-{unit}.service");
        put(&folder.join(&name), &text(unit, version(unit)))?;
        let drop_in = folder.join(format!("{name}.d/10-limits.conf"));
        put(&drop_in, "[Service]\nLimitNOFILE=4096\nNice=5\n")?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}

/// A service as packages have them: it follows the one before it, and a few need one of an earlier group.
fn text(unit: usize, version: u32) -> String {
    let after = unit.saturating_sub(1);
    let needs = match unit {
        1.. if unit.is_multiple_of(7) => format!("Wants=bench-{}.service\n", unit / 7),
        _ => String::new(),
    };
    format!(
        "[Unit]\nDescription=Service {unit}\nDocumentation=man:bench(8)\nAfter=network.target bench-{after}.service\n{needs}\n\
         [Service]\nType=simple\nEnvironment=VERSION={version}\nExecStart=/usr/bin/bench --number {unit} --version {version}\nRestart=on-failure\nProtectHome=yes\nPrivateTmp=yes\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// Units, steps, and the three times.
fn parse(said: &str) -> Option<((usize, usize), [f64; 3])> {
    let mut words = said.split_whitespace();
    let counted = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let mut time = || words.next()?.parse::<f64>().ok();
    let times = [time()?, time()?, time()?];
    words.next().is_none().then_some((counted, times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_says_is_read_and_units_differ_as_is_said() {
        assert_eq!(
            parse("20 22 1.5 2 3.25\n"),
            Some(((20, 22), [1.5, 2.0, 3.25]))
        );
        assert_eq!(parse("20 22 1.5 2\n"), None);
        assert_eq!(parse("20 22 1.5 2 3 4\n"), None);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), |_| 1).unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("etc/systemd/system/bench-14.service"), text(14, 1));
        assert!(text(14, 1).contains("Wants=bench-2.service") && text(14, 1) != text(14, 2));
        let differ = (0..UNITS).filter(|unit| unit % (UNITS / CHANGED) == 0);
        assert_eq!(differ.count(), CHANGED);
    }
}
