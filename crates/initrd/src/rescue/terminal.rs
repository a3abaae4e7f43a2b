//! Every console at once: what is said goes to all, and the first that answers is heard.

use rustix::event::{PollFd, PollFlags, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A line longer than this is cut.
const LINE: usize = 512;

/// The consoles of the machine.
#[derive(Debug)]
pub(crate) struct Terminal {
    consoles: Vec<(PathBuf, File, Vec<u8>)>,
    /// The one that was heard last.
    heard: usize,
}

impl Terminal {
    /// Opens the kernel's consoles, a screen and the first serial line, whichever are there.
    pub(crate) fn open() -> Self {
        let active = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut names: Vec<&str> = active.split_whitespace().collect();
        names.extend(["tty0", "ttyS0", "hvc0"]);
        let mut consoles: Vec<(PathBuf, File, Vec<u8>)> = Vec::new();
        let noctty = i32::try_from(rustix::fs::OFlags::NOCTTY.bits()).unwrap_or(0);
        for name in names {
            // tty0 stands for the screen that is shown; reading needs a real one.
            let name = if name == "tty0" { "tty1" } else { name };
            let path = PathBuf::from("/dev").join(name);
            if consoles.iter().any(|c| c.0 == path) {
                continue;
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(noctty)
                .open(&path);
            if let Ok(file) = file
                && rustix::termios::tcgetattr(&file).is_ok()
            {
                consoles.push((path, file, Vec::new()));
            }
        }
        Self { consoles, heard: 0 }
    }

    /// Says lines on every console.
    pub(crate) fn say(&mut self, text: &str) {
        for (_, file, _) in &mut self.consoles {
            let _ = writeln!(file, "{text}");
        }
    }

    /// Asks and waits for a line; `None` if there is no console left.
    pub(crate) fn ask(&mut self, prompt: &str) -> Option<String> {
        for (_, file, _) in &mut self.consoles {
            let _ = write!(file, "{prompt}");
        }
        while !self.consoles.is_empty() {
            let mut polled: Vec<_> = self
                .consoles
                .iter()
                .map(|(_, file, _)| PollFd::new(file, PollFlags::IN))
                .collect();
            let waited = poll(&mut polled, None);
            let ready: Vec<bool> = polled.iter().map(|p| !p.revents().is_empty()).collect();
            if waited.is_err() {
                continue;
            }
            for i in (0..ready.len()).rev().filter(|i| ready[*i]) {
                let (_, file, pending) = &mut self.consoles[i];
                let mut buffer = [0; LINE];
                match file.read(&mut buffer) {
                    Ok(length) if length > 0 => pending.extend_from_slice(&buffer[..length]),
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    // A console that hung up.
                    _ => {
                        self.consoles.remove(i);
                        self.heard = 0;
                        continue;
                    }
                }
                if let Some(line) = take_line(pending) {
                    self.heard = i;
                    return Some(line);
                }
            }
        }
        None
    }

    /// The console that was heard last, three times, for a program to run on it.
    pub(crate) fn stdio(&self) -> io::Result<(File, File, File)> {
        let (_, file, _) = self
            .consoles
            .get(self.heard)
            .ok_or(io::ErrorKind::NotConnected)?;
        Ok((file.try_clone()?, file.try_clone()?, file.try_clone()?))
    }
}

/// Takes the first line, trimmed; an overlong one is taken as it is.
fn take_line(pending: &mut Vec<u8>) -> Option<String> {
    let end = match pending.iter().position(|b| matches!(b, b'\n' | b'\r')) {
        Some(end) => end + 1,
        None if pending.len() >= LINE => LINE,
        None => return None,
    };
    let line: Vec<u8> = pending.drain(..end).collect();
    Some(String::from_utf8_lossy(&line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::take_line;

    #[test]
    fn lines_are_taken_one_by_one() {
        let mut pending = b"boot 3\r\nsta".to_vec();
        assert_eq!(take_line(&mut pending).as_deref(), Some("boot 3"));
        assert_eq!(take_line(&mut pending).as_deref(), Some(""));
        assert_eq!(take_line(&mut pending), None);
        pending.extend_from_slice(&[b'x'; 600]);
        assert_eq!(take_line(&mut pending).map(|l| l.len()), Some(512));
    }
}
