//! `cargo xtask test`: everything that CI runs after the lints.

use crate::programs::{cargo, target_folder};
use crate::vm::{self, Stage};
use crate::{Result, cosign, demo, packages, show, talk, workspace};
use elea_testkit::Error;
use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

/// No further scenario begins after this time: CI gives the whole run 45 minutes.
const BUDGET: Duration = Duration::from_mins(27);

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
    let options = demo::Options::parse(&[])?;
    if demo::run(&options) == ExitCode::SUCCESS {
        count.passed += 1;
    } else {
        count.failed += 1;
        return Ok(());
    }
    // The demo's folder has the releases and the registry already.
    let mut stage = Stage::open(&target_folder().join("demo"))?;
    for scenario in vm::tested() {
        if begun.elapsed() > BUDGET {
            println!("skipped: {} (no time left)", scenario.name);
            continue;
        }
        match vm::play(&mut stage, scenario).result {
            Ok(_) => count.passed += 1,
            Err(_) => count.failed += 1,
        }
    }
    Ok(())
}

/// Runs `cargo test` and counts what it says.
fn workspace_tests(count: &mut Count) -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    if let Some(root) = cosign::root()? {
        tests.env("ELEA_COSIGN_ROOT", root);
    }
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
