//! What the scenarios gave: for a person now, and as `docs/failures.md`.

use super::Row;
use crate::{Result, workspace};
use elea_testkit::Error;
use std::fs;

/// What stands below the table, kept by hand.
const NOT_COVERED: &str = include_str!("not_covered.md");

/// A line for each scenario.
pub(crate) fn plain(rows: &[Row]) -> String {
    let line = |row: &Row| match &row.result {
        Ok(told) => format!(
            "ok      {:24} {} boots, {} s until good ({} s)\n",
            row.scenario.name, told.boots, told.seconds, row.took
        ),
        Err(e) => format!(
            "FAILED  {:24} {}\n",
            row.scenario.name,
            e.to_string().lines().next().unwrap_or_default()
        ),
    };
    rows.iter().map(line).collect()
}

/// The page.
pub(crate) fn page(rows: &[Row]) -> String {
    let head = String::from(
        "# Failures that were tried\n\n\
         Written by `cargo xtask vm --all`: each line is a machine under QEMU (TCG, one processor)\n\
         with OVMF, systemd-boot and Debian's kernel. Boots are starts of the boot loader, and\n\
         seconds are from the failure until a good system can be logged in to; on hardware they\n\
         are a few times less.\n\n\
         | scenario | what was done | what happened | boots | s | evidence kept |\n\
         |---|---|---|---:|---:|---|\n",
    );
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let line = |row: &Row| match &row.result {
        Ok(told) => format!(
            "| `{}` | {} | {} | {} | {} | {} |\n",
            row.scenario.name,
            cell(row.scenario.done),
            cell(&told.happened),
            told.boots,
            told.seconds,
            cell(&told.evidence)
        ),
        Err(e) => format!(
            "| `{}` | {} | **failed**: {} | | | |\n",
            row.scenario.name,
            cell(row.scenario.done),
            cell(e.to_string().lines().next().unwrap_or_default())
        ),
    };
    let table: String = rows.iter().map(line).collect();
    format!("{head}{table}\n{NOT_COVERED}")
}

/// Writes the page.
pub(crate) fn write(rows: &[Row]) -> Result<()> {
    let path = workspace().join("docs/failures.md");
    fs::write(&path, page(rows))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}
