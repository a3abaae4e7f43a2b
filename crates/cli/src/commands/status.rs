//! `elea status`.

use crate::context::Context;
use crate::failure::Outcome;
use elea_host::status;

/// Show how this machine stands: what runs, what boots next, what failed and why
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea status")?;
    context.show(&status::status(&machine)?, status::text)
}
