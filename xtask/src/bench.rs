//! `cargo xtask bench`: the figures of the main job, measured on the machine at hand.

mod boot;
mod import;
mod plain;

use crate::programs::target_folder;
use crate::vm::Stage;
use crate::works::{Release, Works};
use crate::{Result, packages, talk, workspace};
use elea_testkit::registry::Fetched;
use elea_testkit::{Error, run as must};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What the figures need beside the demo's packages.
const PACKAGES: &[&str] = &["busybox-static", "cpio", "nix-bin", "ostree"];

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) what: String,
    /// What came out, with its unit.
    pub(crate) value: String,
    /// How.
    pub(crate) how: String,
}

impl Figure {
    fn new(what: &str, value: String, how: &str) -> Self {
        talk::note(&format!("{what}: {value}"));
        Self {
            what: what.into(),
            value,
            how: how.into(),
        }
    }
}

/// Measures everything and writes `docs/bench/main-job.md`.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let (mut work, mut pairs) = (target_folder().join("bench"), 5);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = rest.next().map(String::as_str).unwrap_or_default();
        match word.as_str() {
            "--work" => work = PathBuf::from(value),
            "--pairs" => {
                pairs = value
                    .parse()
                    .map_err(|_| Error::other("--pairs needs a number"))?;
            }
            _ => return Err(Error::other(format!("bench has no option `{word}`"))),
        }
    }
    packages::install(&[packages::DEMO, PACKAGES])?;
    let works = Works::open(&work)?;
    let mut figures = Vec::new();
    talk::headline("builds");
    builds(&works, &mut figures)?;
    talk::headline("bytes fetched");
    fetches(&works, &mut figures)?;
    talk::headline("import of one tree");
    let tree = import::tree(&works)?;
    import::measure(&works, &tree, &mut figures)?;
    talk::headline("sizes");
    sizes(&works, &mut figures)?;
    talk::headline("boots");
    boot::measure(Stage::of(works), &tree, pairs, &mut figures)?;
    write(&figures)
}

/// Runs something and gives how long it took.
pub(crate) fn time<T>(run: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    run()?;
    Ok(begun.elapsed())
}

/// The middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Seconds with one digit behind the point.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn builds(works: &Works, figures: &mut Vec<Figure>) -> Result<()> {
    works.build(Release::First)?;
    let again = time(|| works.build(Release::First))?;
    figures.push(Figure::new(
        "build of 1.0 with warm package cache",
        seconds(again),
        "`elea build examples/hello/elea.toml`, the second time",
    ));
    works.build(Release::Second)
}

fn fetches(works: &Works, figures: &mut Vec<Figure>) -> Result<()> {
    let store = works.folder.join("fetched");
    let _ = fs::remove_dir_all(&store);
    let pull = |release: Release| -> Result<Fetched> {
        works.publish(release)?;
        let before = works.registry.fetched();
        let place = format!("registry:{}/hello:{}", works.registry.host(), release.tag());
        must(
            Command::new(&works.programs.elea)
                .arg("--store")
                .arg(&store)
                .args(["image", "pull", &place, "--key"])
                .arg(&works.signer.public),
        )?;
        Ok(works.registry.fetched().since(before))
    };
    let (first, second) = (pull(Release::First)?, pull(Release::Second)?);
    let line = |what: &str, fetched: Fetched, how: &str| {
        let value = format!(
            "{} in {} requests",
            talk::size(fetched.bytes),
            fetched.requests
        );
        Figure::new(what, value, how)
    };
    let log = "the registry's access log";
    figures.push(line("1.0 fetched whole", first, log));
    figures.push(line("1.0 to 2.0", second, log));
    Ok(())
}

fn sizes(works: &Works, figures: &mut Vec<Figure>) -> Result<()> {
    for (what, path) in [
        ("size of `elea`", &works.programs.elea),
        ("size of `elea-initrd`", &works.programs.initrd),
    ] {
        let size = length(path)?;
        figures.push(Figure::new(
            what,
            talk::size(size),
            "the release build, stripped",
        ));
    }
    Ok(())
}

/// The length of a file.
pub(crate) fn length(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path);
    metadata
        .map(|m| m.len())
        .map_err(|e| Error::other(format!("cannot look at {}: {e}", path.display())))
}

fn write(figures: &[Figure]) -> Result<()> {
    let head = String::from(
        "# Figures of the main job\n\n\
         Written by `cargo xtask bench`, as measured on the machine that ran it (medians where a\n\
         count is given). They are for comparing rows of one run with each other; another\n\
         machine gives other numbers.\n\n\
         | what | measured | how |\n|---|---|---|\n",
    );
    let row = |f: &Figure| format!("| {} | {} | {} |\n", f.what, f.value, f.how);
    let rows: String = figures.iter().map(row).collect();
    let machine = must(Command::new("sh").args([
        "-c",
        "printf '%s processors (%s), %s of memory, Linux %s' \"$(nproc)\" \
         \"$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n1)\" \
         \"$(awk '/MemTotal/ {printf \"%d GiB\", $2/1048576}' /proc/meminfo)\" \"$(uname -r)\"",
    ]))?;
    let guests = elea_testkit::vm::usable_accelerator().name();
    let text = format!("{head}{rows}\nThe machine: {machine}; guests under {guests}.\n");
    let path = workspace().join("docs/bench/main-job.md");
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}
