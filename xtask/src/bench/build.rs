//! Builds, what a machine fetches for a release, and the sizes of the programs.

use super::measure::{Used, column, command, settle, spread};
use super::peer::Archive;
use super::report::Section;
use crate::works::{Release, Works};
use crate::{Result, talk};
use elea_testkit::registry::Fetched;
use elea_testkit::{Error, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The cells of a row or a head.
pub(super) fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

/// Builds release 1.0 again and again, every package at hand.
pub(super) fn builds(works: &Works, rounds: usize) -> Result<Section> {
    // The first one fetches what is missing, makes the lock, and the image to compare with.
    works.build(Release::First)?;
    let peer = Archive::of(works, Release::First)?;
    let mut all = [const { Vec::new() }; 5];
    for round in 0..rounds {
        settle()?;
        let used = peer.install()?;
        talk::note(&format!(
            "round {}: mmdebstrap: {:.2} s",
            round + 1,
            used.wall
        ));
        all[4].push(used);
        let ways = [
            ("--fresh", works.build_command(Release::First)?, "--fresh"),
            ("a file changed", changed(works, round)?, "--locked"),
            (
                "nothing changed",
                works.build_command(Release::First)?,
                "--locked",
            ),
            ("a package more", one_more(works, round)?, "--locked"),
        ];
        for ((what, mut build, flag), all) in ways.into_iter().zip(&mut all) {
            settle()?;
            let used = command(build.arg(flag))?;
            talk::note(&format!("round {}: {what}: {:.2} s", round + 1, used.wall));
            all.push(used);
        }
    }
    let row = |what: &str, all: &[Used]| {
        vec![
            what.to_owned(),
            column(all, |u| u.wall, 2),
            column(all, |u| u.cpu, 2),
            column(all, |u| u.memory, 0),
        ]
    };
    Ok(Section {
        title: "Build with a warm package cache",
        head: cells(["what", "wall s", "CPU s", "memory MB"]),
        rows: vec![
            row("`elea build --fresh`: all of it afresh", &all[0]),
            row("`elea build`: another file in the config", &all[1]),
            row("`elea build`: nothing changed", &all[2]),
            row("`elea build`: a small package more", &all[3]),
            row("mmdebstrap, the packages alone", &all[4]),
        ],
        how: format!(
            "`examples/hello/elea.toml`, {rounds} rounds with one lock and every package in the cache. Afresh: unpacking and configuring, the initrd,\n\
             import and seal. The second row lays the config over the\n\
             kept tree of the packages, and is what a change of files, users or services costs; the third finds that this was built before; the fourth\n\
             installs one more package (another one in each round, its lock made before) on the kept tree. The last is mmdebstrap on the same files,\n\
             into a folder: without the config, an initrd, an import and an image."
        ),
    })
}

/// Small packages without dependencies of their own, one for each round.
const SMALL: [&str; 6] = ["tree", "bc", "time", "lsof", "pv", "sl"];

/// The build of release 1.0 with one package more, and its lock.
fn one_more(works: &Works, round: usize) -> Result<Command> {
    let package = SMALL[round % SMALL.len()];
    let name = format!("more-{package}");
    let text = format!(
        "imports = [\"hello-{}.toml\"]\n\n[packages]\ninstall = [\"{package}\"]\n\n[files.\"/etc/round\"]\ncontent = \"{}\"\n",
        Release::First.tag(),
        std::process::id()
    );
    let config = works.folder.join(format!("{name}.toml"));
    fs::write(&config, text)
        .map_err(|e| Error::other(format!("cannot write {}: {e}", config.display())))?;
    let _ = fs::remove_file(config.with_extension("lock"));
    run(works.elea(&["lock"]).arg(&config))?;
    // An earlier run of the benchmark installed it, too.
    let listed = run(&mut works.elea(&["image", "list", "--all"]))?;
    for kept in listed
        .split_whitespace()
        .filter(|w| w.starts_with("step:more-packages:"))
    {
        let kept = kept.trim_end_matches(',');
        run(works.elea(&["image", "rm"]).arg(kept))?;
    }
    let mut command = works.elea(&["build"]);
    command.arg(config).args(["--name", &name, "--initrd"]);
    command.arg(&works.programs.initrd);
    Ok(command)
}

/// The build of release 1.0 with a file that is another one in each round.
fn changed(works: &Works, round: usize) -> Result<Command> {
    let path = |name: &str| works.folder.join(name);
    let config = path("changed.toml");
    let text = format!(
        "imports = [\"hello-{}.toml\"]\n\n[files.\"/etc/round\"]\ncontent = \"{round} of {}\"\n",
        Release::First.tag(),
        std::process::id()
    );
    let lock = path(&format!("hello-{}.lock", Release::First.tag()));
    fs::write(&config, text)
        .and_then(|()| fs::copy(lock, path("changed.lock")))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", config.display())))?;
    let mut command = works.elea(&["build"]);
    command.arg(config).args(["--name", "changed", "--initrd"]);
    command.arg(&works.programs.initrd);
    Ok(command)
}

/// Pulls 1.0 and then 2.0 into one store.
pub(super) fn fetches(works: &Works) -> Result<Section> {
    for release in [Release::First, Release::Second] {
        works.build(release)?;
        works.publish(release)?;
    }
    let pull = |store: &Path, release: Release| -> Result<Fetched> {
        let before = works.registry.fetched();
        let place = format!("registry:{}/hello:{}", works.registry.host(), release.tag());
        let mut command = Command::new(&works.programs.elea);
        command.arg("--store").arg(store);
        command.args(["image", "pull", &place, "--plain-http", "--key"]);
        run(command.arg(&works.signer.public))?;
        Ok(works.registry.fetched().since(before))
    };
    let (one, other) = (works.folder.join("pulled"), works.folder.join("pulled-2"));
    for store in [&one, &other] {
        let _ = fs::remove_dir_all(store);
    }
    let fetched = [
        ("1.0 into an empty store", pull(&one, Release::First)?),
        (
            "2.0 into the store that has 1.0",
            pull(&one, Release::Second)?,
        ),
        ("2.0 into an empty store", pull(&other, Release::Second)?),
    ];
    let whole = fetched[2].1.bytes;
    let rows = fetched.iter().map(|(what, fetched)| {
        vec![
            (*what).to_owned(),
            talk::size(fetched.bytes),
            fetched.requests.to_string(),
            format!("{} %", percent(fetched.bytes, whole)),
        ]
    });
    Ok(Section {
        title: "Bytes fetched",
        head: cells(["what", "fetched", "requests", "of 2.0 whole"]),
        rows: rows.collect(),
        how: "From the access log of a `docker-registry` on loopback: bodies of manifests, blobs and signatures, compressed as they are stored."
            .into(),
    })
}

/// A part in percent with one digit behind the point.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let tenths = part.saturating_mul(1000) / whole.max(1);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The programs.
pub(super) fn sizes(works: &Works) -> Result<Section> {
    let mut rows = Vec::new();
    for (what, path) in [
        ("`elea`", &works.programs.elea),
        ("`elea-initrd`", &works.programs.initrd),
    ] {
        rows.push(vec![what.to_owned(), talk::size(length(path)?)]);
    }
    let mut starts = Vec::new();
    for _ in 0..21 {
        let mut version = Command::new(&works.programs.elea);
        starts.push(command(version.arg("version"))?.wall * 1000.0);
    }
    let time = spread(starts).map_or_else(String::new, |s| s.text(1));
    rows.push(vec!["`elea version`, start to end, ms".into(), time]);
    Ok(Section {
        title: "The programs",
        head: cells(["what", "measured"]),
        rows,
        how: "Release builds, stripped; `elea-initrd` is linked statically.".into(),
    })
}

/// The length of a file.
pub(super) fn length(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path);
    metadata
        .map(|m| m.len())
        .map_err(|e| Error::other(format!("cannot look at {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_in_percent() {
        assert_eq!(percent(25, 1000), "2.5");
        assert_eq!(percent(1000, 1000), "100.0");
        assert_eq!(percent(1, 0), "100.0");
    }
}
