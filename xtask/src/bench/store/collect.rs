//! Nine of ten images deleted from a store of 200,000 objects.

use super::Bench;
use super::rows::OURS;
use super::table::Table;
use crate::{Result, talk};
use elea_testkit::Error;
use std::fs;
use std::path::Path;

const IMAGES: u64 = 10;
/// Files of one image, no two in all of them equal.
const FILES: u64 = 20_000;

/// One who collects: the name, the program that has to be there, what adds an image of `$tree` called
/// `$n` to the store at `$place/s`, what takes the names of all but one away, and the collection.
const COLLECTORS: [[&str; 5]; 3] = [
    [
        OURS,
        "",
        r#""$elea" -q --store "$place/s" image import "dir:$tree" --name "i$n""#,
        r#"for n in $rest; do "$elea" -q --store "$place/s" image rm "i$n"; done"#,
        r#""$elea" -q --store "$place/s" store gc; sync -f "$place""#,
    ],
    [
        "`ostree prune`",
        "ostree",
        r#"[ -e "$place/s" ] || ostree init --mode=bare --repo="$place/s"
           ostree commit --fsync=false --repo="$place/s" -b "i$n" --tree=dir="$tree" >/dev/null"#,
        r#"for n in $rest; do ostree refs --repo="$place/s" --delete "i$n"; done"#,
        r#"ostree prune --repo="$place/s" --refs-only >/dev/null; sync -f "$place""#,
    ],
    [
        "`nix-store --gc`",
        "nix-store",
        r#"added=$(nix-store --store "$place/s" --add "$tree")
           ln -sfn "$added" "$place/s/nix/var/nix/gcroots/i$n""#,
        r#"for n in $rest; do rm "$place/s/nix/var/nix/gcroots/i$n"; done"#,
        r#"nix-store --store "$place/s" --gc >/dev/null 2>&1; sync -f "$place""#,
    ],
];

/// What is left are the files of one image, and a few that every store has.
const FREED: &str = r#"[ "$(find "$place/s" -type f | wc -l)" -lt 21000 ]"#;

/// Measures the row `gc`, each time with a copy of the store.
pub(super) fn measure(bench: &Bench<'_>) -> Result<Table> {
    let here = |number: usize| bench.has(COLLECTORS[number][1]);
    let mut table = Table::default();
    for [who, ..] in COLLECTORS {
        table.expect("gc", who);
    }
    let made = bench.folder("gc")?;
    let tree = made.join("tree");
    for image in 0..IMAGES {
        talk::note(&format!("image {} of {IMAGES}", image + 1));
        super::clear(&tree)?;
        files(&tree, image * FILES, FILES, 1024)?;
        for number in (0..COLLECTORS.len()).filter(|n| here(*n)) {
            let place = made.join(number.to_string());
            fs::create_dir_all(&place).map_err(|e| fail(&place, &e))?;
            // Every tree is called the same, as a system's would be.
            let text = format!(
                "n={image} tree=$(dirname \"$place\")/tree\n{}",
                COLLECTORS[number][2]
            );
            bench.script(&text, &place)?;
        }
    }
    for round in 0..bench.rounds {
        for turn in 0..COLLECTORS.len() {
            let number = (round + turn) % COLLECTORS.len();
            if !here(number) {
                continue;
            }
            let [who, _, _, forget, collect] = COLLECTORS[number];
            let place = bench.folder("gc-copy")?;
            let from = made.join(format!("{number}/s"));
            let copy = format!("cp -a --reflink=never '{}' \"$place/s\"", from.display());
            bench.script(&copy, &place)?;
            bench.script(&format!("rest='1 2 3 4 5 6 7 8 9'\n{forget}"), &place)?;
            table.add("gc", who, bench.measured(collect, &place)?);
            // A collection that left something would be quick.
            bench.script(FREED, &place)?;
        }
    }
    super::clear(&bench.place.join("gc-copy"))?;
    super::clear(&made)?;
    Ok(table)
}

fn fail(path: &Path, e: &std::io::Error) -> Error {
    Error::other(format!("cannot write {}: {e}", path.display()))
}

/// Files of one size in folders of 200, no two equal; `first` numbers them.
pub(super) fn files(folder: &Path, first: u64, count: u64, size: usize) -> Result<()> {
    let mut content = Vec::with_capacity(size + 32);
    for number in first..first + count {
        let place = folder.join(format!("{:04}/{:03}", number / 40_000, number / 200 % 200));
        if number % 200 == 0 || number == first {
            fs::create_dir_all(&place).map_err(|e| fail(&place, &e))?;
        }
        content.clear();
        // What no compression and no equal block makes easier.
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        while content.len() < size {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            content.extend_from_slice(&state.to_le_bytes());
        }
        let path = place.join(format!("file-{number:07}"));
        fs::write(&path, &content[..size]).map_err(|e| fail(&path, &e))?;
    }
    Ok(())
}
