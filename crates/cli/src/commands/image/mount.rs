//! `elea image mount`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use std::path::PathBuf;

/// Mount an image read-only (`umount DIR` takes it away)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// The folder to mount at
    #[arg(value_name = "DIR")]
    target: PathBuf,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    Context::need_root("mounting an image")?;
    let store = context.store()?;
    let image = store.resolve(&args.image)?;
    if args.dry_run {
        let target = args.target.display();
        context.say(&format!("would mount {image} at {target}"));
        return Ok(Code::Done);
    }
    store.mount(&image, &args.target)?;
    Ok(Code::Done)
}
