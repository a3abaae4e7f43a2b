//! Import of one tree, against the stores of others.

use super::{Figure, median, seconds, time};
use crate::Result;
use crate::works::{Release, Works};
use elea_testkit::{Error, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often each is measured.
const TIMES: usize = 5;

/// The tree of release 1.0, unpacked.
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
    Ok(tree)
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))
}

/// One of those that are compared.
struct Rival {
    name: &'static str,
    /// Imports the tree into the folder.
    import: fn(&Works, tree: &Path, folder: &Path) -> Result<()>,
    /// Whether a second import into the same folder says something.
    again: bool,
}

const RIVALS: [Rival; 4] = [
    Rival {
        name: "elea image import",
        import: |works, tree, folder| {
            let mut command = Command::new(&works.programs.elea);
            command.arg("--store").arg(folder.join("store"));
            command.args(["image", "import"]);
            run(command.arg(format!("dir:{}", tree.display()))).map(drop)
        },
        again: true,
    },
    Rival {
        name: "ostree commit",
        import: |_, tree, folder| {
            let repo = format!("--repo={}", folder.join("repo").display());
            if !folder.join("repo").exists() {
                run(Command::new("ostree").args(["init", "--mode=bare", &repo]))?;
            }
            let from = format!("--tree=dir={}", tree.display());
            run(Command::new("ostree").args(["commit", &repo, "--branch=x", &from])).map(drop)
        },
        again: true,
    },
    Rival {
        name: "nix-store --add",
        import: |_, tree, folder| {
            let mut add = Command::new("nix-store");
            add.args(["--add".as_ref(), tree.as_os_str(), "--store".as_ref()]);
            run(add.arg(folder.join("nix"))).map(drop)
        },
        again: true,
    },
    Rival {
        name: "cp -a",
        import: |_, tree, folder| {
            let mut copy = Command::new("cp");
            copy.args(["-a", "--reflink=never"]).arg(tree);
            run(copy.arg(folder.join("copy"))).map(drop)
        },
        again: false,
    },
];

/// Measures all, one after the other, in each of the rounds.
pub(super) fn measure(works: &Works, tree: &Path, figures: &mut Vec<Figure>) -> Result<()> {
    let folder = works.folder.join("imports");
    let mut cold = vec![Vec::new(); RIVALS.len()];
    let mut again: Vec<Vec<Duration>> = vec![Vec::new(); RIVALS.len()];
    for _ in 0..TIMES {
        for (number, rival) in RIVALS.iter().enumerate() {
            // Nix makes its store read-only.
            let mut clear = Command::new("sh");
            clear.args(["-c", "chmod -R u+w \"$0\" 2>/dev/null; rm -rf \"$0\""]);
            run(clear.arg(&folder))?;
            make(&folder)?;
            run(&mut Command::new("sync"))?;
            cold[number].push(time(|| (rival.import)(works, tree, &folder))?);
            if rival.again {
                run(&mut Command::new("sync"))?;
                again[number].push(time(|| (rival.import)(works, tree, &folder))?);
            }
        }
    }
    let _ = fs::remove_dir_all(&folder);
    let how = format!("median of {TIMES}, the tree in the page cache");
    for (number, rival) in RIVALS.iter().enumerate() {
        let first = seconds(median(std::mem::take(&mut cold[number])));
        let second = median(std::mem::take(&mut again[number]));
        let value = if rival.again {
            format!("{first}, again unchanged {}", seconds(second))
        } else {
            first
        };
        figures.push(Figure::new(
            &format!("import: `{}`", rival.name),
            value,
            &how,
        ));
    }
    Ok(())
}
