//! `elea upgrade`.

use crate::commands::diff::packages;
use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Change, Network, Restart, Trust};
use crate::text::{self, Lines};
use elea_host::upgrade::{self, Check, Found, Upgraded};

/// Fetch the newer release that this machine follows, and boot it next, on trial
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only look: version, packages, bytes to fetch
    #[arg(long, conflicts_with_all = ["dry_run", "reboot", "exit_reboot"])]
    check: bool,
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
    let machine = context.machine("elea upgrade")?;
    let options = options(&args.trust, &args.network, &args.change)?;
    let bars = context.bars();
    if args.check {
        let check = upgrade::check(&machine, None, &options, &bars)?;
        return context.show(&check, look);
    }
    let done = upgrade::upgrade(&machine, &options, &bars)?;
    finish(&done, &args.restart, context)
}

pub(super) fn options(
    trust: &Trust,
    network: &Network,
    change: &Change,
) -> Outcome<upgrade::Options> {
    Ok(upgrade::Options {
        dry_run: change.dry_run,
        wait: change.wait(),
        allow_unsigned: trust.allow_unsigned,
        allow_downgrade: trust.allow_downgrade,
        keys: trust.keys.clone(),
        net: network.options()?,
    })
}

/// Prints what was done, and sees to the reboot.
pub(super) fn finish(done: &Upgraded, restart: &Restart, context: &Context) -> Outcome {
    context.show(done, told)?;
    context.restart(done.reboot && !done.dry_run, restart)
}

fn told(done: &Upgraded) -> String {
    let mut out = outcome(&done.outcome, &done.running, &done.offered);
    if done.dry_run {
        out.line(format!("would fetch {}", text::size(done.fetched)));
    } else if done.plan.is_some() {
        let layers = done.layers_fetched + done.layers_reused;
        out.line(format!(
            "{} fetched in {} of {}",
            text::size(done.fetched),
            done.layers_fetched,
            text::count(layers as u64, "layer")
        ));
        out.line(format!("signed by {}", signers(&done.signed)));
        out.push_str(&packages(&done.packages));
    }
    for one in &done.specialisations {
        out.line(format!(
            "generation {} in the boot menu: specialisation {}",
            one.number, one.name
        ));
    }
    for path in &done.conflicts {
        out.line(format!(
            "{path}: changed here and by the release; this machine's is kept"
        ));
    }
    out
}

fn look(check: &Check) -> String {
    let mut out = outcome(&check.outcome, &check.running, &check.offered);
    if let upgrade::Outcome::NothingNewer = check.outcome {
        return out;
    }
    out.push_str(&text::facts(&[
        ("from", Some(check.reference.clone())),
        ("signed by", Some(signers(&check.signed))),
        (
            "to fetch",
            Some(format!(
                "at most {} of {}",
                text::size(check.fetch),
                text::size(check.total)
            )),
        ),
        (
            "beside it",
            (!check.specialisations.is_empty()).then(|| check.specialisations.join(", ")),
        ),
        (
            "reboot",
            Some(if check.reboot { "needed" } else { "not needed" }.into()),
        ),
        ("obstacle", check.obstacle.clone()),
    ]));
    out.push_str(&packages(&check.packages));
    out
}

fn signers(found: &Found) -> String {
    match found {
        Found::Signed { keys, rule, .. } => text::signers(keys, rule),
        Found::Unsigned { rule } => text::signers(&[], rule),
    }
}

fn outcome(
    outcome: &upgrade::Outcome,
    running: &upgrade::Release,
    offered: &upgrade::Release,
) -> String {
    let (running, title) = (&running.title, &offered.title);
    match outcome {
        upgrade::Outcome::NothingNewer => format!("{running} runs; there is nothing newer\n"),
        upgrade::Outcome::Staged { number } => {
            format!("{title} is staged as generation {number} and boots next\n")
        }
        upgrade::Outcome::FailedBefore { number, reason } => format!(
            "{title} failed here as generation {number} ({reason}) and is not tried again by itself\n"
        ),
        upgrade::Outcome::Newer { .. } => format!("{title} is newer than {running}\n"),
    }
}
