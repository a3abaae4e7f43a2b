//! `elea store leases`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use serde::Serialize;

/// List the running commands for which the store keeps what nothing names yet
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    leases: Vec<String>,
}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let shown = Shown {
        schema: "elea.leases/1",
        leases: context.store()?.leases()?,
    };
    context.show(&shown, |s| {
        if s.leases.is_empty() {
            return "no command is at work in this store\n".into();
        }
        text::lines(s.leases.iter().cloned())
    })
}
