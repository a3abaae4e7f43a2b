//! `cargo xtask bench`: the figures of the main job, measured on the machine at hand.

mod apply;
mod boot;
mod build;
mod config;
mod import;
mod layers;
mod live;
mod measure;
mod peer;
mod plain;
mod plot;
mod report;
mod store;

use crate::programs::target_folder;
use crate::vm::Stage;
use crate::works::{Release, Works};
use crate::{Result, packages, talk};
use elea_testkit::Error;
use report::Section;
use std::path::PathBuf;

/// What the figures need beside the demo's packages.
const PACKAGES: &[&str] = &["cpio", "nix-bin", "ostree", "time"];

/// What can be measured alone, in the order of the document.
const PARTS: [&str; 9] = [
    "import", "build", "config", "live", "apply", "fetch", "layers", "boot", "sizes",
];

/// The part that has a document of its own.
const STORE: &str = "store";
/// The largest tree of the curves, if nobody says.
const MOST: u64 = 1_000_000;

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    /// The folder of it all.
    work: PathBuf,
    /// How often each is measured.
    rounds: usize,
    /// A tree to import instead of the example's.
    tree: Option<PathBuf>,
    /// The parts; all of them if none is named.
    parts: Vec<String>,
    /// The rows of the store's table; all of them if none is named.
    rows: Vec<String>,
    /// The largest tree of the curves, if they are wanted: nothing else is measured then, unless it is named.
    plot: Option<u64>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Self {
            work: target_folder().join("bench"),
            rounds: 5,
            tree: None,
            parts: Vec::new(),
            rows: Vec::new(),
            plot: None,
        };
        let mut most = MOST;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| Error::other(format!("{word} needs a value")))
            };
            match word.as_str() {
                "--work" => options.work = value()?.into(),
                "--tree" => options.tree = Some(value()?.into()),
                "--rounds" => {
                    let number = value()?.parse().ok().filter(|n| *n > 0);
                    options.rounds =
                        number.ok_or_else(|| Error::other("--rounds needs a number from 1 on"))?;
                }
                "--row" => {
                    let row = value()?;
                    if !store::is_row(row) {
                        let names = store::row_names();
                        return Err(Error::other(format!(
                            "there is no row `{row}`; they are {names}"
                        )));
                    }
                    options.rows.push(row.clone());
                }
                "--plot" => options.plot = Some(most),
                "--most" => {
                    let number = value()?.parse().ok().filter(|n| *n >= 1_000);
                    most =
                        number.ok_or_else(|| Error::other("--most needs a number from 1000 on"))?;
                    options.plot = options.plot.map(|_| most);
                }
                part if part == STORE || PARTS.contains(&part) => {
                    options.parts.push(part.to_owned());
                }
                other => {
                    return Err(Error::other(format!(
                        "bench knows no `{other}`; the parts are {}, {STORE}",
                        PARTS.join(", ")
                    )));
                }
            }
        }
        Ok(options)
    }

    /// The command that measures a part, without the folders of this machine.
    fn line(&self, part: &str) -> String {
        let mut line = format!("cargo xtask bench {part}");
        for row in self.rows.iter().filter(|_| part == STORE) {
            line = format!("{line} --row {row}");
        }
        format!("{line} --rounds {}", self.rounds)
    }

    fn wants(&self, part: &str) -> bool {
        let all = self.parts.is_empty() && self.plot.is_none();
        all || self.parts.iter().any(|p| p == part)
    }
}

/// Measures what is asked for and writes `docs/bench/main-job.md` and `store.md` of all parts that were
/// measured in this folder.
pub(crate) fn run(line: &[String]) -> Result<()> {
    let options = Options::parse(line)?;
    packages::install(&[packages::DEMO, PACKAGES])?;
    let works = Works::open(&options.work)?;
    let folder = works.folder.clone();
    let keep = |part: &str, section: &Section| {
        report::keep(&folder, part, section, &options.line(part))?;
        report::document(&folder, &PARTS)
    };
    let rounds = options.rounds;
    if options.wants("build") {
        talk::headline("build with a warm package cache");
        keep("build", &build::builds(&works, rounds)?)?;
    }
    if options.wants("config") {
        talk::headline("reading a large config");
        keep("config", &config::reads(&works, rounds)?)?;
    }
    if options.wants("live") {
        talk::headline("the plan of a live switch");
        keep("live", &live::plans(&folder, rounds)?)?;
    }
    if options.wants("apply") {
        talk::headline("apply on a machine");
        keep("apply", &apply::applies(&works, rounds)?)?;
    }
    if options.wants("fetch") {
        talk::headline("bytes fetched");
        keep("fetch", &build::fetches(&works)?)?;
    }
    if options.wants("layers") {
        talk::headline("layers from one release to the next");
        keep("layers", &layers::measure(&works)?)?;
    }
    if options.wants("import") {
        talk::headline("import of one tree");
        let tree = if let Some(tree) = &options.tree {
            tree.clone()
        } else {
            works.build(Release::First)?;
            import::tree(&works)?
        };
        let place = folder.join("imports");
        let section = import::measure(&works.programs.elea, &tree, &place, rounds)?;
        keep("import", &section)?;
    }
    if options.wants(STORE) {
        let wanted = store::Wanted {
            rounds,
            tree: options.tree.clone(),
            rows: options.rows.clone(),
            line: options.line(STORE),
        };
        store::measure(&works, &wanted)?;
    }
    if let Some(most) = options.plot {
        store::plot(&works, most, "cargo xtask bench --plot")?;
    }
    if options.wants("sizes") {
        talk::headline("the programs");
        keep("sizes", &build::sizes(&works)?)?;
    }
    if options.wants("boot") {
        talk::headline("boots");
        works.build(Release::First)?;
        let tree = import::tree(&works)?;
        let keep = |section: &Section| keep("boot", section);
        boot::measure(Stage::of(works), &tree, rounds, keep)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_options_are_read_and_others_refused() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            Options::parse(&words)
        };
        let all = parse("--rounds 3 --work /w").unwrap();
        assert!(PARTS.iter().all(|part| all.wants(part)));
        assert_eq!((all.rounds, all.work), (3, PathBuf::from("/w")));
        let some = parse("import --tree /t sizes").unwrap();
        assert!(some.wants("import") && some.wants("sizes") && !some.wants("boot"));
        assert_eq!(some.tree, Some(PathBuf::from("/t")));
        assert_eq!(some.line("sizes"), "cargo xtask bench sizes --rounds 5");
        let row = parse("store --row gc --row fsck --rounds 2").unwrap();
        assert_eq!(
            row.line("store"),
            "cargo xtask bench store --row gc --row fsck --rounds 2"
        );
        assert!(!row.wants("import"));
        let plot = parse("--plot --most 3000").unwrap();
        assert!(plot.plot == Some(3000) && !PARTS.iter().any(|part| plot.wants(part)));
        for bad in [
            "--row speed",
            "--plot --most 3",
            "exports",
            "--rounds 0",
            "--rounds",
            "--pairs 3",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
