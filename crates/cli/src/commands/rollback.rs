//! `elea rollback`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Restart};
use elea_host::choose;
use elea_host::state::versions;

/// Boot an older good generation next, as a new one on trial
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its number [default: the newest good one that does not run]
    number: Option<u64>,
    /// Restore data of services that is of a newer version, from the snapshot that was made before the upgrade
    #[arg(long)]
    restore_state: bool,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea rollback")?;
    let changed = choose::rollback(&machine, args.number, args.change.options())?;
    if let Some(image) = changed.image() {
        // The rollback itself is done: what cannot be known of the data does not undo it.
        match versions::offers(&machine, Some(image)) {
            Ok(offers) => {
                for offer in &offers {
                    let fits = offer.snapshot.is_some() && args.restore_state;
                    let then = if fits {
                        "it is restored at that boot"
                    } else {
                        "the data stays as it is"
                    };
                    context.say(&format!("{offer}; {then}"));
                }
            }
            Err(e) => context.say(&format!(
                "whether the data of services fits is not known: {e}"
            )),
        }
        if let (true, Some(number), false) = (args.restore_state, changed.number, changed.dry_run) {
            versions::request(&machine, number)?;
        }
    }
    context.changed(&changed, &args.restart)
}
