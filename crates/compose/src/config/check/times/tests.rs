//! systemd itself is asked.

use super::{calendar, span};
use std::process::{Command, Stdio};

/// Whether `systemd-analyze VERB` takes a text; none where there is no such program.
fn systemd(verb: &str, text: &str) -> Option<bool> {
    let mut command = Command::new("systemd-analyze");
    command.args([verb, "--", text]).stdin(Stdio::null());
    let output = command.output().ok()?;
    Some(output.status.success())
}

const CALENDARS: &[&str] = &[
    "daily",
    "Sun 03:00",
    "Mon..Fri *-*-* 03:00",
    "Mon,Tue *-*~1 2:3:4.5",
    "*:0/15",
    "mon-fri",
    "*-02~03/2",
    "0/2:00",
    "1-1",
    "1:2:3/0.5",
    "03:00 UTC",
    "03:00 Europe/Vienna",
    "*:*:*",
    "1,2,3:00",
    "5..5:00",
    "2030-01-01 00:00:00",
    "*-*-1,15 4:30",
    "*-1..6-1",
    "sunday 1:00",
    "minutely",
    "quarterly",
    "semi-annually",
    "Sat,Sun 12:05",
    "weekly",
    "Sat",
    "*-*-*",
    "*/2:00",
    "9..17/2:30",
    "2..4/1:00",
    "*:00/7",
    "3:7:0/20",
    "01-01",
    "2030-2-3",
    // These are none.
    "2024-13-01",
    "Fri..Mon",
    "12..8:00",
    "2..1-1",
    "*-*-31..5",
    "noon",
    "03:00 ",
    "Sun,03:00",
    "3",
    "*/5",
    "1:60",
    "1:59:60",
    "24:00",
    "2300-1-1",
    "10-12/2-01",
    "..5:00",
    "",
    "Mon *",
    "2024-01-01T03:00",
    "*:0/0",
    "Monday..Tues 1:00",
    "-1:00",
    "1,,2:00",
    "*,2:00",
    "*..3:00",
    "2/70:0",
    "weekdays",
    "weekends",
    "Sun Mon",
    "3:00 Sun",
    "3:00 3:00",
    "Sun  3:00 x",
    "1:2:3:4",
    "1-2-3-4",
    "*-*-0",
    "*-0-1",
    "1:-1",
    "a:b",
    "1..2..3:0",
    "*/1/2:0",
];

#[test]
fn calendars_are_those_that_systemd_takes() {
    for text in CALENDARS {
        let Some(taken) = systemd("calendar", text) else {
            println!("skipped: no systemd-analyze");
            return;
        };
        assert_eq!(calendar(text), taken, "{text:?}");
    }
    // What is a person's slip rather than a wish is refused, though systemd takes it.
    for text in ["Mon,", "mon\n1:00", "@123", "0-1-1", "70-1-1"] {
        assert!(!calendar(text), "{text:?}");
    }
}

#[test]
fn spans_are_those_that_systemd_takes() {
    let spans = [
        "15min",
        "1h 30min",
        "90",
        "2 weeks",
        "1d12h",
        "5M",
        "3 months",
        "1y",
        "250ms",
        "0",
        "min",
        "",
        "5 parsecs",
        "1,5h",
        "-3min",
        "5m5",
        "1h30",
        "x5",
        "5min x",
        "10 s 3",
    ];
    for text in spans {
        let Some(taken) = systemd("timespan", text) else {
            println!("skipped: no systemd-analyze");
            return;
        };
        assert_eq!(span(text), taken, "{text:?}");
    }
}
