//! The file systems' own programs, which can be stopped.

use super::error::Error;
use elea_sys::At as _;
use elea_sys::progress::Progress;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// What a program said, at most this many bytes of it.
const MAX_OUTPUT: u64 = 64 << 10;

/// Where system programs are, besides `PATH`: an ordinary `PATH` has no `sbin`.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether a program can be run.
pub(super) fn is_installed(program: &str) -> bool {
    find(program).is_some()
}

/// A program that is there, or an error that names its package.
pub(super) fn command(program: &'static str, package: &'static str) -> Result<Command, Error> {
    let path = find(program).ok_or(Error::NoProgram { program, package })?;
    let mut command = Command::new(path);
    command.env("LC_ALL", "C");
    Ok(command)
}

/// Runs it to its end and gives what it said on standard error, or ends it when the person
/// asks to stop.
pub(super) fn run(
    program: &'static str,
    command: &mut Command,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let path = Path::new(command.get_program()).to_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .at("run", &path)?;
    let errors = child.stderr.take();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut errors) = errors {
            let _ = errors.by_ref().take(MAX_OUTPUT).read_to_end(&mut text);
            let _ = std::io::copy(&mut errors, &mut std::io::sink());
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let mut stopped = false;
    let status = loop {
        if let Some(status) = child.try_wait().at("wait for", &path)? {
            break status;
        }
        if progress.cancelled() && !stopped {
            stopped = true;
            let _ = child.kill();
        }
        thread::sleep(Duration::from_millis(10));
    };
    let output = reader.join().unwrap_or_default();
    // Ctrl-C on a terminal reaches the program before it reaches us.
    if stopped || progress.cancelled() {
        return Err(Error::Cancelled);
    }
    if !status.success() {
        let output = match output.trim() {
            "" => status.to_string(),
            said => said.to_owned(),
        };
        return Err(Error::Program { program, output });
    }
    Ok(output)
}
