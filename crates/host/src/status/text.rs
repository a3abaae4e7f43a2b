//! A status for a person: what runs, what comes next, what went wrong; the rest only if it matters.

use super::{Coverage, EtcStatus, Space, Status, VerdictNow};
use crate::generations::Line;
use crate::view::State;
use elea_formats::booted::Verity;
use std::fmt::Write as _;

/// The text, one fact a line.
pub fn text(status: &Status) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(status, &mut out);
    out
}

fn write(status: &Status, out: &mut String) -> std::fmt::Result {
    running(status, out)?;
    next(status, out)?;
    for line in &status.generations {
        failed(status, line, out)?;
    }
    for refused in &status.refused {
        let shown = |line: &&Line| line.number == refused.number && has_failed(line);
        if !status.generations.iter().any(|l| shown(&l)) {
            let version = refused.version.as_deref().unwrap_or("?");
            fact(
                out,
                "Refused",
                &format!(
                    "{version}, generation {}: {}",
                    refused.number, refused.reason
                ),
            )?;
        }
    }
    let good: Vec<String> = status
        .generations
        .iter()
        .filter(|l| l.state == State::Good && !l.running)
        .map(|l| format!("{} ({})", l.number, title(l)))
        .collect();
    if !good.is_empty() {
        fact(out, "Good", &good.join(", "))?;
    }
    if let Some(etc) = &status.etc {
        self::etc(etc, out)?;
    }
    if let Some(drift) = &status.drift {
        for (number, what) in drift.all().take(20).enumerate() {
            fact(out, if number == 0 { "Drift" } else { "" }, what)?;
        }
    }
    if let Some(follows) = &status.follows {
        fact(out, "Follows", follows)?;
    }
    last_check(status, out)?;
    loader(status, out)?;
    for choice in &status.foreign {
        fact(
            out,
            "Set by others",
            &format!("{choice}: it changes what boots"),
        )?;
    }
    let space: Vec<String> = status.space.iter().map(self::space).collect();
    fact(out, "Space", &space.join(", "))?;
    if let Some(sealing) = &status.sealing {
        let text = format!(
            "{} of {} objects; reads are checked from the next boot on",
            sealing.done, sealing.total
        );
        fact(out, "Sealing", &text)?;
    }
    for warning in &status.warnings {
        fact(out, "Warning", warning)?;
    }
    Ok(())
}

/// A name of at most 14 letters, then the value.
fn fact(out: &mut String, name: &str, value: &str) -> std::fmt::Result {
    writeln!(out, "{name:>14}  {value}")
}

fn title(line: &Line) -> &str {
    line.title.as_deref().unwrap_or("no manifest")
}

fn running(status: &Status, out: &mut String) -> std::fmt::Result {
    let Some(running) = &status.running else {
        return fact(out, "Running", "nothing: this system lies on a disk");
    };
    let title = running.title.as_deref().unwrap_or("no manifest");
    fact(
        out,
        "Running",
        &format!("generation {}, {title}", running.number),
    )?;
    if let Some(applied) = running.applied {
        let line = status.generations.iter().find(|l| l.number == applied);
        let title = line.map(self::title).unwrap_or_default();
        fact(
            out,
            "/etc of",
            &format!("generation {applied}, {title}: applied since"),
        )?;
    }
    if let Some(usr) = &running.usr {
        let whose = match usr.generation {
            Some(number) => format!("generation {number}"),
            None => format!("image {}", usr.image),
        };
        let value = format!(
            "{whose}: mounted over that of generation {} since",
            running.number
        );
        fact(out, "/usr of", &value)?;
    }
    if let Some(since) = &running.since {
        fact(out, "since", since)?;
    }
    fact(out, "image", &running.image.to_string())?;
    let verdict = match &running.verdict {
        VerdictNow::Waiting => "not judged yet".to_owned(),
        VerdictNow::Committed => "healthy, good".to_owned(),
        VerdictNow::Healthy => "healthy; it becomes good by a boot through the firmware".to_owned(),
        VerdictNow::Unhealthy { reason } => format!("NOT healthy: {reason}"),
    };
    fact(out, "health", &verdict)?;
    let verity = match running.verity {
        Verity::Required => "each file is checked when it is read (fs-verity)",
        Verity::Unsealed => "not sealed yet: files are not checked",
        Verity::Unsupported => {
            "the file system has no fs-verity: the image was checked, files are not"
        }
    };
    fact(out, "integrity", verity)?;
    if running.rescue {
        fact(out, "booted by", "the rescue menu")?;
    }
    Ok(())
}

fn next(status: &Status, out: &mut String) -> std::fmt::Result {
    let running = status.running.as_ref().map(|r| r.number);
    match status.next {
        Some(next) if Some(next) == running => Ok(()),
        Some(next) => {
            let line = status.generations.iter().find(|l| l.number == next);
            let title = line.map_or("no manifest", title);
            let tries = line.and_then(|l| l.counter);
            let tries = tries.map_or_else(String::new, |c| format!(", {} tries left", c.left));
            fact(
                out,
                "Next boot",
                &format!("generation {next}, {title}{tries}"),
            )
        }
        None => fact(
            out,
            "Next boot",
            "no generation of Elea's: another entry, or the rescue menu",
        ),
    }
}

fn has_failed(line: &Line) -> bool {
    matches!(line.state, State::Failed | State::Vanished)
}

fn failed(status: &Status, line: &Line, out: &mut String) -> std::fmt::Result {
    if !has_failed(line) {
        return Ok(());
    }
    let refused = status.refused.iter().find(|r| r.number == line.number);
    let reason = line
        .reason
        .as_deref()
        .or_else(|| refused.map(|r| r.reason.as_str()))
        .unwrap_or("its tries are used up");
    fact(
        out,
        "Failed",
        &format!("generation {}, {}: {reason}", line.number, title(line)),
    )?;
    let evidence = match line.evidence {
        0 => format!("`elea log show {}` tells what is known", line.number),
        1 => format!("`elea log show {}` shows the evidence", line.number),
        n => format!(
            "`elea log show {}` shows the evidence of {n} boots",
            line.number
        ),
    };
    fact(out, "", &evidence)?;
    if refused.is_some() && line.state == State::Failed {
        let text = format!(
            "it is not offered again; `elea retry {}` tries it again",
            line.number
        );
        fact(out, "", &text)?;
    }
    Ok(())
}

fn etc(etc: &EtcStatus, out: &mut String) -> std::fmt::Result {
    let edits = match etc.edits {
        0 => "as the image has it".to_owned(),
        1 => "1 local edit (`elea etc diff`)".to_owned(),
        n => format!("{n} local edits (`elea etc diff`)"),
    };
    fact(out, "/etc", &edits)?;
    for conflict in etc.conflicts.iter().chain(&etc.clashes).take(20) {
        fact(out, "conflict", &format!("/etc/{conflict}"))?;
    }
    match etc.offered {
        Some(number) => fact(
            out,
            "",
            &format!(
                "generation {number}, which failed, has an /etc of its own: /sysroot/elea/generations/{number}/etc/upper"
            ),
        ),
        None => Ok(()),
    }
}

fn last_check(status: &Status, out: &mut String) -> std::fmt::Result {
    let Some(check) = &status.last_check else {
        return Ok(());
    };
    let found = match (&check.error, &check.offered) {
        (Some(error), _) => format!("failed: {error}"),
        (None, Some(version)) => format!("{version} was there"),
        (None, None) => "nothing newer".to_owned(),
    };
    fact(out, "last look", &format!("{}: {found}", check.time))
}

fn loader(status: &Status, out: &mut String) -> std::fmt::Result {
    let loader = &status.loader;
    let name = loader.name.as_deref().unwrap_or("unknown");
    let coverage = match loader.coverage {
        Coverage::Full => "full",
        Coverage::Partial => "partial",
        Coverage::Unknown => return Ok(()),
    };
    fact(
        out,
        "Boot loader",
        &format!("{name}; boot-failure coverage: {coverage}"),
    )?;
    for gap in &loader.gaps {
        fact(out, "not covered", gap)?;
    }
    Ok(())
}

fn space(space: &Space) -> String {
    format!(
        "{} free of {} on {}",
        size(space.free),
        size(space.size),
        match space.place {
            "boot" => "the boot partition",
            _ => "the disk",
        }
    )
}

/// Powers of ten, as disks are sold.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10),
    }
}
