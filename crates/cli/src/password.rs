//! The password of a private key: from the environment as cosign takes it, or typed.

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

/// Where cosign looks.
const VARIABLE: &str = "COSIGN_PASSWORD";
/// The longest password that is read from a terminal, in bytes.
const LONGEST: u64 = 1024;

/// The password of a key that is there; none if nobody can be asked.
pub(crate) fn ask() -> Option<String> {
    given().or_else(|| typed("Password of the key: "))
}

/// A password for a new key, typed twice; none if nobody can be asked, or the two differ.
pub(crate) fn choose() -> Option<String> {
    given().or_else(|| {
        let first = typed("Password for the new key: ")?;
        typed("Once more: ").filter(|again| *again == first)
    })
}

fn given() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Reads a line from the terminal without showing it, whatever stdin and stdout are.
fn typed(question: &str) -> Option<String> {
    let terminal = File::options()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .ok()?;
    let before = tcgetattr(&terminal).ok()?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    silent.local_modes.insert(LocalModes::ECHONL);
    (&terminal).write_all(question.as_bytes()).ok()?;
    tcsetattr(&terminal, OptionalActions::Flush, &silent).ok()?;
    let mut line = Vec::new();
    let read = BufReader::new((&terminal).take(LONGEST)).read_until(b'\n', &mut line);
    // A terminal that stays silent is the worse mistake.
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    read.ok()?;
    let line = String::from_utf8(line).ok()?;
    line.strip_suffix('\n').map(str::to_owned)
}
