//! `elea config fmt`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::text::Lines as _;
use crate::{options, places};
use elea_compose::config;
use elea_sys::{At as _, durable};
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Write configs as they are usually written: comments, the order and the values stay
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files; `-` is what comes by stdin, and goes to stdout
    #[arg(default_value = options::CONFIG)]
    configs: Vec<PathBuf>,
    /// Change nothing, and fail if something would be changed
    #[arg(long)]
    check: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    /// The files that were changed, or would be.
    changed: Vec<PathBuf>,
    checked: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if args.configs == [Path::new("-")] {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .at("read", "stdin")?;
        let formatted = formatted(Path::new("stdin"), &text)?;
        let same = formatted == text;
        if !args.check {
            return context.show(&formatted, String::clone);
        }
        return Ok(if same { Code::Done } else { Code::Failed });
    }
    // All are read before one is written.
    let mut changed = Vec::new();
    for path in &args.configs {
        let text = std::fs::read_to_string(path).at("read", path)?;
        let formatted = formatted(path, &text)?;
        if formatted != text {
            changed.push((path.clone(), formatted));
        }
    }
    if !args.check {
        for (path, text) in &changed {
            replace(path, text)?;
        }
    }
    let is_clean = changed.is_empty() || !args.check;
    let shown = Shown {
        schema: "elea.config-fmt/1",
        changed: changed.into_iter().map(|(path, _)| path).collect(),
        checked: args.check,
    };
    context.show(&shown, |shown| {
        let what = if shown.checked {
            "is not tidy"
        } else {
            "was made tidy"
        };
        let mut out = String::new();
        for path in &shown.changed {
            out.line(format!("{} {what}", path.display()));
        }
        out
    })?;
    Ok(if is_clean { Code::Done } else { Code::Failed })
}

/// Puts a text in the place of a file's, whose mode stays.
pub(super) fn replace(path: &Path, text: &str) -> Outcome<()> {
    let path = std::fs::canonicalize(path).at("find", path)?;
    let mode = std::fs::metadata(&path).at("look at", &path)?.permissions();
    let folder = places::folder_of(&path);
    let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    file.write_all(text.as_bytes()).at("write", &path)?;
    file.as_file().set_permissions(mode).at("write", &path)?;
    file.as_file().sync_all().at("write", &path)?;
    file.persist(&path)
        .map_err(|e| e.error)
        .at("write", &path)?;
    Ok(durable::sync_folder(folder)?)
}

fn formatted(path: &Path, text: &str) -> Outcome<String> {
    if path.extension().is_some_and(|e| e == "json") {
        let text = format!("{} is JSON, and only TOML is made tidy", path.display());
        return Err(Failure::new(Code::Usage, text));
    }
    config::format(text).map_err(|e| Failure::new(Code::Config, format!("{}: {e}", path.display())))
}
