//! Import of one tree, against the stores of others.

use super::measure::{Used, column, script, settle};
use super::report::Section;
use crate::works::{Release, Works};
use crate::{Result, talk};
use elea_testkit::{Error, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How old the tree is when it is measured: Elea reads younger files again.
const AGE: Duration = Duration::from_secs(61);

/// The tree of release 1.0, unpacked, as old as it has to be.
pub(super) fn tree(works: &Works) -> Result<PathBuf> {
    let tree = works.folder.join("tree");
    let _ = fs::remove_dir_all(&tree);
    make(&tree)?;
    let tar = works.folder.join("tree.tar");
    let place = format!("tar:{}", tar.display());
    run(&mut works.elea(&["image", "export", &Release::First.name(), &place]))?;
    let mut unpack = Command::new("tar");
    unpack.args(["--xattrs", "--xattrs-include=*", "-xpf"]);
    run(unpack.arg(&tar).arg("-C").arg(&tree))?;
    let _ = fs::remove_file(&tar);
    Ok(tree)
}

/// The same, release 1.0 built before if the store does not have it.
pub(super) fn release_tree(works: &Works) -> Result<PathBuf> {
    if !works.has(Release::First) {
        works.build(Release::First)?;
    }
    tree(works)
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))
}

/// One of those that are compared. The scripts get the tree, an empty folder, and `elea`; what
/// they wrote is durable when they end.
struct Rival {
    name: &'static str,
    /// What comes before and is not measured.
    before: &'static str,
    /// The first import, into an empty store.
    cold: &'static str,
    /// What comes between and is not measured.
    between: &'static str,
    /// The second import of the same tree.
    again: &'static str,
}

const RIVALS: [Rival; 6] = [
    Rival {
        name: "`elea image import`",
        before: "",
        cold: r#"exec "$3" -q --store "$2/store" image import "dir:$1" --name x"#,
        between: "",
        again: r#"exec "$3" -q --store "$2/store" image import "dir:$1" --name x"#,
    },
    Rival {
        name: "`cp -a`; again `cp -au`",
        before: "",
        cold: r#"cp -a --reflink=never "$1" "$2/copy"; sync -f "$2""#,
        between: "",
        again: r#"cp -au --reflink=never "$1/." "$2/copy"; sync -f "$2""#,
    },
    Rival {
        name: "`nix-store --add`",
        before: "",
        cold: r#"nix-store --store "$2/nix" --add "$1"; sync -f "$2""#,
        between: "",
        again: r#"nix-store --store "$2/nix" --add "$1"; sync -f "$2""#,
    },
    Rival {
        name: "`ostree commit`, `core.fsync=false` and one `sync -f`",
        before: r#"ostree init --mode=bare --repo="$2/r"; ostree --repo="$2/r" config set core.fsync false"#,
        cold: r#"ostree commit --repo="$2/r" -b x --tree=dir="$1"; sync -f "$2""#,
        between: "",
        again: r#"ostree commit --repo="$2/r" -b x --tree=dir="$1"; sync -f "$2""#,
    },
    Rival {
        name: "`ostree commit`, as it comes",
        before: r#"ostree init --mode=bare --repo="$2/r""#,
        cold: r#"exec ostree commit --repo="$2/r" -b x --tree=dir="$1""#,
        between: "",
        again: r#"exec ostree commit --repo="$2/r" -b x --tree=dir="$1""#,
    },
    Rival {
        name: "the same; again `--link-checkout-speedup` of its own checkout",
        before: r#"ostree init --mode=bare --repo="$2/r""#,
        cold: "",
        between: r#"ostree commit --repo="$2/r" -b x --tree=dir="$1"; ostree checkout --repo="$2/r" -H x "$2/out""#,
        again: r#"exec ostree commit --repo="$2/r" -b x --tree=dir="$2/out" --link-checkout-speedup"#,
    },
];

/// Measures all, one after the other, in each of the rounds.
pub(super) fn measure(elea: &Path, tree: &Path, folder: &Path, rounds: usize) -> Result<Section> {
    let begun = Instant::now();
    clear(folder)?;
    // Read once, so that nobody reads it from the disk for the others.
    let warm = r#"find "$1" -type f -exec cat {} + >/dev/null"#;
    script(warm, &[tree.as_os_str()])?;
    let mut used = vec![(Vec::new(), Vec::new()); RIVALS.len()];
    let mut sizes = vec![0; RIVALS.len()];
    std::thread::sleep(AGE.saturating_sub(begun.elapsed()));
    for round in 0..rounds {
        for turn in 0..RIVALS.len() {
            // Another one is first in each round.
            let number = (round + turn) % RIVALS.len();
            let rival = &RIVALS[number];
            // Nothing is removed between the measurements: the kernel would be busy with it.
            let place = folder.join(format!("{round}-{number}"));
            make(&place)?;
            let run = |text: &str| -> Result<Option<Used>> {
                if text.is_empty() {
                    return Ok(None);
                }
                settle()?;
                let arguments = [tree.as_os_str(), place.as_os_str(), elea.as_os_str()];
                script(text, &arguments).map(Some)
            };
            run(rival.before)?;
            used[number].0.extend(run(rival.cold)?);
            run(rival.between)?;
            sizes[number] = size(&place)?;
            used[number].1.extend(run(rival.again)?);
            let last = |all: &[Used]| all.last().map_or(0.0, |used| used.wall);
            let (cold, again) = (last(&used[number].0), last(&used[number].1));
            talk::note(&format!(
                "round {}: {}: {cold:.2} s, again {again:.2} s",
                round + 1,
                rival.name
            ));
        }
    }
    clear(folder)?;
    section(tree, rounds, &used, &sizes)
}

fn section(
    tree: &Path,
    rounds: usize,
    used: &[(Vec<Used>, Vec<Used>)],
    sizes: &[u64],
) -> Result<Section> {
    let rows = RIVALS.iter().zip(used).zip(sizes);
    let rows = rows.map(|((rival, (cold, again)), stored)| {
        let mut row = vec![rival.name.to_owned()];
        for all in [cold, again] {
            row.push(column(all, |u| u.wall, 2));
            row.push(column(all, |u| u.cpu, 2));
            row.push(column(all, |u| u.memory, 0));
        }
        row.push(talk::size(*stored));
        row
    });
    let count = |kind: &str| -> Result<String> {
        let text = format!("find \"$1\" {kind} | wc -l");
        let mut shell = Command::new("sh");
        let said = run(shell.args(["-c", &text, "sh"]).arg(tree))?;
        Ok(said.trim().to_owned())
    };
    Ok(Section {
        title: "Import of one Debian tree, first and again unchanged",
        head: [
            "what",
            "first: wall s",
            "CPU s",
            "memory MB",
            "again: wall s",
            "CPU s",
            "memory MB",
            "on disk",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: rows.collect(),
        how: format!(
            "The tree: {} paths, {} files, {} on disk, in the page cache, more than a minute old. {rounds} rounds, each with a store of its own\n\
             for everyone, everyone in turn; `sync` and a pause before each measurement, and what was written is durable at its end: `elea`\n\
             sees to that itself, so does `ostree` as it comes; the others are followed by `sync -f`, which is counted. CPU is user and\n\
             system time of the program and what it started; memory is that of its largest process. `nix-store` keeps neither owners nor modes nor\n\
             attributes; `cp` finds no equal files and checks nothing. `elea` also makes and checks the image, 2 MB.",
            count("")?,
            count("-type f")?,
            talk::size(size(tree)?)
        ),
    })
}

/// What a folder takes on the disk, in bytes.
fn size(folder: &Path) -> Result<u64> {
    let said = run(Command::new("du").args(["-s", "-B1"]).arg(folder))?;
    let number = said.split_whitespace().next().and_then(|n| n.parse().ok());
    number.ok_or_else(|| Error::other(format!("`du` said `{said}`")))
}

/// Removes a folder; Nix makes its store read-only.
fn clear(folder: &Path) -> Result<()> {
    let text = r#"[ ! -e "$1" ] || { chmod -R u+w "$1"; rm -rf "$1"; }; mkdir -p "$1""#;
    script(text, &[folder.as_os_str()]).map(drop)
}
