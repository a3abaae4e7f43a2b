//! Programs as children that cannot outlive us.

use crate::{Error, Result};
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output, Stdio};

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Said {
    /// Whether it ended well.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }

    /// Both streams, one after the other.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A long-running child: the kernel kills it when the thread that starts it ends, and Ctrl-C
/// on the terminal goes to us alone, who then end it.
pub fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

/// Runs a program to its end and gives what it said, however it ended.
pub fn say(command: &mut Command) -> Result<Said> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            source,
        })?;
    Ok(output.into())
}

/// Runs a program that must end well, and gives its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let said = say(command)?;
    if said.ok() {
        return Ok(said.out);
    }
    Err(Error::Failed {
        command: line(command),
        status: said.code.map_or("a signal".into(), |c| format!("code {c}")),
        output: tail(&said.all(), 30),
    })
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A port of the loopback address that nobody listens on now.
pub fn free_port() -> Result<u16> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|e| Error::other(format!("no free port on loopback: {e}")))
}
