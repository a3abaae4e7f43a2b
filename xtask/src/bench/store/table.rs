//! The table: what was measured, and what it comes to beside the goals.

use super::rows::{Goal, OURS, Of, Row, row};
use crate::bench::measure::{Used, column, spread};
use crate::bench::report;
use crate::{Result, talk};
use elea_testkit::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// One who does a row's work.
#[derive(Debug)]
struct Line {
    row: &'static str,
    who: &'static str,
    used: Vec<Used>,
    /// Bytes that came over the network, of each measurement.
    fetched: Vec<u64>,
    /// Shown, and no peer.
    beside: bool,
}

/// What was measured so far.
#[derive(Debug, Default)]
pub(super) struct Table {
    lines: Vec<Line>,
}

impl Table {
    fn line(&mut self, row: &'static str, who: &'static str) -> &mut Line {
        let place = self
            .lines
            .iter()
            .position(|line| (line.row, line.who) == (row, who));
        let place = place.unwrap_or_else(|| {
            self.lines.push(Line {
                row,
                who,
                used: Vec::new(),
                fetched: Vec::new(),
                beside: false,
            });
            self.lines.len() - 1
        });
        &mut self.lines[place]
    }

    /// Says that somebody takes part, whether or not a measurement follows.
    pub(super) fn expect(&mut self, row: &'static str, who: &'static str) {
        self.line(row, who);
    }

    /// Says that somebody is shown and is no peer.
    pub(super) fn beside(&mut self, row: &'static str, who: &'static str) {
        self.line(row, who).beside = true;
    }

    /// Adds a measurement.
    pub(super) fn add(&mut self, row: &'static str, who: &'static str, used: Used) {
        talk::note(&format!(
            "{row}: {who}: {:.2} s, CPU {:.2} s, {:.0} MB",
            used.wall, used.cpu, used.memory
        ));
        self.line(row, who).used.push(used);
    }

    /// Adds what a measurement fetched.
    pub(super) fn fetched(&mut self, row: &'static str, who: &'static str, bytes: u64) {
        self.line(row, who).fetched.push(bytes);
    }

    /// Writes down each row that was measured, so that another run can measure others.
    pub(super) fn keep(&self, folder: &Path, line: &str) -> Result<()> {
        let mut names: Vec<&'static str> = self.lines.iter().map(|line| line.row).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let Some(row) = row(name) else { continue };
            let text = self.text(row);
            println!("{text}");
            let when = report::when(line)?;
            let path = folder.join(format!("store-{name}.md"));
            fs::write(&path, format!("{text}\n{when}\n"))
                .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))?;
        }
        Ok(())
    }

    /// The lines of one row.
    fn text(&self, row: &Row) -> String {
        let lines: Vec<&Line> = self.lines.iter().filter(|l| l.row == row.name).collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            let work = if number == 0 { row.work } else { "" };
            let who = if line.beside {
                format!("({})", line.who)
            } else {
                line.who.to_owned()
            };
            let measures = if line.used.is_empty() {
                vec!["not here".to_owned(), String::new(), String::new()]
            } else {
                vec![
                    column(&line.used, |u| u.wall, 2),
                    column(&line.used, |u| u.cpu, 2),
                    column(&line.used, |u| u.memory, 0),
                ]
            };
            let fetched = median(line, Of::Fetched)
                .map_or_else(String::new, |bytes| format!("{:.2} MB", bytes / 1e6));
            let goals = if line.who == OURS {
                let goals = row.goals.iter().map(|goal| compared(goal, line, &lines));
                goals.collect::<Vec<_>>().join("; ")
            } else {
                String::new()
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {work} | {who} | {} | {fetched} | {goals} |",
                measures.join(" | ")
            );
        }
        text
    }

    /// The table of all rows that were measured in a folder, with how and when each was.
    pub(super) fn read(folder: &Path, rows: &[Row]) -> String {
        let mut table = String::from(
            "\n| work | who | wall s | CPU s | memory MB | fetched | ours to the fastest peer's |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        let (mut how, mut when): (String, Vec<(String, Vec<&str>)>) = Default::default();
        for row in rows {
            let path = folder.join(format!("store-{}.md", row.name));
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            let (lines, measured) = text.split_once("\n\n").unwrap_or((&text, ""));
            table += lines.trim_end();
            table.push('\n');
            let _ = writeln!(
                how,
                "- **{}** (`--row {}`): {}",
                row.work, row.name, row.how
            );
            let measured = measured.trim().to_owned();
            match when.iter_mut().find(|(text, _)| *text == measured) {
                Some((_, names)) => names.push(row.name),
                None => when.push((measured, vec![row.name])),
            }
        }
        let when = when
            .iter()
            .map(|(text, names)| format!("{}: measured {text}.\n", names.join(", ")));
        format!(
            "{table}\nCPU is user and system time of a program and all that it started; memory is the most that one of its processes had.\n\n{how}\n{}",
            when.collect::<String>()
        )
    }
}

/// The median of what a goal is about.
fn median(line: &Line, of: Of) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of a pull, far below 2^52"
    )]
    let values: Vec<f64> = match of {
        Of::Wall => line.used.iter().map(|used| used.wall).collect(),
        Of::Fetched => line.fetched.iter().map(|bytes| *bytes as f64).collect(),
    };
    spread(values).map(|spread| spread.median)
}

/// Ours as a part of theirs, beside the goal.
fn compared(goal: &Goal, ours: &Line, lines: &[&Line]) -> String {
    let peers = lines.iter().filter(|line| {
        line.who != OURS && !line.beside && goal.peer.is_none_or(|peer| peer == line.who)
    });
    // Of the fastest one, whatever the goal is about.
    let wall = |line: &&&Line| median(line, Of::Wall).unwrap_or(f64::INFINITY);
    let fastest = peers.min_by(|a, b| wall(a).total_cmp(&wall(b)));
    let theirs = fastest.and_then(|line| median(line, goal.of));
    let what = match (goal.of, goal.peer) {
        (Of::Fetched, _) => "bytes ",
        (Of::Wall, Some(peer)) => &format!("{peer} "),
        (Of::Wall, None) => "",
    };
    let (Some(ours), Some(theirs)) = (median(ours, goal.of), theirs) else {
        return format!("{what}not known (goal {})", goal.most);
    };
    let ratio = ours / theirs;
    let met = if ratio <= goal.most { "met" } else { "missed" };
    format!("{what}{ratio:.2} (goal {}: {met})", goal.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(wall: f64) -> Used {
        Used {
            wall,
            cpu: 1.0,
            memory: 10.0,
        }
    }

    #[test]
    fn ours_is_compared_with_the_fastest_that_is_here() {
        let mut table = Table::default();
        table.add("again", OURS, used(0.1));
        table.add("again", "fast", used(0.5));
        table.add("again", "slow", used(2.0));
        table.add("again", "cheat", used(0.01));
        table.beside("again", "cheat");
        table.expect("again", "absent");
        let text = table.text(row("again").unwrap());
        assert!(text.contains("0.20 (goal 0.1: missed)"), "{text}");
        assert!(text.contains("| (cheat) | 0.01"), "{text}");
        assert!(text.contains("| absent | not here |"), "{text}");
    }

    #[test]
    fn a_goal_may_be_about_bytes_or_about_one_peer() {
        let mut table = Table::default();
        table.add("next", OURS, used(1.0));
        table.fetched("next", OURS, 10);
        table.add("next", "a", used(2.0));
        table.fetched("next", "a", 100);
        table.add("next", "slower, with less", used(3.0));
        table.fetched("next", "slower, with less", 10);
        let text = table.text(row("next").unwrap());
        assert!(
            text.contains("bytes 0.10 (goal 0.2: met); 0.50 (goal 0.3: missed)"),
            "{text}"
        );
        table.add("fsck", OURS, used(1.0));
        table.add("fsck", "`ostree fsck`", used(4.0));
        let text = table.text(row("fsck").unwrap());
        assert!(
            text.contains("`ostree fsck` 0.25 (goal 0.5: met)"),
            "{text}"
        );
        assert!(text.contains("not known (goal 1.2)"), "{text}");
    }

    #[test]
    fn rows_are_put_together_with_when_they_were_measured() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("store-import.md", "| a |\n\non Monday\n");
        write("store-gc.md", "| b |\n\non Tuesday\n");
        write("store-fsck.md", "| c |\n\non Monday\n");
        let text = Table::read(folder.path(), super::super::rows::ALL);
        assert!(text.contains("| a |\n| c |\n| b |\n\n"), "{text}");
        assert!(text.contains("import, fsck: measured on Monday."), "{text}");
    }
}
