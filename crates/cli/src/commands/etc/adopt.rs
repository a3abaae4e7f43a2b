//! `elea etc adopt`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options;
use crate::text::Lines as _;
use elea_compose::config::adopt::{self, AdoptError, Adoption, LARGEST};
use elea_host::etc::locals;
use elea_sys::root::Root;
use std::path::PathBuf;

/// Write what was changed in /etc into the config
///
/// A change that a key stands for becomes that key, where it is said: in the config, or in a file of its folder that it
/// imports. Another file is copied beside the config, with an entry for it. Comments and layout stay. Secrets are refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Paths, with or without /etc; a folder stands for all in it [default: all that is changed]
    paths: Vec<String>,
    /// The config's file
    #[arg(long, value_name = "FILE", default_value = options::CONFIG)]
    config: PathBuf,
    /// Say what would be written and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = context.config(&args.config)?;
    let machine = context.machine("elea etc adopt")?;
    let edits = locals(&machine, &args.paths, LARGEST)?;
    let image = Root::open(machine.lower()?)?;
    let failed = |error: AdoptError| match error {
        AdoptError::Wrong(errors) => context.config_errors(&errors),
        AdoptError::Json(_) | AdoptError::Edit { .. } => {
            Failure::new(Code::Config, error.to_string())
        }
        AdoptError::Path(error) => error.into(),
    };
    let plan = adopt::plan(&config, &edits, &image).map_err(failed)?;
    let done = if args.dry_run {
        plan.shown
    } else {
        plan.apply().map_err(failed)?
    };
    context.show(&done, lines)?;
    // What was asked for by name and is not in the config is a failure.
    let asked = !args.paths.is_empty() && !done.refused.is_empty();
    Ok(if asked { Code::Failed } else { Code::Done })
}

fn lines(done: &Adoption) -> String {
    let mut out = String::new();
    if done.adopted.is_empty() && done.refused.is_empty() {
        out.line("nothing is changed in /etc");
    }
    let (says, copied) = if done.dry_run {
        ("would say", "would be copied to")
    } else {
        ("says now", "copied to")
    };
    for one in &done.adopted {
        if one.lines.is_empty() && one.copy.is_none() {
            out.line(format!("{}: said by another line", one.path));
            continue;
        }
        let files = one.files.iter().map(|file| file.display().to_string());
        let files: Vec<String> = files.collect();
        let files = if files.is_empty() {
            done.config.display().to_string()
        } else {
            files.join(" and ")
        };
        out.line(format!("{}: {files} {says}", one.path));
        for line in &one.lines {
            out.line(format!("    {line}"));
        }
        if let Some(copy) = &one.copy {
            out.line(format!("  {copied} {}", copy.display()));
        }
    }
    for one in &done.refused {
        out.line(format!("! {}: {}", one.path, one.why));
    }
    out
}
