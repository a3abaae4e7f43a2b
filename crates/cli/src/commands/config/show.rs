//! `elea config show`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::{options, text};
use elea_compose::config::{Config, Origin};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Show a config with everything that it imports and all that it leaves to the defaults
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    /// Show where each value was written instead
    #[arg(long)]
    origins: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    schema: &'static str,
    /// Every file that was read, the config itself first.
    files: &'a [PathBuf],
    config: &'a Config,
    /// Where each value was written.
    origins: BTreeMap<&'a str, Origin>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = context.config(&args.config)?;
    let origins = config
        .keys()
        .filter_map(|key| Some((key, config.origin(key)?)));
    let shown = Shown {
        schema: "elea.config/1",
        files: &config.read,
        config: &config,
        origins: origins.collect(),
    };
    let toml = toml::to_string_pretty(&config)?;
    context.show(&shown, |shown| {
        if !args.origins {
            return toml;
        }
        let rows = shown.origins.iter().map(|(key, at)| {
            let place = format!("{}:{}:{}", at.file.display(), at.line, at.column);
            vec![(*key).to_owned(), place]
        });
        text::table(&["VALUE", "WRITTEN AT"], rows.collect())
    })
}
