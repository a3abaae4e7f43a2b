//! `cargo xtask test`: everything that CI runs after the formatting, lints included.

use crate::programs::{self, cargo, target_folder};
use crate::{Result, judges, packages, show, talk, vm, workspace};
use elea_testkit::{Error, bound};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No further scenario begins after this time: CI gives the whole run 45 minutes, lints included, and the
/// longest scenario takes more than ten.
const BUDGET: Duration = Duration::from_mins(15);

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
    let headline = |what: &str| {
        let seconds = begun.elapsed().as_secs();
        talk::headline(&format!("{what} ({seconds} s since the beginning)"));
    };
    // It takes longest, so it begins first, with what it installs; what follows waits for its programs, whose libraries
    // are the tests', and has what its machines leave of the processors.
    let demo = machines.then(|| Beside::begin("demo", &["demo"]));
    headline("the lints");
    lints()?;
    headline("the oracle: the reference reader and writer of images");
    show(cargo().current_dir(workspace().join("oracle")).args([
        "build",
        "--profile=tested",
        "--locked",
        "--quiet",
    ]))?;
    headline("the judges");
    let judges = judges::roots()?;
    headline("building the workspace's tests");
    let build = ["test", "--workspace", "--locked", "--quiet", "--no-run"];
    show(cargo().args(build))?;
    headline("the workspace's tests");
    workspace_tests(&judges, count)?;
    let Some(demo) = demo.transpose()? else {
        return Ok(());
    };
    headline("the tests have ended; the demo goes on, and live switches in namespaces");
    let demo_folder = target_folder().join("demo").display().to_string();
    let live = Beside::begin(
        "contained",
        &["contained", "--built", "--work", &demo_folder],
    )?;
    let (status, said) = live.end("live switches of an image's own system")?;
    let rows: Vec<bool> = said.lines().filter_map(vm::passed).collect();
    count.passed += rows.iter().filter(|row| **row).count();
    count.failed += rows.iter().filter(|row| !**row).count();
    if !status.success() && rows.iter().all(|row| *row) {
        return Err(Error::other(format!(
            "the live switches ended with {status}"
        )));
    }
    headline("the demo and scenarios go on");
    let within = BUDGET.saturating_sub(begun.elapsed()).as_secs().to_string();
    let work = target_folder().join("vm").display().to_string();
    let options = ["vm", "--work", &work, "--begin-within", &within];
    let scenarios = [&options[..], &vm::TESTED].concat();
    let scenarios = Beside::begin("scenarios", &scenarios)?;
    let (status, _) = demo.end("the demo, as it went beside the tests")?;
    if status.success() {
        count.passed += 1;
    } else {
        count.failed += 1;
    }
    let (status, said) = scenarios.end("the scenarios of failure, as they went beside the demo")?;
    let rows: Vec<bool> = said.lines().filter_map(vm::passed).collect();
    let passed = rows.iter().filter(|row| **row).count();
    count.passed += passed;
    count.failed += rows.len() - passed;
    if !status.success() && passed == rows.len() {
        return Err(Error::other(format!("the scenarios ended with {status}")));
    }
    Ok(())
}

/// What must not even warn: the code, then its documentation.
fn lints() -> Result<()> {
    let lint = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
    ];
    show(cargo().args(lint).args(["--", "-D", "warnings"]))?;
    let document = ["doc", "--workspace", "--no-deps", "--locked", "--quiet"];
    show(
        cargo()
            .env("RUSTDOCFLAGS", "-D warnings")
            .args(document)
            .arg("--document-private-items"),
    )
}

/// A part that goes on beside another one: a guest has one processor, and the machine more. What it says is
/// kept in a file until the other one has told its story.
struct Beside {
    child: Child,
    said: PathBuf,
}

impl Beside {
    /// Begins a command of this program, which builds what is tested.
    fn begin(name: &str, words: &[&str]) -> Result<Self> {
        let said = target_folder().join(format!("{name}.log"));
        let program = std::env::current_exe();
        let program = program.map_err(|e| Error::other(format!("cannot find xtask: {e}")))?;
        let fail = |e| Error::other(format!("cannot write {}: {e}", said.display()));
        let log = File::create(&said).map_err(fail)?;
        // An emulated processor has one thread, and everything waits for it; root alone may put it first.
        let child = bound("nice")
            .env(programs::PROFILE, "dev")
            .args(["-n", "-10"])
            .arg(program)
            .args(words)
            .stderr(log.try_clone().map_err(fail)?)
            .stdout(log)
            .spawn()
            .map_err(|e| Error::other(format!("cannot start the {name}: {e}")))?;
        Ok(Self { child, said })
    }

    /// Waits for its end and shows what it said: how it ended, and that.
    fn end(mut self, headline: &str) -> Result<(ExitStatus, String)> {
        let status = self.child.wait();
        let status = status.map_err(|e| Error::other(format!("{headline}: {e}")))?;
        let said = fs::read(&self.said).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        talk::headline(headline);
        println!("{said}");
        Ok((status, said))
    }
}

/// Runs `cargo test` and counts what it says.
fn workspace_tests(judges: &[(&str, PathBuf)], count: &mut Count) -> Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    tests.envs(judges.iter().map(|(name, root)| (name, root)));
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
