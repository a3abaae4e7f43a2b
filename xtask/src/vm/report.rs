//! What the scenarios gave: for a person now, and as `docs/failures.md`.

use super::{Row, Scenario, Told};
use crate::{Result, workspace};
use elea_testkit::Error;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

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

/// Whether a line of [`plain`] tells of a scenario, and whether that passed.
pub(crate) fn passed(line: &str) -> Option<bool> {
    match line.split_once("  ")?.0 {
        "ok" => Some(true),
        "FAILED" => Some(false),
        _ => None,
    }
}

/// The page.
pub(crate) fn page(rows: &[Row]) -> String {
    let head = String::from(
        "# Failures that were tried\n\n\
         Written by `cargo xtask vm --all`, or by `--report` from several runs: each line is a machine under QEMU (TCG, one processor)\n\
         with OVMF, systemd-boot and Debian's kernel. Boots are starts of the boot loader, and\n\
         seconds are from the failure until a good system can be logged in to, on two shared cores.\n\n\
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

/// Keeps a row in the works' folder, so that the page can be written from several runs.
pub(crate) fn keep(folder: &Path, row: &Row) -> Result<()> {
    let path = folder.join("results.json");
    let mut all = load(&path);
    let value = match &row.result {
        Ok(told) => json!({
            "happened": told.happened, "boots": told.boots, "seconds": told.seconds,
            "evidence": told.evidence, "took": row.took,
        }),
        Err(e) => json!({"failed": e.to_string(), "took": row.took}),
    };
    all.insert(row.scenario.name.to_owned(), value);
    let text = Value::Object(all).to_string();
    fs::write(&path, text)
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}

fn load(path: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// The rows that were kept, in the order of the scenarios.
pub(crate) fn kept(folder: &Path, scenarios: &[Scenario]) -> Vec<Row> {
    let all = load(&folder.join("results.json"));
    let row = |scenario: &Scenario| {
        let value = all.get(scenario.name)?;
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| value[key].as_u64().unwrap_or_default();
        let result = match value["failed"].as_str() {
            Some(failed) => Err(Error::other(failed)),
            None => Ok(Told {
                happened: text("happened"),
                boots: usize::try_from(number("boots")).unwrap_or_default(),
                seconds: number("seconds"),
                evidence: text("evidence"),
            }),
        };
        Some(Row {
            scenario: *scenario,
            result,
            took: number("took"),
        })
    };
    scenarios.iter().filter_map(row).collect()
}

/// Writes the page.
pub(crate) fn write(rows: &[Row]) -> Result<()> {
    let path = workspace().join("docs/failures.md");
    fs::write(&path, page(rows))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_scenarios_are_known_from_others() {
        assert_eq!(passed("ok      replay     1 boots"), Some(true));
        assert_eq!(passed("FAILED  replay     no"), Some(false));
        assert_eq!(passed("   ok: three tries"), None);
        assert_eq!(passed("no time left for: replay"), None);
    }
}
