//! `elea vm`.

use super::build;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::{options, text};
use elea_host::vm::{Accelerator, Hardware, Machine};
use serde::Serialize;
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// Boot a config or an image from the store in memory, without a disk: the console is this terminal
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file, or a name or digest of an image in the store
    #[arg(value_name = "CONFIG|IMAGE", default_value = options::CONFIG)]
    what: String,
    #[command(flatten)]
    inputs: options::Inputs,
    /// The guest's memory in MiB [default: what the image needs and 1 GiB more]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(128..=1 << 20))]
    memory: Option<u64>,
    /// The guest's processors
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    processors: u32,
    /// Lead a port of this machine's loopback to one of the guest, TCP; once for each
    #[arg(short, long = "port", value_name = "HERE:GUEST", value_parser = ports)]
    ports: Vec<(u16, u16)>,
    /// Ask for a login on the console instead of letting root in
    #[arg(long)]
    login: bool,
    /// One more kernel argument; once for each
    #[arg(long = "argument", value_name = "WORD")]
    arguments: Vec<String>,
    /// How the processor is made: auto, kvm (the hardware's) or tcg (translation, about ten times slower)
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = accelerator)]
    accelerator: Accelerator,
    /// Show what would boot, and boot nothing
    #[arg(long)]
    dry_run: bool,
    /// More words for QEMU
    #[arg(last = true, value_name = "QEMU")]
    more: Vec<String>,
}

fn ports(text: &str) -> Result<(u16, u16), String> {
    let both = text.split_once(':');
    let both = both.and_then(|(here, there)| Some((here.parse().ok()?, there.parse().ok()?)));
    both.ok_or_else(|| format!("`{text}` is not two ports, as in 2222:22"))
}

fn accelerator(text: &str) -> Result<Accelerator, String> {
    match text {
        "auto" => Ok(Accelerator::Auto),
        "kvm" => Ok(Accelerator::Kvm),
        "tcg" => Ok(Accelerator::Tcg),
        _ => Err(format!("`{text}` is none of auto, kvm, tcg")),
    }
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    image: elea_formats::digest::Digest,
    arguments: String,
    bytes: u64,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = PathBuf::from(&args.what);
    let is_config = config.extension().is_some_and(|e| e == "toml") || config.is_dir();
    let (store, image) = if is_config {
        Context::need_root("building an image")?;
        let store = context.store_or_new("elea vm")?;
        let _lease = store.lease("elea vm")?;
        let image =
            build::image(&config, &args.inputs, &store, !args.dry_run, None, context)?.image;
        (store, image)
    } else {
        let store = context.store()?;
        let image = store.resolve(&args.what)?;
        (store, image)
    };
    let machine = Machine::prepare(&store, &image, !args.login, &args.arguments)?;
    let shown = Shown {
        schema: "elea.vm/1",
        image,
        arguments: machine.arguments.clone(),
        bytes: machine.size,
    };
    if args.dry_run {
        return context.show(&shown, |s| {
            format!(
                "{}\n{}\n{} in memory\n",
                s.image,
                s.arguments,
                text::size(s.bytes)
            )
        });
    }
    if std::io::stdin().is_terminal() {
        context.say("Ctrl-A X ends the machine; nothing of it stays.");
    }
    let hardware = Hardware {
        memory: args.memory.map(|mib| mib << 20),
        processors: args.processors,
        accelerator: args.accelerator,
        ports: args.ports.clone(),
        more: args.more.clone(),
    };
    drop(store);
    Err(Failure::from(machine.run(&hardware)))
}
