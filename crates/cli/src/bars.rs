//! Progress: bars on a terminal, one line for each step elsewhere.

use crate::text;
use elea_sys::progress::{Progress, Unit};
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Draws on stderr.
pub(crate) struct Bars {
    kind: Kind,
    step: Mutex<Option<Step>>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Quiet,
    Lines,
    Terminal,
}

struct Step {
    name: String,
    unit: Unit,
    done: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
}

impl Bars {
    /// `cancelled` is set by Ctrl-C.
    pub(crate) fn new(quiet: bool, cancelled: Arc<AtomicBool>) -> Self {
        let kind = if quiet {
            Kind::Quiet
        } else if std::io::stderr().is_terminal() {
            Kind::Terminal
        } else {
            Kind::Lines
        };
        Self {
            kind,
            step: Mutex::new(None),
            cancelled,
        }
    }

    fn end(&self, step: Option<Step>) {
        let Some(step) = step else { return };
        if let Some(bar) = &step.bar {
            bar.finish_and_clear();
        }
        let seconds = step.begun.elapsed().as_secs_f64();
        let amount = match (step.done, step.unit) {
            (0, _) => String::new(),
            (done, Unit::Bytes) => DecimalBytes(done).to_string(),
            (done, Unit::Items) => done.to_string(),
        };
        let amount = if amount.is_empty() {
            amount
        } else {
            format!("{amount}, ")
        };
        self.line(&format!("{}: {amount}{seconds:.1} s", step.name));
    }

    fn line(&self, text: &str) {
        if self.kind != Kind::Quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<Step>> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Bars {
    fn start(&self, step: &str, total: Option<u64>, unit: Unit) {
        let mut current = self.locked();
        self.end(current.take());
        let bar = (self.kind == Kind::Terminal).then(|| bar(step, total, unit));
        *current = Some(Step {
            name: step.to_owned(),
            unit,
            done: 0,
            begun: Instant::now(),
            bar,
        });
    }

    fn advance(&self, amount: u64) {
        if let Some(step) = self.locked().as_mut() {
            step.done += amount;
            if let Some(bar) = &step.bar {
                bar.inc(amount);
            }
        }
    }

    fn finish(&self) {
        let step = self.locked().take();
        self.end(step);
    }

    fn note(&self, text: &str) {
        let text = &text::plain(text);
        match self.locked().as_ref().and_then(|step| step.bar.as_ref()) {
            Some(bar) => bar.println(text),
            None => self.line(text),
        }
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // A step that failed leaves no half bar above the error.
        if let Some(bar) = self.locked().take().and_then(|step| step.bar) {
            bar.finish_and_clear();
        }
    }
}

fn bar(step: &str, total: Option<u64>, unit: Unit) -> ProgressBar {
    let template = match (total, unit) {
        (Some(_), Unit::Bytes) => {
            "{msg:24} {wide_bar} {decimal_bytes:>10} of {decimal_total_bytes}, {eta} left"
        }
        (Some(_), Unit::Items) => "{msg:24} {wide_bar} {human_pos:>8} of {human_len}",
        (None, Unit::Bytes) => "{spinner} {msg:24} {decimal_bytes}, {elapsed}",
        (None, Unit::Items) => "{spinner} {msg:24} {elapsed}",
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(step.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}
