//! `cargo xtask test`: everything that CI runs after the lints.

use crate::programs::{self, cargo, target_folder};
use crate::{Result, demo, judges, packages, show, talk, vm, workspace};
use elea_testkit::{Error, bound};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// No further scenario begins after this time: CI gives the whole run 45 minutes, lints included, and the
/// longest scenario takes more than ten.
const BUDGET: Duration = Duration::from_mins(17);

#[derive(Debug, Default)]
struct Count {
    passed: usize,
    failed: usize,
}

/// Runs them; the last line is the count alone.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let begun = Instant::now();
    let mut count = Count::default();
    let machines = !words.iter().any(|word| word == "--no-vm");
    if let Err(e) = all(begun, machines, &mut count) {
        count.failed += 1;
        println!("xtask: {e}");
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn all(begun: Instant, machines: bool, count: &mut Count) -> Result<()> {
    packages::install(&[packages::DEMO, packages::TEST])?;
    talk::headline("the oracle: the reference reader and writer of images");
    show(cargo().current_dir(workspace().join("oracle")).args([
        "build",
        "--release",
        "--locked",
        "--quiet",
    ]))?;
    talk::headline("the workspace's tests");
    workspace_tests(count)?;
    if !machines {
        return Ok(());
    }
    let scenarios = Scenarios::begin(BUDGET.saturating_sub(begun.elapsed()))?;
    match demo::run(&demo::Options::parse(&[])?) {
        ExitCode::SUCCESS => count.passed += 1,
        _ => count.failed += 1,
    }
    scenarios.end(count)
}

/// The scenarios of failure, played beside the demo: a guest has one processor, and the machine
/// more. What they say is kept in a file until the demo has told its story.
struct Scenarios {
    child: Child,
    said: PathBuf,
}

impl Scenarios {
    /// Begins them; none of them begins later than after `within`.
    fn begin(within: Duration) -> Result<Self> {
        let programs = programs::build()?.together(&target_folder().join("tested"))?;
        let said = target_folder().join("scenarios.log");
        let program = std::env::current_exe();
        let program = program.map_err(|e| Error::other(format!("cannot find xtask: {e}")))?;
        let fail = |e| Error::other(format!("cannot write {}: {e}", said.display()));
        let log = File::create(&said).map_err(fail)?;
        let child = bound(program)
            .env(programs::READY, &programs)
            .args(["vm", "--work"])
            .arg(target_folder().join("vm"))
            .args(["--begin-within", &within.as_secs().to_string()])
            .args(vm::TESTED)
            .stderr(log.try_clone().map_err(fail)?)
            .stdout(log)
            .spawn()
            .map_err(|e| Error::other(format!("cannot start the scenarios: {e}")))?;
        Ok(Self { child, said })
    }

    /// Waits for their end, shows what they said and counts.
    fn end(mut self, count: &mut Count) -> Result<()> {
        talk::headline("the scenarios of failure, as they went beside the demo");
        let status = self.child.wait();
        let status = status.map_err(|e| Error::other(format!("the scenarios: {e}")))?;
        let said = fs::read(&self.said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        println!("{said}");
        let rows: Vec<bool> = said.lines().filter_map(vm::passed).collect();
        let passed = rows.iter().filter(|row| **row).count();
        count.passed += passed;
        count.failed += rows.len() - passed;
        if !status.success() && passed == rows.len() {
            return Err(Error::other(format!("the scenarios ended with {status}")));
        }
        Ok(())
    }
}

/// Runs `cargo test` and counts what it says.
fn workspace_tests(count: &mut Count) -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    tests.envs(judges::roots()?);
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| Error::other(format!("cannot run cargo: {e}")))?;
    let failed_before = count.failed;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out)
            .lines()
            .map_while(std::result::Result::ok)
        {
            println!("{line}");
            if let Some((passed, failed)) = parse_result(&line) {
                count.passed += passed;
                count.failed += failed;
            }
        }
    }
    let status = child
        .wait()
        .map_err(|e| Error::other(format!("cargo: {e}")))?;
    if !status.success() && count.failed == failed_before {
        return Err(Error::other(format!("`cargo test` ended with {status}")));
    }
    Ok(())
}

/// The numbers of passed and failed tests in a line of the test harness.
fn parse_result(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let before = rest.split(word).next()?;
        before.rsplit(' ').find(|w| !w.is_empty())?.parse().ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_harness_is_understood() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(parse_result(line), Some((12, 3)));
        assert_eq!(parse_result("test a::b ... ok"), None);
    }
}
