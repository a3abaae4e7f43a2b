//! `elea image rm`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};

/// Take names away; `elea store gc` then removes what has none
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The names
    #[arg(required = true)]
    names: Vec<String>,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let store = context.store_to_change("elea image rm")?;
    let refs = store.refs()?;
    // All or nothing: a typing mistake in the last name removes none of them.
    if let Some(name) = args.names.iter().find(|name| !refs.contains_key(*name)) {
        return Err(
            Failure::new(Code::Failed, format!("the store has no name `{name}`"))
                .hint("`elea image list` shows the names"),
        );
    }
    for name in &args.names {
        if args.dry_run {
            context.say(&format!("would take the name `{name}` away"));
        } else {
            store.remove_ref(name)?;
        }
    }
    Ok(Code::Done)
}
