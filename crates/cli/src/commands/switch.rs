//! `elea switch`.

use super::upgrade::{finish, options};
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Network, Restart, Trust};
use elea_formats::oci::reference::Reference;
use elea_host::upgrade;

/// Follow another image from now on: fetch it, and boot it next, on trial
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// registry:HOST/NAME:TAG or oci:DIR:TAG
    #[arg(value_name = "REF")]
    reference: Reference,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea switch")?;
    let options = options(&args.trust, &args.network, &args.change)?;
    let reference = args.reference.to_string();
    let done = upgrade::switch(&machine, &reference, &options, &context.bars())?;
    finish(&done, &args.restart, context)
}
