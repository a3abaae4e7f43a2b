//! `elea config migrate`.

use super::fmt::replace;
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options;
use crate::text::Lines as _;
use elea_compose::config::{self, Renamed};
use elea_sys::At as _;
use serde::Serialize;
use similar::TextDiff;
use std::path::{Path, PathBuf};

/// Write keys that had other names in an older Elea by their names of today
///
/// Of each config every file that it is made of is looked at. Old names are read all the same, with a warning.
/// Comments, the order and the values stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configs
    #[arg(default_value = options::CONFIG)]
    configs: Vec<PathBuf>,
    /// Show what would change, as a diff, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    /// The files that were changed, or would be.
    changed: Vec<Changed>,
    dry_run: bool,
}

#[derive(Serialize)]
struct Changed {
    file: PathBuf,
    renamed: Vec<Renamed>,
    /// As a unified diff.
    diff: String,
    #[serde(skip)]
    text: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let mut files = Vec::new();
    for config in &args.configs {
        let found = config::files(config);
        // One that cannot be read is said where it is read again.
        let found = if found.is_empty() {
            vec![config.clone()]
        } else {
            found
        };
        files.extend(
            found
                .into_iter()
                .filter(|file| !files.contains(file))
                .collect::<Vec<_>>(),
        );
    }
    // All are read before one is written.
    let mut changed = Vec::new();
    for file in &files {
        changed.extend(migrated(file)?);
    }
    if !args.dry_run {
        for one in &changed {
            replace(&one.file, &one.text)?;
        }
    }
    let shown = Shown {
        schema: "elea.config-migrate/1",
        changed,
        dry_run: args.dry_run,
    };
    context.show(&shown, |shown| {
        let mut out = String::new();
        for one in &shown.changed {
            if shown.dry_run {
                out.push_str(&one.diff);
                continue;
            }
            for Renamed { from, to } in &one.renamed {
                out.line(format!("{}: {from} is {to} now", one.file.display()));
            }
        }
        if out.is_empty() {
            out.line("every key has its name of today");
        }
        out
    })
}

fn migrated(file: &Path) -> Outcome<Option<Changed>> {
    let old = std::fs::read_to_string(file).at("read", file)?;
    if file.extension().is_some_and(|e| e == "json") {
        // A program writes it.
        return Ok(None);
    }
    let new = config::migrate(&old)
        .map_err(|e| Failure::new(Code::Config, format!("{}: {e}", file.display())))?;
    let name = file.display().to_string();
    Ok((!new.renamed.is_empty()).then(|| Changed {
        file: file.to_owned(),
        renamed: new.renamed,
        diff: diff(&name, &old, &new.text),
        text: new.text,
    }))
}

/// What two texts of a file differ in.
fn diff(name: &str, old: &str, new: &str) -> String {
    TextDiff::from_lines(old, new)
        .unified_diff()
        .header(name, name)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_has_what_changed_and_what_is_around_it() {
        let old = "a = 1\n# The old one.\nargs = []\nb = 2\n";
        let new = old.replace("args", "arguments");
        let expected = "--- elea.toml\n+++ elea.toml\n@@ -1,4 +1,4 @@\n a = 1\n # The old one.\n-args = []\n+arguments = []\n b = 2\n";
        assert_eq!(diff("elea.toml", old, &new), expected);
    }
}
