//! Reading: every byte of a store checked, and a mounted image read whole.

use super::rows::{CRATE, OURS};
use super::table::Table;
use super::{Bench, DROP};
use crate::Result;
use std::path::Path;

/// One who checks: the name, the program that has to be there, what makes the store, and the check.
const CHECKERS: [[&str; 4]; 4] = [
    [
        OURS,
        "",
        r#""$elea" -q --store "$place/elea" image import "dir:$tree" --name x"#,
        r#"exec "$elea" -q --store "$place/elea" store fsck"#,
    ],
    [
        "`ostree fsck`",
        "ostree",
        r#"ostree init --mode=bare --repo="$place/r"; ostree commit --repo="$place/r" -b x --tree=dir="$tree""#,
        r#"exec ostree fsck --quiet --repo="$place/r""#,
    ],
    [
        CRATE,
        "composefs",
        r#""$oracle" import "$tree" "$place/repository""#,
        r#"exec "$oracle" check "$place/repository""#,
    ],
    [
        "`sha256sum`, all processors",
        "",
        "",
        r#"find "$place/elea/objects" -type f -print0 | xargs -0 -n 100 -P "$(nproc)" sha256sum >/dev/null"#,
    ],
];

/// Measures the row `fsck`.
pub(super) fn fsck(bench: &Bench<'_>) -> Result<Table> {
    let place = bench.folder("fsck")?;
    let mut table = Table::default();
    for [who, needs, make, _] in CHECKERS {
        table.expect("fsck", who);
        if bench.has(needs) {
            bench.script(make, &place)?;
        }
    }
    for round in 0..bench.rounds {
        for turn in 0..CHECKERS.len() {
            let [who, needs, _, check] = CHECKERS[(round + turn) % CHECKERS.len()];
            if bench.has(needs) {
                bench.script(DROP, &place)?;
                table.add("fsck", who, bench.measured(check, &place)?);
            }
        }
    }
    super::clear(&place)?;
    Ok(table)
}

/// What is read, by one process after the other.
const READ: &str = r#"find "$at" -xdev -type f -print0 | xargs -0 -n 500 cat >/dev/null"#;

/// The mount of our image, gone with the value.
struct Mounted<'a> {
    bench: &'a Bench<'a>,
    place: &'a Path,
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = self.bench.script(r#"umount "$place/mnt""#, self.place);
    }
}

/// Measures the rows `read-cold` and `read-warm`.
pub(super) fn reads(bench: &Bench<'_>) -> Result<Table> {
    let place = bench.folder("read")?;
    let make =
        r#""$elea" -q --store "$place/elea" image import "dir:$tree" --name x; mkdir "$place/mnt""#;
    bench.script(make, &place)?;
    let mount = r#"at=$place/mnt; "$elea" -q --store "$place/elea" image mount x "$at"; "#;
    let ours = format!("{mount}{READ}");
    let plain = format!("at=$tree; {READ}");
    let mut table = Table::default();
    for round in 0..bench.rounds {
        for turn in 0..2 {
            for row in ["read-cold", "read-warm"] {
                let cold = row == "read-cold";
                if cold {
                    bench.script(DROP, &place)?;
                }
                if (round + turn) % 2 == 0 {
                    let mounted = Mounted {
                        bench,
                        place: &place,
                    };
                    let used = bench.measured(&ours, &place);
                    drop(mounted);
                    table.add(row, OURS, used?);
                } else {
                    table.add(row, "plain ext4", bench.measured(&plain, &place)?);
                }
            }
        }
    }
    super::clear(&place)?;
    Ok(table)
}
