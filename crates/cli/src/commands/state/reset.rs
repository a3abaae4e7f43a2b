//! `elea state reset`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options::Restart;
use crate::text::{self, Lines as _};
use elea_host::state::reset::{self, Options, Planned};

/// Factory reset: at the next boot nothing of the machine's own is left
///
/// /etc, /var, homes, /srv, /opt, /usr/local, snapshots, the machine-id and ssh host keys go;
/// generations and their images stay.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep homes (/home and /root), or the identity (machine-id and ssh host keys)
    #[arg(long, value_name = "WHAT")]
    keep: Vec<Keep>,
    /// Take back a reset that the next boot would do
    #[arg(long, conflicts_with_all = ["keep", "dry_run"])]
    cancel: bool,
    /// Say what would go and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    restart: Restart,
}

/// What stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Keep {
    Homes,
    Identity,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = context.machine("elea state reset")?;
    if args.restart.reboot && machine.booted().is_none() {
        let text = "`--reboot` is of the machine that runs, and `--root` names another";
        return Err(Failure::new(Code::Usage, text)
            .hint("leave it out: the next boot of that system does the reset"));
    }
    if args.cancel {
        reset::cancel(&machine)?;
        context.say("the next boot changes nothing");
        return Ok(Code::Done);
    }
    let options = Options {
        keep_homes: args.keep.contains(&Keep::Homes),
        keep_identity: args.keep.contains(&Keep::Identity),
    };
    let mut planned = reset::plan(&machine, options)?;
    if args.dry_run {
        return context.show(&planned, lines);
    }
    if !context.global.json {
        context.say(lines(&planned).trim_end());
    }
    context.confirm("All of this will be lost at the next boot. Go on?")?;
    reset::request(&machine, &planned)?;
    planned.dry_run = false;
    if context.global.json {
        context.show(&planned, lines)?;
    }
    context.restart(true, &args.restart)
}

fn lines(planned: &Planned) -> String {
    let rows = planned.goes.iter().map(|one| {
        vec![
            one.name.clone(),
            text::size(one.size.bytes),
            one.what.to_owned(),
        ]
    });
    let mut out = text::table(&["GOES", "SIZE", "WHAT"], rows.collect());
    out.line("and the local edits of /etc of every generation");
    out
}
