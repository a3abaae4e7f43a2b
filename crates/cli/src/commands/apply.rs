//! `elea apply`.

use crate::commands::build;
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options::{self, Change, Network, Restart, Trust};
use crate::places;
use crate::text::{self, Lines};
use elea_compose::preflight::Room;
use elea_formats::digest::Digest;
use elea_formats::oci::reference::Reference;
use elea_formats::release::is_specialisation;
use elea_host::live::{self, Applied, Effect, How, Need, Stale};
use elea_host::{Error, Machine};
use elea_store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Make a config what runs: live what can be, the rest at the next boot
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    /// Take this image instead of building one: a name in the store, registry:HOST/NAME:TAG or oci:DIR:TAG
    #[arg(long, value_name = "REF", conflicts_with_all = ["config", "specialisation", "locked", "update", "cache", "work", "elea", "initrd"])]
    image: Option<Reference>,
    /// Give another image a place in the boot menu beside it, as the specialisation NAME, to be picked by hand
    #[arg(long, value_name = "NAME=REF", requires = "image", value_parser = parse_beside)]
    beside: Vec<(String, Reference)>,
    /// Live alone: gone at the next boot
    #[arg(long, conflicts_with = "boot")]
    test: bool,
    /// The next boot alone: nothing that runs is touched
    #[arg(long)]
    boot: bool,
    /// Live with packages, too: the new /usr is mounted over the one that runs
    #[arg(long, conflicts_with = "boot")]
    live_usr: bool,
    /// Take it back after this time (60s, 5m) unless `elea confirm` is said; it counts anew once all is done
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "boot")]
    confirm: Option<u64>,
    #[command(flatten)]
    inputs: options::Inputs,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    restart: Restart,
}

fn parse_beside(text: &str) -> Result<(String, Reference), String> {
    let (name, reference) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is no NAME=REF"))?;
    if !is_specialisation(name) {
        return Err(format!(
            "`{name}` is no name: letters, digits, `-`, `_` and `.`, at most 64"
        ));
    }
    let reference = reference.parse::<Reference>().map_err(|e| e.to_string())?;
    Ok((name.to_owned(), reference))
}

/// The most units with old programs that are shown.
const MAX_STALE: usize = 20;
/// The longest time that a switch may wait for its confirmation, in seconds.
const LONGEST: u64 = 24 * 60 * 60;

fn parse_time(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no time; write 60s, 5m or 1h, at most a day");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).ok_or_else(wrong)?;
    if (1..=LONGEST).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(wrong())
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let machine = machine("elea apply", context)?;
    // What stands in the way is told before anything is built.
    if !args.change.dry_run {
        drop(machine.claim(args.change.wait())?);
    }
    let store = machine.store()?;
    // Until the generation keeps it.
    let _lease = store.lease("elea apply")?;
    let images = images(args, &machine, &store, context)?;
    let options = live::Options {
        how: match (args.test, args.boot) {
            (true, _) => How::Test,
            (_, true) => How::Boot,
            _ => How::Live,
        },
        live_usr: args.live_usr,
        confirm: args.confirm,
        dry_run: args.change.dry_run,
        wait: args.change.wait(),
        program: places::this_program()?,
        specialisations: images.beside,
    };
    let applied = live::apply(&machine, &images.main, &options, &context.bars())?;
    finish(&machine, &applied, &args.restart, context)
}

/// Shows what came of it, and restarts if that was asked for.
pub(super) fn finish(
    machine: &Machine,
    applied: &Applied,
    restart: &Restart,
    context: &Context,
) -> Outcome {
    context.show(applied, told)?;
    if let Effect::Reverted { why, .. } = &applied.effect {
        let failure = Failure::new(Code::Reverted, format!("it was taken back: {why}"));
        return Err(failure.hint("what ran before runs again; `elea log` has it, too"));
    }
    let staged = matches!(applied.effect, Effect::Staged | Effect::Live);
    let needs = applied
        .plan
        .as_ref()
        .map_or(Need::Reboot, |plan| plan.needs);
    let reboot = staged && needs >= Need::SoftReboot && machine.booted().is_some();
    context.restart(reboot && !applied.dry_run, restart)
}

/// The machine; of one that is none of Elea's it is said what can be done instead.
pub(super) fn machine(by: &str, context: &Context) -> Outcome<Machine> {
    Context::need_root(&format!("`{by}`"))?;
    let opened = Machine::open(&context.global.root, by);
    opened.map_err(|error| match error {
        Error::NotBooted | Error::NotElea(_) => Failure::from(error).hint(
            "`elea build` makes an image of a config and `elea install` a disk from it; `elea home apply` works on \
             any distribution",
        ),
        other => other.into(),
    })
}

/// What is applied.
struct Images {
    main: Digest,
    /// What gets a place in the boot menu beside it, each with its name.
    beside: Option<Vec<(String, Digest)>>,
}

/// The image; of a config, its specialisations stand beside it.
fn images(args: &Args, machine: &Machine, store: &Store, context: &Context) -> Outcome<Images> {
    let Some(reference) = &args.image else {
        let keep = !args.change.dry_run;
        let boot = machine.boot_room()?;
        let room = Room {
            free: boot.free,
            running: boot.running,
            packages: boot.packages,
        };
        let room = Some(&room);
        let made = build::image(&args.config, &args.inputs, store, keep, room, context)?;
        let mut beside = made.specialisations;
        if args.test {
            // What is gone at the next boot needs no place in its menu.
            beside.clear();
        }
        return Ok(Images {
            main: made.image,
            beside: Some(beside.into_iter().collect()),
        });
    };
    let policy = args.trust.policy(&context.global.root)?;
    let net = args.network.options()?;
    let get = |reference| places::image(store, reference, &net, &policy, &context.bars());
    let main = get(reference)?;
    // What is said takes the place of what the image says.
    let mut others: BTreeMap<String, Digest> = main.beside.into_iter().collect();
    for (name, reference) in &args.beside {
        others.insert(name.clone(), get(reference)?.image);
    }
    Ok(Images {
        main: main.image,
        beside: (!others.is_empty()).then(|| others.into_iter().collect()),
    })
}

fn told(applied: &Applied) -> String {
    let mut out = String::new();
    if let Some(plan) = &applied.plan {
        out.push_str(&text::plain(&plan.to_string()));
    }
    for conflict in &applied.conflicts {
        out.line(format!("/etc/{}", text::plain(conflict)));
    }
    // What waits or was taken back has replaced nothing.
    let replaces = matches!(applied.effect, Effect::Staged | Effect::Live);
    for number in applied.replaces.iter().filter(|_| replaces) {
        out.line(format!(
            "generation {number}, which was staged, does not boot next any more"
        ));
    }
    let (title, number) = (&applied.title, applied.number);
    let would = if applied.dry_run { "would be: " } else { "" };
    if let Effect::Nothing | Effect::Staged | Effect::Live | Effect::Waiting { .. } =
        &applied.effect
    {
        for one in &applied.specialisations {
            let (name, number) = (text::plain(&one.name), one.number);
            out.line(format!(
                "{would}generation {number} in the boot menu: specialisation {name}"
            ));
        }
    }
    out.line(match &applied.effect {
        Effect::Nothing => format!("nothing to do: generation {number} is {title} already"),
        Effect::Staged => format!("{would}{title} boots next, on trial, as generation {number}"),
        Effect::Live => {
            format!("{would}{title} runs as generation {number}, and boots next, on trial")
        }
        Effect::Tested => {
            format!("{would}{title} runs as generation {number} until the next boot")
        }
        Effect::Waiting { seconds } => format!(
            "{would}{title} runs as generation {number} and is taken back in {seconds} s unless you say `elea confirm`"
        ),
        Effect::Reverted { .. } => format!("{title} does not run: it was taken back"),
    });
    out.push_str(&stale(&applied.stale));
    if let Effect::Reverted { missed, .. } = &applied.effect {
        for one in missed {
            out.line(format!("not taken back: {}", text::plain(one)));
        }
    }
    out
}

/// What goes on with old files, a line for each unit.
fn stale(processes: &[Stale]) -> String {
    let mut units: BTreeMap<&str, Vec<&Stale>> = BTreeMap::new();
    for process in processes {
        let unit = process.unit.as_deref().unwrap_or(&process.name);
        units.entry(unit).or_default().push(process);
    }
    let mut out = String::new();
    if !units.is_empty() {
        out.line("these go on with files of the /usr that was, until they are restarted:");
    }
    for (unit, processes) in units.iter().take(MAX_STALE) {
        let (first, more) = (processes[0], processes.len() - 1);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let (unit, name, file) = (
            text::plain(unit),
            text::plain(&first.name),
            text::plain(&first.file),
        );
        out.line(format!("  {unit}: {name} ({}){more}, {file}", first.pid));
    }
    if units.len() > MAX_STALE {
        out.line(format!("  and {} units more", units.len() - MAX_STALE));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Stale, parse_time, stale};

    #[test]
    fn old_programs_are_told_by_their_units() {
        let process = |unit: Option<&str>, pid| Stale {
            unit: unit.map(str::to_owned),
            pid,
            name: "name".into(),
            file: "/usr/lib/x.so".into(),
        };
        assert_eq!(stale(&[]), "");
        let shown = stale(&[
            process(Some("a.service"), 3),
            process(Some("a.service"), 4),
            process(None, 5),
        ]);
        let lines: Vec<&str> = shown.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "  a.service: name (3) and 1 more, /usr/lib/x.so",
                "  name: name (5), /usr/lib/x.so"
            ]
        );
        let many: Vec<Stale> = (0..25)
            .map(|n| process(Some(&format!("{n}.service")), n))
            .collect();
        assert!(stale(&many).ends_with("and 5 units more\n"));
    }

    #[test]
    fn times_are_read_and_nonsense_is_not() {
        for (text, seconds) in [("60s", 60), ("5m", 300), ("24h", 86_400), ("7", 7)] {
            assert_eq!(parse_time(text), Ok(seconds), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "-1s",
            "25h",
            "1d",
            "1.5m",
            "99999999999999999999h",
            "6é",
        ] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
