//! `elea undo`.

use super::apply;
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Restart};
use crate::places;
use elea_host::live::{self, How};
use elea_host::undo::{self, Undo};
use elea_host::{Error, choose};

/// Take back the last change: what was applied, staged or pinned; undoing that does it again
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = apply::machine("elea undo", context)?;
    let view = machine.view()?;
    let options = args.change.options();
    let changed = match undo::plan(&view, machine.number(), machine.etc_number())
        .map_err(Error::from)?
    {
        Undo::Unstage => choose::unstage(&machine, options)?,
        Undo::Back(number) => choose::rollback(&machine, Some(number), options)?,
        Undo::Pin(number, pinned) => choose::pin(&machine, number, pinned, options)?,
        Undo::Switch(number) => {
            let image = view.manifest(number).ok_or(Error::Unknown(number))?.image;
            let options = live::Options {
                how: How::Live,
                // Where /usr is another one than was booted, the way back is one of /usr, too.
                live_usr: machine.usr_image() != machine.booted().map(|b| b.image),
                confirm: None,
                dry_run: args.change.dry_run,
                wait: args.change.wait(),
                program: places::this_program()?,
                specialisations: Some(live::named(&machine, &image)?).filter(|all| !all.is_empty()),
            };
            let applied = live::apply(&machine, &image, &options, &context.bars())?;
            return apply::finish(&machine, &applied, &args.restart, context);
        }
    };
    context.changed(&changed, &args.restart)
}
