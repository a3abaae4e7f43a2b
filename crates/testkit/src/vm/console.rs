//! The serial console: a log that grows over all boots.

use crate::process::tail;
use crate::{Error, Result};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// OVMF says it each time it starts a boot loader.
const FIRMWARE: &str = "BdsDxe: starting Boot";
/// The kernel's first line.
const KERNEL: &str = "Linux version ";

/// The log of a serial console.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
}

impl Console {
    /// The console that logs to this file.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were said so far; a place to look from later.
    pub fn length(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |m| m.len())
    }

    fn bytes(&self, from: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(from)).is_ok()
        {
            let _ = file.read_to_end(&mut bytes);
        }
        bytes
    }

    /// What was said from a place on, without the terminal's escape sequences.
    pub fn since(&self, from: u64) -> String {
        plain(&self.bytes(from))
    }

    /// The last lines from a place on.
    pub fn tail(&self, from: u64, lines: usize) -> String {
        tail(&self.since(from), lines)
    }

    /// Where a text ends that was said from a place on.
    pub fn find(&self, text: &str, from: u64) -> Option<u64> {
        let bytes = self.bytes(from);
        let at = bytes.windows(text.len()).position(|w| w == text.as_bytes());
        at.map(|at| from + (at + text.len()) as u64)
    }

    /// How often the firmware started a boot loader since a place.
    pub fn firmware_starts(&self, from: u64) -> usize {
        self.since(from).matches(FIRMWARE).count()
    }

    /// How often a kernel started since a place.
    pub fn kernel_starts(&self, from: u64) -> usize {
        self.since(from).matches(KERNEL).count()
    }

    /// Types into the console's socket.
    pub(super) fn type_text(socket: &Path, text: &str) -> Result<()> {
        UnixStream::connect(socket)
            .and_then(|mut stream| stream.write_all(text.as_bytes()))
            .map_err(|e| Error::other(format!("cannot type on the serial console: {e}")))
    }
}

/// Takes away escape sequences and carriage returns.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => {}
            '\u{1b}' => match letters.next() {
                Some('[') => {
                    // Parameters, then one final byte.
                    let _ = letters.find(|c| ('@'..='~').contains(c));
                }
                Some(']') => {
                    let _ = letters.find(|c| *c == '\u{7}' || *c == '\\');
                }
                _ => {}
            },
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_taken_away() {
        let said = b"\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001\r\n\x1b]3008;x\x1b\\[  \x1b[0;32mOK\x1b[0m  ] up\n";
        assert_eq!(plain(said), "BdsDxe: starting Boot0001\n[  OK  ] up\n");
    }

    #[test]
    fn a_place_in_the_log_can_be_looked_from() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Linux version 6\nlogin:\nLinux version 6\n").unwrap();
        let console = Console::new(file.path().to_owned());
        assert_eq!(console.kernel_starts(0), 2);
        let end = console.find("login:", 0).unwrap();
        assert_eq!(console.kernel_starts(end), 1);
        assert_eq!(console.find("login:", end), None);
        assert_eq!(console.tail(0, 1), "Linux version 6");
    }
}
