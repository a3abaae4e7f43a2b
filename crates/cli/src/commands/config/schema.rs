//! `elea config schema`.

use crate::context::Context;
use crate::failure::Outcome;
use elea_compose::config::keys;

/// Print the JSON Schema of a config, for editors
///
/// Taplo and the editors that use it check and complete a file that names it:
/// `#:schema ./elea.schema.json` in its first line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Of the files of modules, which `[[use]]` names, with their parameters
    #[arg(long)]
    modules: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    // It is JSON, asked for or not.
    let schema = if args.modules {
        keys::module_schema()
    } else {
        keys::schema()
    };
    context.show(&schema, |schema| format!("{schema:#}\n"))
}
