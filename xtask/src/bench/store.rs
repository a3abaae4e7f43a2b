//! The store against other people's stores: one table, and the curves over the size of a tree.

mod checks;
mod collect;
pub(super) mod curve;
mod disk;
mod imports;
mod pulls;
mod rows;
mod table;

use super::measure::{script, settle};
use super::report;
use crate::programs::{cargo, target_folder};
use crate::works::Works;
use crate::{Result, judges, packages, show, talk, workspace};
use elea_testkit::{Error, debian, has};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use table::Table;

/// What the table needs beside the packages of the other figures.
const PACKAGES: &[&str] = &["skopeo", "umoci", "libssl-dev", "pkg-config"];

/// What is wanted of the table.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// How often each is measured.
    pub(super) rounds: usize,
    /// A tree instead of the example's.
    pub(super) tree: Option<PathBuf>,
    /// The rows; all of them if none is named.
    pub(super) rows: Vec<String>,
    /// What a person would type to have the same.
    pub(super) line: String,
}

impl Wanted {
    fn any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.row(row))
    }

    fn row(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|r| r == row)
    }
}

/// Whether a row has this name.
pub(super) fn is_row(name: &str) -> bool {
    rows::ALL.iter().any(|row| row.name == name)
}

/// The names of all rows.
pub(super) fn row_names() -> String {
    let names: Vec<&str> = rows::ALL.iter().map(|row| row.name).collect();
    names.join(", ")
}

/// The programs and folders that every measurement gets.
struct Bench<'a> {
    works: &'a Works,
    /// The tree that is imported, and that may be changed.
    tree: PathBuf,
    /// Where stores are made.
    place: PathBuf,
    oracle: Option<PathBuf>,
    /// A newer Debian.
    debian: Option<PathBuf>,
    rounds: usize,
}

/// What the scripts call the programs and folders that they are given.
const WORDS: &str = "tree=$1 place=$2 elea=$3 oracle=$4 host=$5 key=$6 debian=$7 enter=$8\n";

impl Bench<'_> {
    /// Runs a script in a folder of its own and gives what it used.
    fn script(&self, text: &str, place: &Path) -> Result<super::measure::Used> {
        let arguments: [OsString; 8] = [
            self.tree.clone().into(),
            place.into(),
            self.works.programs.elea.clone().into(),
            self.oracle.clone().unwrap_or_default().into(),
            self.works.registry.host().into(),
            self.works.signer.public.clone().into(),
            self.debian.clone().unwrap_or_default().into(),
            debian::ENTER.into(),
        ];
        script(
            &format!("{WORDS}{text}"),
            &arguments.each_ref().map(OsString::as_os_str),
        )
    }

    /// The same as a measurement: nothing of what ran before is left to be written.
    fn measured(&self, text: &str, place: &Path) -> Result<super::measure::Used> {
        settle()?;
        self.script(text, place)
    }

    /// Whether a program is there; `composefs` is the crate, by our oracle, `podman-5` that of a newer Debian.
    fn has(&self, program: &str) -> bool {
        match program {
            "" => true,
            "composefs" => self.oracle.is_some(),
            "podman-5" => self.debian.is_some(),
            program => has(program),
        }
    }

    /// An empty folder.
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.place.join(name);
        clear(&folder)?;
        Ok(folder)
    }
}

/// Measures what is wanted and writes `docs/bench/store.md`.
pub(super) fn measure(works: &Works, wanted: &Wanted) -> Result<()> {
    packages::install(&[PACKAGES])?;
    if !has("podman") {
        // Not on every machine can it be had, and it is one peer of several.
        if let Err(e) = packages::install(&[&["podman"]]) {
            talk::note(&format!("no podman: {e}"));
        }
    }
    let oracle = oracle();
    let place = works.folder.join("stores");
    // Unmounted when all is measured, or something fails.
    let _disk = disk::Disk::mount(&works.folder.join("stores.img"), &place)?;
    let original = match &wanted.tree {
        Some(tree) => tree.clone(),
        None => super::import::release_tree(works)?,
    };
    let mut bench = Bench {
        works,
        tree: original.clone(),
        place,
        oracle,
        debian: judges::debian()?,
        rounds: wanted.rounds,
    };
    let keep = |table: &Table| -> Result<()> {
        table.keep(&works.folder, &wanted.line)?;
        document(&works.folder)
    };
    if wanted.any(&[
        "import",
        "again",
        "changed",
        "digest",
        "read-cold",
        "read-warm",
    ]) {
        // One of our own, since files in it are changed.
        talk::note("copying the tree");
        let copy = bench.place.join("tree");
        let text = r#"cp -a --reflink=never "$tree" "$place""#;
        bench.script(text, &copy)?;
        bench.tree = copy;
    }
    if wanted.any(&["import", "again", "changed", "digest"]) {
        talk::headline("imports");
        keep(&imports::measure(&bench, wanted)?)?;
    }
    if wanted.any(&["read-cold", "read-warm"]) {
        talk::headline("mounted reads");
        keep(&checks::reads(&bench)?)?;
    }
    bench.tree = original;
    if wanted.row("fsck") {
        talk::headline("checks of every byte");
        keep(&checks::fsck(&bench)?)?;
    }
    if wanted.row("gc") {
        talk::headline("collections");
        keep(&collect::measure(&bench)?)?;
    }
    if wanted.any(&["pull", "next"]) {
        talk::headline("pulls");
        keep(&pulls::measure(&bench, wanted)?)?;
    }
    Ok(())
}

/// The composefs crate as a program, built where that can be done.
fn oracle() -> Option<PathBuf> {
    let built = cargo_oracle();
    if let Err(e) = &built {
        talk::note(&format!("no composefs crate: {e}"));
    }
    let built = workspace().join("oracle/target/release/elea-oracle");
    let named = std::env::var_os("ELEA_ORACLE").map(PathBuf::from);
    named.unwrap_or(built).canonicalize().ok()
}

fn cargo_oracle() -> Result<()> {
    if std::env::var_os("ELEA_ORACLE").is_some() {
        return Ok(());
    }
    show(cargo().current_dir(workspace().join("oracle")).args([
        "build",
        "--release",
        "--quiet",
        "--locked",
        "--target-dir",
        "target",
    ]))
}

/// Empties a folder, or makes it; Nix makes its store read-only.
fn clear(folder: &Path) -> Result<()> {
    let text = r#"mkdir -p "$1"; chmod -R u+w "$1"; find "$1" -mindepth 1 -maxdepth 1 -exec rm -rf -- {} +"#;
    script(text, &[folder.as_os_str()]).map(drop)
}

/// Forgets what the page cache has, so that the disk is read.
const DROP: &str = "sync; echo 3 > /proc/sys/vm/drop_caches";

/// Puts the document together from what was measured in this folder.
pub(super) fn document(folder: &Path) -> Result<()> {
    let mut text = String::from(
        "# The store, and other people's\n\n\
         Written by `cargo xtask bench store`. Everyone takes part in each round, in turn, on one ext4 (with a journal, in a file that is read and written directly) and with the same tree;\n\
         each figure is the median, with the least and the most in brackets. What was written is durable when the clock stops. `README.md` says more.\n\n",
    );
    text += &report::machine(report::STORES)?;
    text += &Table::read(folder, rows::ALL);
    if let Some(section) = curve::section(folder) {
        text += &section;
    }
    let path = workspace().join("docs/bench/store.md");
    fs::write(&path, text)
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}

/// Where the curves are measured, and their programs.
pub(super) fn plot(works: &Works, most: u64, line: &str) -> Result<()> {
    let place = target_folder().join("bench-curve");
    let _disk = disk::Disk::mount(&works.folder.join("curve.img"), &place)?;
    let bench = Bench {
        works,
        tree: PathBuf::new(),
        place,
        oracle: oracle(),
        debian: None,
        rounds: 1,
    };
    curve::measure(bench, most, line)?;
    document(&works.folder)
}
