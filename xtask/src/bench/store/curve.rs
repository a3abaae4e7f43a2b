//! Imports of trees of 1,000 to 1,000,000 files: time and memory as curves.

use super::Bench;
use super::collect::files;
use super::rows::{CRATE, OURS};
use crate::bench::measure::Used;
use crate::bench::plot::{Chart, Curve};
use crate::bench::report;
use crate::{Result, talk, workspace};
use elea_testkit::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// How many files the trees have.
const SIZES: [u64; 7] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000];
/// Bytes of each file: an object, and one block on the disk.
const BYTES: usize = 500;

/// Who needs longer for a tree, in seconds, is not asked for a larger one.
const PATIENCE: f64 = 40.0;

/// One who imports, durably: the name, the program that has to be there, and the import.
const IMPORTERS: [[&str; 3]; 5] = [
    [
        OURS,
        "",
        r#"exec "$elea" -q --store "$place/store" image import "dir:$tree" --name x"#,
    ],
    [
        "`cp -a; sync -f`",
        "",
        r#"cp -a --reflink=never "$tree" "$place/copy"; sync -f "$place""#,
    ],
    [
        "`nix-store --add`",
        "nix-store",
        r#"nix-store --store "$place/nix" --add "$tree" >/dev/null; sync -f "$place""#,
    ],
    [
        "`ostree commit`",
        "ostree",
        r#"ostree init --mode=bare --repo="$place/r"; exec ostree commit --repo="$place/r" -b x --tree=dir="$tree" >/dev/null"#,
    ],
    [
        CRATE,
        "composefs",
        r#"exec "$oracle" import "$tree" "$place/repository" >/dev/null"#,
    ],
];

/// Who, how many files, and what it took.
type Points = Vec<(&'static str, u64, Used)>;

/// Measures all and draws them; `most` is the largest tree.
pub(super) fn measure(mut bench: Bench<'_>, most: u64, line: &str) -> Result<()> {
    let mut points = Points::new();
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        talk::headline(&format!("a tree of {size} files"));
        bench.tree = bench.folder("tree")?;
        files(&bench.tree, 0, size, BYTES)?;
        for [who, needs, import] in IMPORTERS {
            let before = points.iter().rev().find(|(of, _, _)| *of == who);
            let is_slow = before.is_some_and(|(_, _, used)| used.wall > PATIENCE);
            if !bench.has(needs) || is_slow {
                continue;
            }
            let place = bench.folder("store")?;
            let used = bench.measured(import, &place)?;
            talk::note(&format!(
                "{who}: {:.2} s, CPU {:.2} s, {:.0} MB",
                used.wall, used.cpu, used.memory
            ));
            points.push((who, size, used));
        }
        // A run that is cut off later has its curves so far.
        draw(&bench.works.folder, &points, line)?;
    }
    super::clear(&bench.place)
}

fn draw(folder: &Path, points: &Points, line: &str) -> Result<()> {
    let curves = |pick: fn(&Used) -> f64| {
        let curve = |[who, _, _]: [&'static str; 3]| Curve {
            name: who.replace('`', ""),
            points: points
                .iter()
                .filter(|(of, _, _)| *of == who)
                .map(|(_, size, used)| (number(*size), pick(used)))
                .collect(),
        };
        let curves = IMPORTERS.into_iter().map(curve);
        curves.filter(|curve| !curve.points.is_empty()).collect()
    };
    let time = Chart {
        title: "Import into an empty store, durable at the end",
        across: "files in the tree",
        up: "seconds",
        curves: curves(|used| used.wall),
    };
    let memory = Chart {
        title: "Peak memory of an import into an empty store",
        across: "files in the tree",
        up: "MB",
        curves: curves(|used| used.memory),
    };
    let docs = workspace().join("docs/bench");
    for (name, chart) in [("import-time.svg", time), ("import-memory.svg", memory)] {
        write(&docs.join(name), &chart.svg())?;
    }
    write(
        &folder.join("store-curve.md"),
        &text(points, &report::when(line)?),
    )
}

fn text(points: &Points, when: &str) -> String {
    let mut text = format!(
        "\n## Import over the size of a tree\n\n\
         ![seconds over files](import-time.svg)\n\n![memory over files](import-memory.svg)\n\n\
         Files of {BYTES} bytes, no two equal, 200 in a folder; each measured once; who took more than {PATIENCE} s for a tree was not asked for a larger one. Memory of `elea` beyond some 8 MB is its tables, in a file that the kernel writes back when others need memory: with a control group's limit of 100 MB it imports a million files too. Wall seconds, and MB of memory of the largest process:\n\n| files |"
    );
    let here: Vec<&str> = IMPORTERS
        .iter()
        .map(|[who, _, _]| *who)
        .filter(|who| points.iter().any(|(of, _, _)| of == who))
        .collect();
    for who in &here {
        // Writing to a string does not fail.
        let _ = write!(text, " {who} |");
    }
    let _ = writeln!(text, "\n|{}", " --- |".repeat(here.len() + 1));
    let mut sizes: Vec<u64> = points.iter().map(|(_, size, _)| *size).collect();
    sizes.dedup();
    for size in sizes {
        let _ = write!(text, "| {size} |");
        for who in &here {
            let found = points.iter().find(|(of, at, _)| of == who && *at == size);
            let cell = found.map_or_else(String::new, |(_, _, used)| {
                format!("{:.2} s, {:.0} MB", used.wall, used.memory)
            });
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    format!("{text}\nMeasured {when}.\n")
}

/// What was measured last in this folder, for the document.
pub(super) fn section(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("store-curve.md")).ok()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of files, far below 2^52"
)]
fn number(size: u64) -> f64 {
    size as f64
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}
