//! `elea image tag`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::places;

/// Give an image one more name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// The name; if another image has it, it moves
    #[arg(value_parser = places::parse_name)]
    name: String,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let store = context.store_to_change("elea image tag")?;
    let image = store.resolve(&args.image)?;
    if args.dry_run {
        context.say(&format!("would name {} `{}`", image.short(), args.name));
        return Ok(Code::Done);
    }
    store.set_ref(&args.name, &image)?;
    Ok(Code::Done)
}
