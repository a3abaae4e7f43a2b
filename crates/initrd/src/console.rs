//! Lines for the person and for the record: they go through the kernel's log, so that every
//! console shows them, a panic record keeps them, and the journal of the boot has them.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

const KMSG: &str = "/dev/kmsg";
/// How much of the kernel's log is kept as evidence, in bytes.
const KEPT: usize = 64 << 10;

fn put(level: u8, text: &str) {
    let Ok(mut kmsg) = OpenOptions::new().write(true).open(KMSG) else {
        return;
    };
    for line in text.lines() {
        // One write is one record; the kernel cuts at about 1,000 bytes.
        let line: String = line.chars().take(900).collect();
        let _ = kmsg.write_all(format!("<{level}>elea: {line}\n").as_bytes());
    }
}

/// What goes on; not shown with `quiet`.
pub(crate) fn note(text: &str) {
    put(5, text);
}

/// What the person should know.
pub(crate) fn warn(text: &str) {
    put(4, text);
}

/// Why the boot ends; shown on every console, even one that shows no errors.
pub(crate) fn error(text: &str) {
    put(3, text);
    let shown = std::fs::read_to_string("/proc/sys/kernel/printk")
        .ok()
        .and_then(|s| s.split_whitespace().next()?.parse::<u8>().ok());
    if shown.is_none_or(|level| level <= 3)
        && let Ok(mut console) = OpenOptions::new().write(true).open("/dev/console")
    {
        let _ = writeln!(console, "elea: {text}");
    }
}

/// The end of the kernel's log so far.
pub(crate) fn kernel_log() -> String {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let Ok(mut kmsg) = OpenOptions::new()
        .read(true)
        .custom_flags(nonblock)
        .open(KMSG)
    else {
        return String::new();
    };
    let mut log = String::new();
    while let Some(record) = record(&mut kmsg) {
        log.push_str(&record);
        if log.len() > 2 * KEPT {
            log = tail(&log);
        }
    }
    tail(&log)
}

/// One record as `seconds text`; `None` at the end.
fn record(kmsg: &mut File) -> Option<String> {
    let mut buffer = [0; 8192];
    let length = loop {
        match kmsg.read(&mut buffer) {
            // Records were overwritten while being read: go on with the next.
            Err(e) if e.raw_os_error() == Some(32) => {}
            result => break result.ok()?,
        }
    };
    let text = String::from_utf8_lossy(&buffer[..length]);
    let (head, message) = text.split_once(';')?;
    let micros: u64 = head.split(',').nth(2)?.parse().ok()?;
    let line = message.lines().next().unwrap_or_default();
    Some(format!(
        "[{:5}.{:06}] {line}\n",
        micros / 1_000_000,
        micros % 1_000_000
    ))
}

fn tail(log: &str) -> String {
    let mut start = log.len().saturating_sub(KEPT);
    while !log.is_char_boundary(start) {
        start += 1;
    }
    log[start..].to_owned()
}
