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

/// What of a program's output is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listen {
    /// Standard error.
    Errors,
    /// Standard output, too: the checkers tell there what is wrong.
    All,
}

/// Runs it to its end and gives what it said, or ends it when the person asks to stop.
pub(super) fn run(
    program: &'static str,
    command: &mut Command,
    listen: Listen,
    progress: &dyn Progress,
) -> Result<String, Error> {
    let path = Path::new(command.get_program()).to_owned();
    let (mut said, writer) = std::io::pipe().at("make a pipe for", &path)?;
    let stdout = match listen {
        Listen::Errors => Stdio::null(),
        Listen::All => writer.try_clone().at("make a pipe for", &path)?.into(),
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(writer)
        .spawn()
        .at("run", &path)?;
    // The command holds the other end of the pipe; without this it would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        let _ = said.by_ref().take(MAX_OUTPUT).read_to_end(&mut text);
        let _ = std::io::copy(&mut said, &mut std::io::sink());
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

#[cfg(test)]
mod tests {
    use super::*;
    use elea_sys::progress::Silent;

    fn shell(line: &str, listen: Listen) -> Result<String, Error> {
        let mut command = command("sh", "dash").unwrap();
        run("sh", command.args(["-c", line]), listen, &Silent)
    }

    #[test]
    fn a_program_is_heard_and_its_failure_is_told() {
        let line = "echo out; echo err >&2";
        assert_eq!(shell(line, Listen::Errors).unwrap(), "err\n");
        assert_eq!(shell(line, Listen::All).unwrap(), "out\nerr\n");
        let failed = shell("echo wrong; exit 3", Listen::All).unwrap_err();
        assert_eq!(failed.to_string(), "sh failed: wrong");
        let failed = shell("exit 3", Listen::Errors).unwrap_err();
        assert_eq!(failed.to_string(), "sh failed: exit status: 3");
        let much = shell("head -c 1000000 /dev/zero | tr '\\0' x", Listen::All).unwrap();
        assert_eq!(much.len() as u64, MAX_OUTPUT);
        let none = command("no-such-program", "some-package").unwrap_err();
        assert!(none.to_string().contains("some-package"), "{none}");
    }
}
