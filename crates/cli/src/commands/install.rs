//! `elea install`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::options::{Network, Trust, parse_size};
use crate::{places, text};
use elea_formats::cmdline::{Argument, CommandLine};
use elea_formats::oci::reference::Reference;
use elea_formats::release::Source;
use elea_host::install::{self, Contents, Filesystem, Plan, Sealing, Target};
use std::path::PathBuf;

/// Write a system to a disk: a device, or a file for a virtual machine
///
/// The machine will take upgrades that the keys in its image, or those named by `--key`, signed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name or digest in the store, registry:…, oci:DIR:TAG, or oci-archive:FILE
    #[arg(long, value_name = "REF")]
    image: Reference,
    /// The file or device to write
    #[arg(long, value_name = "FILE|DEVICE")]
    disk: PathBuf,
    /// The size of the file: bytes, or 8G; a device has its own
    #[arg(long, value_parser = parse_size)]
    size: Option<u64>,
    /// The file system of the root
    #[arg(long, default_value = "ext4")]
    fs: Kind,
    /// Destroy what is on the disk
    #[arg(long)]
    wipe: bool,
    /// What upgrades follow, if not what the image itself says
    #[arg(long, value_name = "REF")]
    follow: Option<Reference>,
    /// Kernel arguments of this machine
    #[arg(long, value_name = "ARGUMENTS")]
    kargs: Vec<String>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    network: Network,
    /// Show the plan; the image is fetched, the disk is not touched
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Ext4,
    Btrfs,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if !args.dry_run {
        Context::need_root("writing a disk")?;
    }
    let target = Target::inspect(&args.disk, args.size)?;
    let store = context.store_or_new("elea install")?;
    store.require(elea_host::ALGORITHM)?;
    let bars = context.bars();
    let policy = args.trust.policy(&context.global.root)?;
    let found = places::image(
        &store,
        &args.image,
        &args.network.options()?,
        &policy,
        &bars,
    )?;
    let by = text::signers(found.verdict.keys(), found.verdict.rule());
    context.say(&format!("signed by {by}"));
    let contents = Contents::load_all(&store, &found.image, &bars)?;
    let plan = install::plan(&contents, &target, &options(args)?)?;
    if args.dry_run {
        return context.show(&plan, show);
    }
    if !plan.destroys.is_empty() {
        context.confirm(&format!(
            "{} holds {}; all of it will be gone. Go on?",
            plan.target.path.display(),
            plan.destroys.join(", ")
        ))?;
    }
    install::apply(&plan, &contents, store.path(), &places::scratch(), &bars)?;
    context.show(&plan, |plan| {
        let beside = plan.specialisations.iter();
        let beside =
            beside.filter_map(|one| Some(format!(", {}", one.specialisation.as_ref()?.name)));
        let beside: String = beside.collect();
        let beside = beside.strip_prefix(", ");
        let beside = beside.map(|names| format!(" (beside it in the boot menu: {names})"));
        format!(
            "{} holds {}{}: {} in {}{}\n",
            plan.target.path.display(),
            plan.generation.title,
            beside.unwrap_or_default(),
            text::size(plan.bytes),
            text::count(plan.objects, "object"),
            match plan.sealing {
                Sealing::Born => ", sealed",
                Sealing::FirstBoot => "; the first boot seals them",
            }
        )
    })?;
    Ok(Code::Done)
}

fn options(args: &Args) -> Outcome<install::Options> {
    let source = |reference: &Reference| Source {
        reference: reference.to_string(),
        plain_http: args.network.plain_http,
    };
    let words = args.kargs.iter().flat_map(|text| {
        let line = CommandLine::parse(text);
        let plain = |a: &Argument| match &a.value {
            Some(value) => format!("{}={value}", a.key),
            None => a.key.clone(),
        };
        line.arguments().iter().map(plain).collect::<Vec<_>>()
    });
    Ok(install::Options {
        filesystem: match args.fs {
            Kind::Ext4 => Filesystem::Ext4,
            Kind::Btrfs => Filesystem::Btrfs,
        },
        wipe: args.wipe,
        follow: args.follow.as_ref().map(source),
        arguments: words.collect(),
        keys: args.trust.named()?,
    })
}

fn show(plan: &Plan) -> String {
    let generation = &plan.generation;
    let beside = plan.specialisations.iter();
    let beside = beside.filter_map(|one| Some((&one.specialisation.as_ref()?.name, one.image)));
    let beside: Vec<String> = beside
        .map(|(name, image)| format!("{name} {image}"))
        .collect();
    let partitions = plan.partitions.iter().map(|p| {
        let size = text::size(p.size);
        format!("{} {size} at {}", p.role.name(), p.start)
    });
    text::facts(&[
        ("plan", Some(plan.what.clone())),
        (
            "disk",
            Some(format!(
                "{} ({})",
                plan.target.path.display(),
                text::size(plan.target.size)
            )),
        ),
        (
            "destroys",
            (!plan.destroys.is_empty()).then(|| plan.destroys.join("\n")),
        ),
        (
            "partitions",
            Some(partitions.collect::<Vec<_>>().join("\n")),
        ),
        (
            "content",
            Some(format!(
                "{} in {}",
                text::size(plan.bytes),
                text::count(plan.objects, "object")
            )),
        ),
        ("needs", Some(text::size(plan.needed))),
        ("image", Some(generation.image.to_string())),
        ("beside it", (!beside.is_empty()).then(|| beside.join("\n"))),
        ("arguments", Some(generation.options.clone())),
        (
            "follows",
            generation.source.as_ref().map(|s| s.reference.clone()),
        ),
    ])
}
