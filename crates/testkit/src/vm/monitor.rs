//! QEMU's monitor protocol, as far as a machine needs it.
//!
//! Source: QEMU's `docs/interop/qmp-spec`: a greeting, `qmp_capabilities`, then one JSON
//! object for each command; events come between.

use crate::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A connection; QEMU takes one at a time.
#[derive(Debug)]
pub(super) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects and agrees on the protocol.
    pub(super) fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).map_err(|e| wrong(&e))?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .map_err(|e| wrong(&e))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.read()?;
        monitor.execute("qmp_capabilities", None)?;
        Ok(monitor)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(|e| wrong(&e))?;
        serde_json::from_str(&line)
            .map_err(|e| Error::other(format!("QEMU's monitor said `{line}`: {e}")))
    }

    /// Runs one command.
    pub(super) fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<()> {
        let mut request = json!({"execute": command});
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        let text = format!("{request}\n");
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(|e| wrong(&e))?;
        loop {
            let answer = self.read()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                return Err(Error::other(format!("QEMU refused `{command}`: {error}")));
            }
        }
    }
}

fn wrong(e: &std::io::Error) -> Error {
    Error::other(format!("QEMU's monitor does not answer: {e}"))
}
