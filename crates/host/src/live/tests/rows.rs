//! Every row of the table, decided.

use super::table::ROWS;
use super::{decide, said};

/// `;` ends a line.
fn text(lines: &str) -> String {
    lines.replace(';', "\n")
}

#[test]
fn every_row() {
    let mut wrong = Vec::new();
    for (what, old, new, running, expected) in ROWS {
        let found = said(&decide(&text(old), &text(new), running));
        if found != *expected {
            wrong.push(format!("{what}: {found:?}, {expected:?} was expected"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
