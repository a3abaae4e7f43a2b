//! A directory into everyone's store: cold, unchanged, a little changed; and its digest alone.

use super::rows::{CRATE, OURS};
use super::table::Table;
use super::{Bench, Wanted};
use crate::Result;
use std::time::{Duration, Instant};

/// How old the tree is before it is imported again: `elea` reads younger files.
const AGE: Duration = Duration::from_secs(61);
/// The digest's row takes no time and varies most.
const DIGESTS: usize = 3;

/// One who imports; what was written is durable at the end of each script.
#[derive(Debug)]
struct Rival {
    who: &'static str,
    /// The program that has to be there.
    needs: &'static str,
    /// What comes before and is not measured.
    before: &'static str,
    import: &'static str,
    /// The second time, and after a change; a first time again for those who know no other.
    again: &'static str,
    /// Shown, and no peer.
    beside: bool,
}

const RIVALS: [Rival; 6] = [
    Rival {
        who: OURS,
        needs: "",
        before: "",
        import: r#"exec "$elea" -q --store "$place/store" image import "dir:$tree" --name x"#,
        again: r#"exec "$elea" -q --store "$place/store" image import "dir:$tree" --name x"#,
        beside: false,
    },
    Rival {
        who: "`ostree commit`",
        needs: "ostree",
        before: r#"ostree init --mode=bare --repo="$place/r""#,
        import: r#"exec ostree commit --repo="$place/r" -b x --tree=dir="$tree""#,
        again: r#"exec ostree commit --repo="$place/r" -b x --tree=dir="$tree""#,
        beside: false,
    },
    Rival {
        who: "`nix-store --add`",
        needs: "nix-store",
        before: "",
        import: r#"nix-store --store "$place/nix" --add "$tree"; sync -f "$place""#,
        again: r#"nix-store --store "$place/nix" --add "$tree"; sync -f "$place""#,
        beside: false,
    },
    Rival {
        who: CRATE,
        needs: "composefs",
        before: "",
        import: r#"exec "$oracle" import "$tree" "$place/repository""#,
        again: r#"exec "$oracle" import "$tree" "$place/repository""#,
        beside: false,
    },
    Rival {
        who: "`cp -a; sync -f`",
        needs: "",
        before: "",
        import: r#"cp -a --reflink=never "$tree" "$place/copy"; sync -f "$place""#,
        again: r#"cp -a --reflink=never "$tree/." "$place/copy"; sync -f "$place""#,
        beside: false,
    },
    Rival {
        who: "`cp -au; sync -f`",
        needs: "",
        before: r#"cp -a --reflink=never "$tree" "$place/copy""#,
        import: "",
        again: r#"cp -au --reflink=never "$tree/." "$place/copy"; sync -f "$place""#,
        beside: true,
    },
];

/// A byte more in every hundredth file, in each round in others.
const CHANGE: &str = r#"
find "$tree" -type f -size +0 | LC_ALL=C sort | awk -v at="$place" '
    BEGIN { sub(".*-", "", at) } NR % 100 == at % 100' |
while IFS= read -r file; do printf x >> "$file"; done
"#;

/// Those who tell a digest and write nothing.
const DIGEST: [(&str, &str, &str); 2] = [
    (
        OURS,
        "",
        r#"exec "$elea" -q image digest "dir:$tree" --form raw"#,
    ),
    (CRATE, "composefs", r#"exec "$oracle" digest "$tree""#),
];

/// Measures the rows that are wanted; everyone in turn, another one first in each round.
pub(super) fn measure(bench: &Bench<'_>, wanted: &Wanted) -> Result<Table> {
    let mut table = Table::default();
    // Read once, so that nobody reads it from the disk for the others.
    let warm = r#"find "$tree" -type f -exec cat {} + >/dev/null"#;
    bench.script(warm, &bench.place)?;
    if wanted.row("digest") {
        digests(bench, &mut table)?;
    }
    let rows = ["import", "again", "changed"].map(|row| (row, wanted.row(row)));
    if rows.iter().all(|(_, wanted)| !wanted) {
        return Ok(table);
    }
    for rival in &RIVALS {
        for (row, _) in rows.iter().filter(|(_, wanted)| *wanted) {
            if rival.beside && *row != "import" {
                table.beside(row, rival.who);
            } else if !rival.beside {
                table.expect(row, rival.who);
            }
        }
    }
    let mut changed = Instant::now();
    for round in 0..bench.rounds {
        std::thread::sleep(AGE.saturating_sub(changed.elapsed()));
        for step in 0..3 {
            if step == 2 {
                if !rows[2].1 {
                    break;
                }
                bench.script(CHANGE, &bench.place.join(format!("round-{round}")))?;
                changed = Instant::now();
            }
            for turn in 0..RIVALS.len() {
                let rival = &RIVALS[(round + turn) % RIVALS.len()];
                if !bench.has(rival.needs) {
                    continue;
                }
                let (row, wanted) = rows[step];
                let number = (round + turn) % RIVALS.len();
                let place = bench.place.join(format!("{round}-{number}"));
                if step == 0 {
                    // Nothing is removed between measurements: the kernel would be busy with it.
                    super::clear(&place)?;
                    bench.script(rival.before, &place)?;
                }
                let text = if step == 0 { rival.import } else { rival.again };
                if text.is_empty() || (step == 1 && !wanted) {
                    continue;
                }
                let used = bench.measured(text, &place)?;
                if wanted {
                    table.add(row, rival.who, used);
                }
            }
        }
    }
    for round in 0..bench.rounds {
        for number in 0..RIVALS.len() {
            super::clear(&bench.place.join(format!("{round}-{number}")))?;
        }
    }
    Ok(table)
}

fn digests(bench: &Bench<'_>, table: &mut Table) -> Result<()> {
    for (who, _, _) in DIGEST {
        table.expect("digest", who);
    }
    for round in 0..bench.rounds * DIGESTS {
        for turn in 0..DIGEST.len() {
            let (who, needs, text) = DIGEST[(round + turn) % DIGEST.len()];
            if bench.has(needs) {
                table.add("digest", who, bench.measured(text, &bench.place)?);
            }
        }
    }
    Ok(())
}
