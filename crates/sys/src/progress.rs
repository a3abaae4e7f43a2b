//! How long work tells what it does, without knowing of terminals.

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as MB.
    Bytes,
    /// Files, packages, steps.
    Items,
}

/// A listener to long work; the command line draws bars or prints lines.
pub trait Progress: Send + Sync {
    /// A step begins; it ends when the next begins or [`Progress::finish`] is called.
    fn start(&self, step: &str, total: Option<u64>, unit: Unit);
    /// The step went on by `amount`.
    fn advance(&self, amount: u64);
    /// The last step is over.
    fn finish(&self);
    /// A line for the person, above the bars.
    fn note(&self, text: &str);
    /// Whether the person asked to stop (Ctrl-C); long loops ask and end cleanly.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: &str, _: Option<u64>, _: Unit) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
    fn note(&self, _: &str) {}
}
