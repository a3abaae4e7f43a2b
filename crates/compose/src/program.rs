//! Other people's programs: run with a clean environment, stoppable, their words kept.

mod sandbox;
mod tools;

pub(crate) use sandbox::{Clock, Sandbox};
pub(crate) use tools::Tools;

use elea_sys::progress::Progress;
use elea_sys::{At as _, PathError};
use rustix::process::{Signal, kill_process, kill_process_group};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program prints is read up to this many bytes.
const LIMIT: u64 = 256 << 20;
/// How often it is looked whether a program ended or is to be stopped; at first more often,
/// since most programs end soon.
const PULSE: Duration = Duration::from_millis(30);
const FIRST_PULSE: Duration = Duration::from_millis(1);
/// A look at what a program does is taken at every so many pulses.
const LOOK: u32 = 16;
/// How long a program has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(20);

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error("cannot run {program}: {source}; install the package {package}")]
    Missing {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It failed.
    #[error("{program} failed ({status}):\n{words}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last of what it said.
        words: String,
    },
    /// It failed since a disk was full.
    #[error(
        "{program} found the disk full: {line}; make room in the folder of the work, or name another one by `--work`: it needs some gigabytes"
    )]
    Full {
        /// The program.
        program: String,
        /// The first of its lines that says so.
        line: String,
    },
    /// The person asked to stop.
    #[error("stopped as asked; nothing was changed")]
    Cancelled,
    /// Its words could not be kept.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// The environment that programs get, and nothing else of ours.
const ENVIRONMENT: [(&str, &str); 6] = [
    (
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ),
    ("HOME", "/root"),
    ("LC_ALL", "C.UTF-8"),
    ("TZ", "UTC"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("INITRD", "No"),
];

/// A program with the clean environment.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env_clear().envs(ENVIRONMENT).stdin(Stdio::null());
    command
}

/// Fails if a program is not there that others start where its absence is hard to tell.
pub(crate) fn require(name: &str, package: &'static str) -> Result<(), ProgramError> {
    let [(_, path), ..] = ENVIRONMENT;
    let there = |folder: &str| Path::new(folder).join(name).exists();
    if path.split(':').any(there) {
        return Ok(());
    }
    Err(ProgramError::Missing {
        program: name.to_owned(),
        package,
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// Runs a program to its end; its words go into the file `log`, what it prints is returned.
pub(crate) fn run(
    command: Command,
    package: &'static str,
    log: &Path,
    progress: &dyn Progress,
) -> Result<Vec<u8>, ProgramError> {
    run_watched(command, package, log, progress, || {})
}

/// The same, with a look at what it does every now and then.
pub(crate) fn run_watched(
    mut command: Command,
    package: &'static str,
    log: &Path,
    progress: &dyn Progress,
    look: impl FnMut(),
) -> Result<Vec<u8>, ProgramError> {
    let mut output = tempfile::tempfile().at("create a temporary file", std::env::temp_dir())?;
    let words = File::options()
        .create(true)
        .append(true)
        .open(log)
        .at("open", log)?;
    let begin = words.metadata().at("look at", log)?.len();
    let clone = output.try_clone().at("open", log)?;
    command.stdout(clone).stderr(words);
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| ProgramError::Missing {
        program: name.clone(),
        package,
        source,
    })?;
    let status = wait(child, progress, look)?;
    output.seek(SeekFrom::Start(0)).at("read", log)?;
    let mut printed = Vec::new();
    output
        .take(LIMIT)
        .read_to_end(&mut printed)
        .at("read", log)?;
    if status.success() {
        return Ok(printed);
    }
    let mut said = String::from_utf8_lossy(&printed).into_owned();
    said.push_str(&since(log, begin)?);
    // It may say so once for each file.
    let full = said
        .lines()
        .find(|line| line.contains("No space left on device"));
    if let Some(line) = full {
        let line = line.trim().to_owned();
        return Err(ProgramError::Full {
            program: name,
            line,
        });
    }
    Err(ProgramError::Failed {
        program: name,
        status,
        words: last_lines(&said, 40),
    })
}

fn wait(
    mut child: Child,
    progress: &dyn Progress,
    mut look: impl FnMut(),
) -> Result<ExitStatus, ProgramError> {
    let name = Path::new("a program");
    let mut pulse: u32 = 0;
    let mut rest = FIRST_PULSE;
    loop {
        pulse = pulse.wrapping_add(1);
        if pulse.is_multiple_of(LOOK) {
            look();
        }
        if let Some(status) = child.try_wait().at("wait for", name)? {
            return Ok(status);
        }
        if progress.cancelled() {
            stop(&mut child);
            return Err(ProgramError::Cancelled);
        }
        std::thread::sleep(rest);
        rest = PULSE.min(rest * 2);
    }
}

/// Asks a program to end, with all that it started if it leads them, and ends it if it does not.
fn stop(child: &mut Child) {
    let id = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        // The first process of a sandbox waits, whatever it is asked, for those that it started.
        let leads = rustix::process::getpgid(Some(id)) == Ok(id);
        let ask = if leads {
            kill_process_group
        } else {
            kill_process
        };
        let _ = ask(id, Signal::TERM);
    }
    let begun = Instant::now();
    while begun.elapsed() < GRACE {
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        std::thread::sleep(PULSE);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// What was added to a log since `begin`.
pub(crate) fn since(log: &Path, begin: u64) -> Result<String, PathError> {
    let mut file = File::open(log).at("open", log)?;
    file.seek(SeekFrom::Start(begin)).at("read", log)?;
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).at("read", log)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last_lines(text: &str, most: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(most);
    lines[first..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::progress::{Silent, Unit};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn shell(script: &str) -> Command {
        let mut command = program("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_says_is_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::fs::write(&log, "of another program\n").unwrap();
        let command = shell("echo printed; echo said >&2; exit 3");
        let error = run(command, "dash", &log, &Silent).unwrap_err().to_string();
        assert!(error.contains("printed\nsaid"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(!error.contains("another"), "{error}");
        let printed = run(shell("echo x"), "dash", &log, &Silent).unwrap();
        assert_eq!(printed, b"x\n");
        let error = run(program("/nonexistent"), "a-package", &log, &Silent).unwrap_err();
        assert!(error.to_string().contains("install the package a-package"));
    }

    #[test]
    fn a_full_disk_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script =
            "for name in a b c; do echo x | tee /dev/full >/dev/null; done; echo more >&2; false";
        let error = run(shell(script), "dash", &log, &Silent).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ProgramError::Full { .. }), "{text}");
        assert_eq!(text.matches("No space left").count(), 1, "{text}");
    }

    #[test]
    fn nothing_of_our_environment_reaches_a_program() {
        let dir = tempfile::tempdir().unwrap();
        let printed = run(shell("env"), "dash", &dir.path().join("log"), &Silent).unwrap();
        let text = String::from_utf8(printed).unwrap();
        assert!(text.contains("LC_ALL=C.UTF-8") && text.contains("TZ=UTC"));
        assert!(!text.contains("CARGO"), "{text}");
    }

    struct Stop(AtomicBool);

    impl Progress for Stop {
        fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
        fn advance(&self, _: u64) {}
        fn finish(&self) {}
        fn note(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn a_program_is_stopped_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let (log, mark) = (dir.path().join("log"), dir.path().join("ended"));
        let stop = Stop(AtomicBool::new(false));
        let script = format!(
            "trap 'echo > {}; exit 1' TERM; while :; do sleep 0.05; done",
            mark.display()
        );
        let look = || stop.0.store(true, Ordering::Relaxed);
        let error = run_watched(shell(&script), "dash", &log, &stop, look).unwrap_err();
        assert!(matches!(error, ProgramError::Cancelled));
        assert!(mark.exists(), "it could end by itself");
    }
}
