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
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    Context::need_root("mounting an image")?;
    let store = context.store()?;
    store.mount(&store.resolve(&args.image)?, &args.target)?;
    Ok(Code::Done)
}
