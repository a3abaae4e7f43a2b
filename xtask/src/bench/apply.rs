//! `elea apply` on a machine that runs: an image with its own systemd as process 1, on the kernel of this machine.
//!
//! A machine under emulation says little of speed. This one is in namespaces of its own, and as fast as any other program.

use super::build::cells;
use super::measure::spread;
use super::report::Section;
use crate::Result;
use crate::contained::{Machine, layout};
use crate::vm::small_config;
use crate::works::{Release, Works};
use elea_testkit::Error;

/// How often each is measured in a round.
const TIMES: usize = 10;

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
    let folder = works.folder.join("contained");
    let machine = Machine::start(
        &layout(false)?,
        &works.store(),
        &works.programs.initrd,
        &folder,
    )?;
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
            all.extend(times(&machine, before, what)?);
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

/// The milliseconds that a command takes, by the clock of the machine; `before` is run, and not counted, before each. The
/// first time is not counted either: it is what the row before left.
fn times(machine: &Machine, before: &str, command: &str) -> Result<Vec<f64>> {
    let said = machine.must(&format!(
        "cd /root/own; for i in {{0..{TIMES}}}; do {before} >/dev/null; b=$(date +%s%N); {command} >/dev/null || exit; \
         t=$((($(date +%s%N) - b) / 1000)); [ $i = 0 ] || echo $t; done 2>/dev/null"
    ))?;
    let times: Vec<f64> = said.lines().filter_map(|t| t.parse().ok()).collect();
    if times.len() != TIMES {
        return Err(Error::other(format!(
            "`{command}` did not end well in the machine"
        )));
    }
    Ok(times.into_iter().map(|micros| micros / 1000.0).collect())
}
