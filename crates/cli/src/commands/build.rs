//! `elea build`.

mod check;

use crate::commands::image::tar;
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::text::Lines as _;
use crate::{options, places, text};
use elea_compose::config::{Config, Findings};
use elea_compose::family::{self, Family};
use elea_compose::lock;
use elea_compose::preflight::{Purpose, Room};
use elea_formats::digest::Digest;
use elea_formats::oci::reference::Reference;
use elea_host::install::{self, Contents, Target};
use elea_store::Store;
use elea_sys::progress::Progress;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Make an image from a config: packages, files, users, services
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    inputs: options::Inputs,
    /// Build it a second time from nothing, in other circumstances, and show every file that differs
    #[arg(long, conflicts_with = "outputs")]
    check: bool,
    /// Make everything anew, whatever is kept of earlier builds
    #[arg(long)]
    fresh: bool,
    /// Let packages' programs see a time so many seconds later, and keep nothing of it for later builds
    #[arg(long, value_name = "SECONDS", requires = "fresh", hide = true)]
    clock_ahead: Option<u32>,
    /// Write it out too: disk:FILE, oci:DIR:TAG or tar:FILE
    #[arg(short, long = "output", value_name = "TO")]
    outputs: Vec<Reference>,
    #[command(flatten)]
    packing: options::Packing,
    /// The name that it gets in the store [default: NAME:VERSION of the config]
    #[arg(long, value_name = "REF", value_parser = places::parse_name)]
    name: Option<String>,
    /// Show which packages the lock would get, and build nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    image: Digest,
    name: String,
    version: String,
    packages: usize,
    files: u64,
    bytes: u64,
    lock: PathBuf,
    lock_changed: bool,
    outputs: Vec<String>,
    /// The images of the specialisations by name.
    specialisations: BTreeMap<String, Digest>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if args.check && args.config == Path::new("-") {
        let text = "`--check` reads the config twice, and stdin is read once";
        return Err(Failure::new(Code::Usage, text).hint("write it into a file"));
    }
    let purpose = args.inputs.purpose(!args.dry_run);
    let config = context.checked_config(&args.config, purpose, disks(args, context)?)?;
    if !args.dry_run {
        Context::need_root("building an image")?;
    }
    let bars = context.bars();
    let mut options = args.inputs.options(context)?;
    options.fresh = args.fresh;
    options.clock_ahead = Duration::from_secs(args.clock_ahead.unwrap_or(0).into());
    let before = super::lock::Before::load(&config)?;
    let locks = family::resolve(&config, &options, &bars).map_err(|e| context.build_error(e))?;
    if args.dry_run {
        return super::lock::show(&config, &before, &locks, &options, true, context);
    }
    let store = context.store_or_new("elea build")?;
    let _lease = store.lease("elea build")?;
    // A build that fails later begins with the same packages.
    family::save(&config, &locks)?;
    let built = family::build(&config, &locks, &store, &options, &bars)
        .map_err(|e| context.build_error(e))?;
    let name = args.name.clone().unwrap_or_else(|| name_of(&config));
    keep(&config, &name, &store, &built)?;
    let lock_changed = built.locks != locks;
    let specialisations = images(&built);
    let built = built.system;
    if args.check {
        return check::run(&config, &store, &built.image, &options, context);
    }
    for output in &args.outputs {
        match output {
            Reference::Tar(path) => {
                tar(&store, &store.tree(&built.image)?, path.as_deref(), &bars)?;
            }
            Reference::Disk(path) => disk(&store, &built.image, path, context, &bars)?,
            other => {
                let options = elea_net::Options {
                    compression: args.packing.compression,
                    ..elea_net::Options::default()
                };
                elea_net::push(&built.image, &store, other, &options, None, &bars)?;
            }
        }
    }
    let shown = Shown {
        schema: "elea.build/1",
        image: built.image,
        name,
        version: config.system.version.clone(),
        packages: built.lock.packages.len(),
        files: built.manifest.files,
        bytes: built.manifest.bytes,
        lock: lock::path_of(&config),
        lock_changed,
        outputs: args.outputs.iter().map(ToString::to_string).collect(),
        specialisations,
    };
    context.show(&shown, |s| {
        let mut out = format!(
            "{}\n{}: {}, {}, {}\n",
            s.image,
            s.name,
            text::count(s.packages as u64, "package"),
            text::count(s.files, "file"),
            text::size(s.bytes)
        );
        for (special, image) in &s.specialisations {
            out.line(format!("{}: {image}", beside(&s.name, special)));
        }
        out
    })
}

/// Writes the locks of a build, and names its images.
fn keep(config: &Config, name: &str, store: &Store, built: &Family) -> Outcome<()> {
    family::save(config, &built.locks)?;
    for (special, image) in images(built) {
        store.set_ref(&beside(name, &special), &image)?;
    }
    Ok(store.set_ref(name, &built.system.image)?)
}

/// The images of the specialisations.
fn images(built: &Family) -> BTreeMap<String, Digest> {
    let all = built.specialisations.iter();
    all.map(|(name, built)| (name.clone(), built.image))
        .collect()
}

/// What the specialisation of an image is called.
pub(super) fn beside(name: &str, special: &str) -> String {
    format!("{name}+{special}")
}

/// What the image of a config is called if nobody says.
fn name_of(config: &Config) -> String {
    let name = format!("{}:{}", config.system.name, config.system.version);
    match &config.special {
        Some(special) => beside(&name, special),
        None => name,
    }
}

/// What [`image`] made.
pub(super) struct Made {
    pub(super) image: Digest,
    /// The images of the config's specialisations; none of a specialisation.
    pub(super) specialisations: BTreeMap<String, Digest>,
}

/// Builds a config into a store for a command that uses the image at once. Without `keep` neither the lock nor a name
/// is written.
pub(super) fn image(
    config: &Path,
    inputs: &options::Inputs,
    store: &Store,
    keeps: bool,
    room: Option<&Room>,
    context: &Context,
) -> Outcome<Made> {
    let purpose = Purpose {
        room,
        ..inputs.purpose(true)
    };
    let config = context.checked_config(config, purpose, Findings::default())?;
    let bars = context.bars();
    let options = inputs.options(context)?;
    let locks = family::resolve(&config, &options, &bars).map_err(|e| context.build_error(e))?;
    if keeps {
        family::save(&config, &locks)?;
    }
    let built = family::build(&config, &locks, store, &options, &bars)
        .map_err(|e| context.build_error(e))?;
    if keeps {
        keep(&config, &name_of(&config), store, &built)?;
    }
    Ok(Made {
        image: built.system.image,
        specialisations: images(&built),
    })
}

/// What is wrong with the disks that are to be written, before anything is built for them.
fn disks(args: &Args, context: &Context) -> Outcome<Findings> {
    let mut found = Findings::default();
    for output in &args.outputs {
        let Reference::Disk(path) = output else {
            continue;
        };
        let target = target(path)?;
        match install::precheck(&target, &disk_options(context)) {
            Err(small @ install::Error::Tiny { .. }) => {
                let help = "name a larger disk, or a file that is not there: it is made";
                found = found.and(Findings::error(small.to_string(), help));
            }
            result => result?,
        }
    }
    Ok(found)
}

fn target(path: &Path) -> Outcome<Target> {
    let size = (!path.exists()).then_some(options::DISK);
    Ok(Target::inspect(path, size)?)
}

fn disk_options(context: &Context) -> install::Options {
    install::Options {
        wipe: context.global.yes,
        ..install::Options::default()
    }
}

/// A disk file as `elea install` makes it, with its usual choices.
fn disk(
    store: &Store,
    image: &Digest,
    path: &Path,
    context: &Context,
    progress: &dyn Progress,
) -> Outcome<()> {
    let target = target(path)?;
    let contents = Contents::load_all(store, image, progress)?;
    let plan = install::plan(&contents, &target, &disk_options(context))?;
    install::apply(&plan, &contents, store.path(), &places::scratch(), progress)?;
    Ok(())
}
