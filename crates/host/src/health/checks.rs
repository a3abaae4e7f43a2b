//! Check programs: Elea's folders and greenboot's.

use crate::verdict::CheckResult;
use elea_sys::progress::Progress;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that one program may take.
const LIMIT: Duration = Duration::from_mins(1);
/// The most output that is kept of one.
const MAX_OUTPUT: usize = 64 << 10;
/// More programs than this are not run.
const MAX_CHECKS: usize = 256;

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) path: PathBuf,
    pub(super) required: bool,
}

/// Where programs are looked for: folders of one line replace each other's programs by name, as
/// systemd's do; whether their failure fails the boot.
const FOLDERS: [(&[&str], bool); 5] = [
    (&["usr/lib/elea/health.d", "etc/elea/health.d"], true),
    (&["usr/lib/greenboot/check/required.d"], true),
    (&["etc/greenboot/check/required.d"], true),
    (&["usr/lib/greenboot/check/wanted.d"], false),
    (&["etc/greenboot/check/wanted.d"], false),
];

/// The programs of a system, in the order in which they are run.
pub(super) fn find(root: &Path) -> Vec<Check> {
    let mut found = Vec::new();
    for (folders, required) in FOLDERS {
        let mut named: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for folder in folders {
            let entries = fs::read_dir(root.join(folder));
            for entry in entries.into_iter().flatten().flatten().take(MAX_CHECKS) {
                named.insert(entry.file_name(), entry.path());
            }
        }
        let programs = named.into_values().filter(|path| is_program(path));
        found.extend(programs.map(|path| Check { path, required }));
    }
    found.truncate(MAX_CHECKS);
    found
}

fn is_program(path: &Path) -> bool {
    // Backup files and what packages leave behind are no checks.
    let hidden = path
        .file_name()
        .and_then(|n| n.to_str())
        .is_none_or(|n| n.starts_with('.') || n.ends_with('~') || n.contains(".dpkg-"));
    let metadata = fs::metadata(path);
    !hidden && metadata.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Runs them one after the other, all within `time`, until `progress` is cancelled.
pub(super) fn run_all(
    checks: &[Check],
    time: Duration,
    progress: &dyn Progress,
) -> Vec<CheckResult> {
    let begun = Instant::now();
    checks
        .iter()
        .take_while(|_| !progress.cancelled())
        .map(|check| {
            let left = time.saturating_sub(begun.elapsed());
            run(check, left.min(LIMIT), progress)
        })
        .collect()
}

/// The first required program that failed, as a reason.
pub(super) fn first_failure(results: &[CheckResult]) -> Option<String> {
    let failed = results.iter().find(|r| r.required && !r.passed)?;
    let said = failed.output.lines().rev().find(|l| !l.trim().is_empty());
    let said = said.map(|line| {
        let line: String = line.trim().chars().take(200).collect();
        format!(": {line}")
    });
    Some(format!(
        "the check {} failed ({}){}",
        failed.path.display(),
        failed.ended,
        said.unwrap_or_default()
    ))
}

fn run(check: &Check, limit: Duration, progress: &dyn Progress) -> CheckResult {
    let begun = Instant::now();
    let mut result = CheckResult {
        path: check.path.clone(),
        required: check.required,
        passed: false,
        ended: String::new(),
        seconds: 0.0,
        output: String::new(),
    };
    // One pipe for both, so that lines stand in their order.
    let started = std::io::pipe().and_then(|(read, write)| {
        let child = Command::new(&check.path)
            .stdin(Stdio::null())
            .stdout(write.try_clone()?)
            .stderr(write)
            .process_group(0)
            .spawn()?;
        Ok((read, child))
    });
    match started {
        Err(e) => result.ended = format!("it cannot be run: {e}"),
        Ok((read, mut child)) => {
            let output = collect(read);
            (result.passed, result.ended) = wait(&mut child, begun, limit, progress);
            // Whatever it left running must not hold the pipe or the boot.
            end_group(&child);
            let deadline = Instant::now() + Duration::from_secs(2);
            while !output.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
            if output.is_finished() {
                result.output = output.join().unwrap_or_default();
            }
        }
    }
    result.seconds = begun.elapsed().as_secs_f64();
    result
}

fn wait(
    child: &mut Child,
    begun: Instant,
    limit: Duration,
    progress: &dyn Progress,
) -> (bool, String) {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return (status.success(), status.to_string()),
            Ok(None) if progress.cancelled() => {
                end_group(child);
                let _ = child.wait();
                return (false, "it was cut short".into());
            }
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                end_group(child);
                let _ = child.wait();
                return (false, format!("no end after {} s", limit.as_secs()));
            }
            Err(e) => return (false, e.to_string()),
        }
    }
}

fn end_group(child: &Child) {
    let id = i32::try_from(child.id()).ok();
    if let Some(group) = id.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Reads to the end, keeping the last [`MAX_OUTPUT`] bytes.
fn collect(mut read: std::io::PipeReader) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(count) = read.read(&mut buffer)
            && count > 0
        {
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * MAX_OUTPUT {
                kept.drain(..kept.len() - MAX_OUTPUT);
            }
        }
        kept.drain(..kept.len().saturating_sub(MAX_OUTPUT));
        String::from_utf8_lossy(&kept).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::progress::Silent;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn script(root: &Path, path: &str, text: &str, mode: u32) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text_only = path.with_extension("text");
        fs::write(&text_only, format!("#!/bin/sh\n{text}\n")).unwrap();
        // Another test's child may hold what this process writes to: "text file busy".
        let copied = Command::new("cp").args([&text_only, &path]).status();
        assert!(copied.unwrap().success());
        fs::remove_file(text_only).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn programs_are_found_in_order_and_run_with_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        script(
            root,
            "usr/lib/elea/health.d/10-a",
            "echo of the image; exit 1",
            0o755,
        );
        script(
            root,
            "etc/elea/health.d/10-a",
            "echo of the machine; echo err >&2",
            0o755,
        );
        script(root, "etc/elea/health.d/20-masked", "exit 1", 0o644);
        script(root, "etc/elea/health.d/30-b~", "exit 1", 0o755);
        script(
            root,
            "usr/lib/greenboot/check/required.d/x.sh",
            "echo why; exit 3",
            0o755,
        );
        script(root, "etc/greenboot/check/wanted.d/w.sh", "exit 1", 0o755);
        script(
            root,
            "etc/greenboot/check/wanted.d/z.sh",
            "sleep 100 & sleep 100",
            0o755,
        );
        let checks = find(root);
        let names: Vec<_> = checks
            .iter()
            .map(|c| c.path.strip_prefix(root).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "etc/elea/health.d/10-a",
                "usr/lib/greenboot/check/required.d/x.sh",
                "etc/greenboot/check/wanted.d/w.sh",
                "etc/greenboot/check/wanted.d/z.sh"
            ]
        );
        let results = run_all(&checks, Duration::from_secs(2), &Silent);
        let passed: Vec<_> = results.iter().map(|r| r.passed).collect();
        assert_eq!(passed, [true, false, false, false], "{results:?}");
        assert_eq!(results[0].output, "of the machine\nerr\n");
        assert!(
            results[3].ended.starts_with("no end after"),
            "{:?}",
            results[3]
        );
        let reason = first_failure(&results).unwrap();
        assert!(reason.ends_with("failed (exit status: 3): why"), "{reason}");
        assert_eq!(first_failure(&results[2..]), None);
    }

    /// Cancelled from the second question on.
    struct Soon(AtomicUsize);

    impl Progress for Soon {
        fn start(&self, _: &str, _: Option<u64>, _: elea_sys::progress::Unit) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn note(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) > 0
        }
    }

    #[test]
    fn a_shutdown_does_not_wait_for_programs() {
        let dir = tempfile::tempdir().unwrap();
        script(dir.path(), "etc/elea/health.d/a", "sleep 100", 0o755);
        script(dir.path(), "etc/elea/health.d/b", "exit 0", 0o755);
        let checks = find(dir.path());
        let results = run_all(&checks, Duration::from_secs(50), &Soon(0.into()));
        assert_eq!(results.len(), 1);
        assert_eq!(results[0].ended, "it was cut short");
    }

    #[test]
    fn output_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        script(
            dir.path(),
            "etc/elea/health.d/a",
            "yes | head -c 1000000; echo end",
            0o755,
        );
        let results = run_all(&find(dir.path()), Duration::from_secs(20), &Silent);
        assert_eq!(results[0].output.len(), MAX_OUTPUT);
        assert!(results[0].output.ends_with("end\n") && results[0].passed);
    }
}
