//! `[timers.NAME]`: a command and when it runs.

use super::super::check;
use super::super::reader::{Fields, Located, Reader};
use super::values;
use serde::Serialize;
use std::collections::BTreeMap;

/// `[timers.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// When: a calendar event of systemd.time(7).
    pub calendar: String,
    /// The program and its arguments, each as it is: there is no shell.
    pub command: Vec<String>,
    /// Who runs it.
    pub user: String,
    /// Whether a run that was missed, since the machine was off, is made up for.
    pub persistent: bool,
    /// It starts up to so much later: not all machines at once.
    pub delay: Option<String>,
}

/// Reads every timer.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Timer> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "timers") {
        let fits: fn(&str) -> bool =
            |name| name.len() <= 200 && check::unit_stem(name) && !name.contains(['@', '\\']);
        let rule = "the name of a unit, without its type";
        let name = reader.check("timers", name, fits, rule);
        let timer = timer(reader, &mut fields);
        reader.finish(&fields);
        if let (Some(name), Some(timer)) = (name, timer) {
            out.insert(name.value, timer);
        }
    }
    out
}

fn timer(reader: &mut Reader, f: &mut Fields) -> Option<Timer> {
    let rule = "a calendar event as `systemd-analyze calendar` takes it: daily, Mon..Fri 03:00, *-*-01 04:30";
    let calendar = reader.checked(f, "calendar", check::times::calendar, rule);
    let calendar = reader.needed(calendar, f, "calendar", "\"daily\"");
    let command = command(reader, f);
    let user = reader.checked(f, "user", check::account, "an account's name");
    let persistent = reader.boolean(f, "persistent");
    let rule = "a span of time, such as 15min";
    let delay = reader.checked(f, "delay", check::times::span, rule);
    Some(Timer {
        calendar: calendar?.value,
        command: command?,
        user: user.map_or_else(|| "root".into(), |l| l.value),
        persistent: persistent.unwrap_or(false),
        delay: delay.map(|l| l.value),
    })
}

/// A command as a list: the program and its arguments.
fn command(reader: &mut Reader, f: &mut Fields) -> Option<Vec<String>> {
    let words = reader.texts(f, "command");
    let example = "[\"/usr/bin/true\"]";
    let given = (!words.is_empty()).then_some(words);
    let words: Vec<Located<String>> = reader.needed(given, f, "command", example)?;
    let name = f.full("command");
    let mut good = true;
    for (number, word) in words.iter().enumerate() {
        let (fits, rule): (fn(&str) -> bool, &str) = match number {
            0 => (program, "a program: its absolute path, or a plain name"),
            _ => (check::line, "without line ends and control characters"),
        };
        good &= reader.check(&name, word.clone(), fits, rule).is_some();
    }
    good.then(|| values(words))
}

/// A program as `ExecStart=` takes it (systemd.service(5)), without the prefixes that change how it runs.
fn program(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let named = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    (check::path(text) && !text.contains(['$', '"', '\\']))
        || (named && text.len() <= 255 && text.chars().all(plain))
}
