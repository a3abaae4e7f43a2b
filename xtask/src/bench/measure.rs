//! Programs run under `time`, and what they used.

use crate::Result;
use elea_testkit::{Error, run};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::time::Instant;

/// What one run of a program used, with all that it started.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Used {
    /// Seconds by the clock.
    pub(super) wall: f64,
    /// Seconds of processors, in the program and in the kernel for it.
    pub(super) cpu: f64,
    /// The most memory that one process had, in MB.
    pub(super) memory: f64,
}

/// Runs a shell script under GNU time; it must end well.
pub(super) fn script(text: &str, arguments: &[&OsStr]) -> Result<Used> {
    let mut shell = Command::new("sh");
    shell.args(["-euc", text, "sh"]).args(arguments);
    command(&shell)
}

/// Runs a command under GNU time; it must end well.
pub(super) fn command(wanted: &Command) -> Result<Used> {
    let folder = tempfile::tempdir()
        .map_err(|e| Error::other(format!("cannot make a temporary folder: {e}")))?;
    let said = folder.path().join("time");
    let mut timed = Command::new("time");
    timed.args(["-q", "-f", "%U %S %M", "-o"]).arg(&said);
    timed.arg(wanted.get_program()).args(wanted.get_args());
    if let Some(place) = wanted.get_current_dir() {
        timed.current_dir(place);
    }
    for (name, value) in wanted.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    let begun = Instant::now();
    run(&mut timed)?;
    let wall = begun.elapsed().as_secs_f64();
    let text = fs::read_to_string(&said)
        .map_err(|e| Error::other(format!("cannot read what `time` wrote: {e}")))?;
    parse(&text, wall).ok_or_else(|| Error::other(format!("`time` wrote `{text}`")))
}

fn parse(text: &str, wall: f64) -> Option<Used> {
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()
        .ok()?;
    let [user, system, kib] = numbers[..] else {
        return None;
    };
    Some(Used {
        wall,
        cpu: user + system,
        memory: kib * 1024.0 / 1e6,
    })
}

/// Waits until nothing of what ran before is left to be written.
pub(super) fn settle() -> Result<()> {
    run(&mut Command::new("sync"))?;
    std::thread::sleep(std::time::Duration::from_millis(500));
    Ok(())
}

/// The middle of several measurements, with the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    /// The middle one.
    pub(super) median: f64,
    least: f64,
    most: f64,
}

/// Of what was measured; nothing of nothing.
pub(super) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len().is_multiple_of(2) {
        (values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0
    } else {
        *values.get(middle)?
    };
    Some(Spread {
        median,
        least: *values.first()?,
        most: *values.last()?,
    })
}

impl Spread {
    /// `1.23 (1.20–1.41)`.
    pub(super) fn text(&self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$}–{:.digits$})",
            self.median, self.least, self.most
        )
    }
}

/// One of the things that `Used` holds, of many, for a table.
pub(super) fn column(all: &[Used], pick: fn(&Used) -> f64, digits: usize) -> String {
    spread(all.iter().map(pick)).map_or_else(|| "—".into(), |s| s.text(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ends_are_found() {
        assert_eq!(spread([3.0, 1.0, 2.0]).unwrap().text(1), "2.0 (1.0–3.0)");
        assert_eq!(spread([4.0, 1.0]).unwrap().text(2), "2.50 (1.00–4.00)");
        assert_eq!(spread([]), None);
    }

    #[test]
    fn a_program_is_measured_with_what_it_starts() {
        if !elea_testkit::has("time") {
            println!("skipped: no time");
            return;
        }
        let busy = "dd if=/dev/zero of=/dev/null bs=30M count=40 2>/dev/null; sleep 0.1";
        let used = script(busy, &[]).unwrap();
        assert!(used.memory > 30.0, "{used:?}");
        assert!(used.cpu > 0.0 && used.wall > 0.1, "{used:?}");
        assert!(script("exit 3", &[]).is_err());
        assert_eq!(parse("1.0 x 3", 1.0), None);
    }
}
