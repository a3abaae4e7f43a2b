//! The document: one section for each part, and what it was measured with.

use crate::{Result, workspace};
use elea_testkit::{Error, run};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What one part of the measurements came to.
#[derive(Debug)]
pub(super) struct Section {
    /// Its headline.
    pub(super) title: &'static str,
    /// The heads of the columns; the first column names the row.
    pub(super) head: Vec<String>,
    /// The rows.
    pub(super) rows: Vec<Vec<String>>,
    /// How it was measured.
    pub(super) how: String,
}

impl Section {
    fn text(&self, when: &str) -> String {
        let mut text = format!("## {}\n\n", self.title);
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        text += &line(&self.head);
        text += &line(&vec!["---".to_owned(); self.head.len()]);
        self.rows.iter().for_each(|row| text += &line(row));
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}\n\nMeasured {when}.", self.how.trim());
        text
    }
}

/// When something was measured, by which command, and what else the machine did.
pub(super) fn when(command: &str) -> Result<String> {
    let when = run(Command::new("date").args(["-u", "+on %F at %H:%M UTC"]))?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(", ");
    Ok(format!(
        "{} by `{command}`; load of the machine at the end: {load} (1, 5, 15 minutes)",
        when.trim()
    ))
}

/// Shows a section and keeps it, so that a run that is cut off later loses nothing.
pub(super) fn keep(folder: &Path, part: &str, section: &Section, command: &str) -> Result<()> {
    let text = section.text(&when(command)?);
    println!("\n{text}");
    write(&folder.join(format!("section-{part}.md")), &text)
}

/// Puts the sections together that are there.
pub(super) fn document(folder: &Path, parts: &[&str]) -> Result<()> {
    let mut text = String::from(
        "# Figures of the main job\n\n\
         Written by `cargo xtask bench`. Rows of one table were measured in one run, one after the other in each\n\
         round, so they may be compared with each other; another machine gives other numbers. Each\n\
         figure is the median, with the least and the most in brackets.\n\n",
    );
    text += &machine(MAIN_JOB)?;
    for part in parts {
        let path = folder.join(format!("section-{part}.md"));
        if let Ok(section) = fs::read_to_string(&path) {
            text = format!("{text}\n{section}");
        }
    }
    write(&workspace().join("docs/bench/main-job.md"), &text)
}

/// The machine that was measured, by its own words.
const MACHINE: &str = r#"
first() { "$@" 2>/dev/null | head -n1; }
printf 'Machine: %s processors (%s), %s GiB of memory, Linux %s, %s, %s.\n' "$(nproc)" \
    "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n1)" \
    "$(awk '/MemTotal/ {printf "%d", $2/1048576 + 0.5}' /proc/meminfo)" "$(uname -r)" \
    "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)" "$(findmnt -n -o FSTYPE -T .)"
ostree=$(ostree --version | sed -n "s/^ Version: '\(.*\)'/\1/p")
"#;

/// The programs that the main job was compared with.
pub(super) const MAIN_JOB: &str = r#"
printf 'Compared with: ostree %s, %s, %s, %s, %s.\n' "$ostree" \
    "$(first nix-store --version)" "$(first cp --version)" "$(first qemu-system-x86_64 --version)" \
    "$(mke2fs -V 2>&1 | head -n1)"
"#;

/// The programs that the store was compared with.
pub(super) const STORES: &str = r#"
printf 'Compared with: ostree %s, %s, %s, %s, %s, %s.\n' "$ostree" \
    "$(first nix-store --version)" "$(first cp --version)" "$(first skopeo --version)" \
    "$(first umoci --version)" "$(first podman --version)"
"#;

/// The machine, and the programs that one of the scripts names.
pub(super) fn machine(programs: &str) -> Result<String> {
    let text = format!("{MACHINE}{programs}");
    run(Command::new("sh")
        .args(["-c", &text])
        .current_dir(workspace()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_a_table() {
        let cells = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        let section = Section {
            title: "Import",
            head: cells(["what", "wall"]),
            rows: vec![cells(["cp", "1 s"])],
            how: "Warm.".into(),
        };
        assert_eq!(
            section.text("today"),
            "## Import\n\n| what | wall |\n| --- | --- |\n| cp | 1 s |\n\nWarm.\n\nMeasured today.\n"
        );
    }
}
