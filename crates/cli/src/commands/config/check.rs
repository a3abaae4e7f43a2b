//! `elea config check`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::{options, text};
use elea_compose::config::Findings;
use elea_compose::preflight::Purpose;
use serde::Serialize;
use std::path::PathBuf;

/// Say everything that is wrong with a config, and build nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    /// A lock that is not there or does not fit is an error, as for `build --locked`
    #[arg(long)]
    locked: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    /// Every file that was read, the config itself first.
    files: Vec<PathBuf>,
    name: String,
    version: String,
    title: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let purpose = Purpose {
        locked: args.locked,
        ..Purpose::default()
    };
    let config = context.checked_config(&args.config, purpose, Findings::default())?;
    let found = match config.warnings.warnings().len() as u64 {
        0 => "nothing is wrong".to_owned(),
        number => format!("no error, {}", text::count(number, "warning")),
    };
    let shown = Shown {
        schema: "elea.config-check/1",
        files: config.read,
        name: config.system.name,
        version: config.system.version,
        title: config.system.title,
    };
    context.show(&shown, |s| {
        let files: Vec<_> = s.files.iter().map(|f| f.display().to_string()).collect();
        format!("{}: {} {}: {found}\n", files.join(", "), s.name, s.version)
    })
}
