//! `elea confirm`.

use super::apply;
use crate::context::Context;
use crate::failure::Outcome;
use crate::options;
use crate::text;
use elea_host::live::{self, Effect, Ended};

/// Keep what `elea apply --confirm` switched to
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take it back instead, at once
    #[arg(long)]
    revert: bool,
    #[command(flatten)]
    wait: options::Wait,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = apply::machine("elea confirm", context)?;
    let bars = context.bars();
    let ended = if args.revert {
        live::take_back(&machine, "a person took it back", args.wait.time(), &bars)?
    } else {
        live::confirm_last(&machine, args.wait.time(), &bars)?
    };
    context.show(&ended, told)
}

fn told(ended: &Ended) -> String {
    let number = ended
        .number
        .map_or_else(String::new, |n| format!("generation {n} "));
    match &ended.effect {
        Effect::Live => format!("{number}stays, and boots next, on trial\n"),
        Effect::Tested => format!("{number}stays until the next boot\n"),
        Effect::Reverted { missed, .. } => {
            let mut lines = vec![format!("{number}was taken back")];
            lines.extend(
                missed
                    .iter()
                    .map(|one| format!("not taken back: {}", text::plain(one))),
            );
            text::lines(lines)
        }
        _ => "nothing waits to be confirmed or taken back\n".into(),
    }
}
