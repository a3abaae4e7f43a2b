//! `elea home generations`.

use super::{failed, open};
use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::text;
use elea_host::home::Error;

/// List the generations of your home
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let list = open(context, false)?.generations().map_err(failed)?;
    if list.generations.is_empty() && !context.global.json {
        // No table of nothing: what there is to do instead.
        context.say(&Error::Nothing.to_string());
        return Ok(Code::Done);
    }
    context.show(&list, |list| {
        let rows = list.generations.iter().map(|line| {
            vec![
                line.number.to_string(),
                if line.current { "in use" } else { "" }.to_owned(),
                line.paths.to_string(),
                text::ago(&line.created),
                line.packages.join(" "),
            ]
        });
        text::table(&["N", "", "PATHS", "MADE", "PACKAGES"], rows.collect())
    })
}
