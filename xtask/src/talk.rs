//! What a person reads: headlines, commands with their output, and the timeline.

use std::process::Command;
use std::time::{Duration, Instant};

/// What happened, with its times.
#[derive(Debug)]
pub(crate) struct Timeline {
    begun: Instant,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Event {
    what: String,
    at: Duration,
    took: Duration,
    bytes: Option<u64>,
}

impl Timeline {
    /// Begins now.
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            events: Vec::new(),
        }
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// Runs something and keeps how long it took.
    pub(crate) fn measure<T>(
        &mut self,
        what: &str,
        run: impl FnOnce() -> crate::Result<T>,
    ) -> crate::Result<T> {
        let at = self.begun.elapsed();
        let result = run()?;
        self.events.push(Event {
            what: what.into(),
            at,
            took: self.begun.elapsed().saturating_sub(at),
            bytes: None,
        });
        Ok(result)
    }

    /// Adds the bytes that the last event fetched.
    pub(crate) fn fetched(&mut self, bytes: u64) {
        if let Some(event) = self.events.last_mut() {
            event.bytes = Some(bytes);
        }
    }

    /// The table for a person.
    pub(crate) fn table(&self) -> String {
        let head = format!("{:>8}  {:>7}  {:>12}  what", "at", "took", "fetched");
        let rows = self.events.iter().map(|event| {
            format!(
                "{:>6} s  {:>5} s  {:>12}  {}",
                event.at.as_secs(),
                event.took.as_secs(),
                event.bytes.map_or_else(String::new, size),
                event.what
            )
        });
        std::iter::once(head)
            .chain(rows)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// A number of bytes for a person.
pub(crate) fn size(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", tenths(1_000)),
        _ => format!("{} MB", tenths(1_000_000)),
    }
}

/// A new part of the story.
pub(crate) fn headline(text: &str) {
    println!("\n== {text}");
}

/// A plain line of the story.
pub(crate) fn note(text: &str) {
    println!("   {text}");
}

/// A command as a person would type it, before it runs.
pub(crate) fn prompt(place: &str, command: &str) {
    println!("   {place} {command}");
}

/// How many lines of one command are shown.
const LINES: usize = 45;

/// What a command said; of a long text the beginning.
pub(crate) fn output(text: &str) {
    let text = text.trim_end();
    for line in text.lines().take(LINES) {
        println!("   | {line}");
    }
    let more = text.lines().count().saturating_sub(LINES);
    if more > 0 {
        println!("   | … and {more} lines more");
    }
}

/// A command line as text.
pub(crate) fn line(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let name = program.rsplit('/').next().unwrap_or_default().to_owned();
    std::iter::once(name)
        .chain(command.get_args().map(|a| a.to_string_lossy().into_owned()))
        .collect::<Vec<_>>()
        .join(" ")
}
