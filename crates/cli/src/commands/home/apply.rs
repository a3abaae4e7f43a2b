//! `elea home apply`.

use super::packages::Packages;
use super::{Change, declared, failed, folder, home_path, open, show};
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_compose::config::home::load_home;
use elea_host::home;
use std::path::PathBuf;

/// Make your home what a config says of it
///
/// Everything that is in the way is listed before anything is written.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The config's file [default: ~/.config/elea/home.toml]
    config: Option<PathBuf>,
    /// Take `[home.NAME]` [default: your user name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    change: Change,
    #[command(flatten)]
    locking: super::packages::Locking,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let path = match &args.config {
        Some(path) => path.clone(),
        None => own()?.join("home.toml"),
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => user()?,
    };
    let one = load_home(&path, &name).map_err(|e| context.config_errors(&e))?;
    context.config_warnings(&one.warnings);
    if !one.ignored.is_empty() {
        let tables = one.ignored.join(", ");
        context.say(&format!("about the system, and not looked at: {tables}"));
    }
    let options = args.change.options();
    let home = open(context, !options.dry_run)?;
    let mut plain = declared::of(one.home.clone())?;
    if plain.packages.is_empty() {
        let wanted = plain.wanted().map_err(failed)?;
        let plan = home.apply(&wanted, options, &mut home::no_profile, &context.cancelled);
        return show::plan(&plan.map_err(failed)?, context);
    }
    plain.profile = Some(home.profile());
    let mut wanted = plain.wanted().map_err(failed)?;
    let packages = Packages::new(&one, &path, &own()?, &args.locking, &home, context)?;
    // Packages are asked for once nothing is in the way.
    wanted.profile = packages.current()?;
    let dry = home::Options {
        dry_run: true,
        ..options
    };
    let mut plan = home
        .apply(&wanted, dry, &mut home::no_profile, &context.cancelled)
        .map_err(failed)?;
    if options.dry_run && wanted.profile.is_none() {
        let note =
            "which versions of packages would be installed is not known before archives are asked";
        plan.notes.push(note.into());
    }
    if options.dry_run || !plan.collisions.is_empty() {
        plan.dry_run = options.dry_run;
        return show::plan(&plan, context);
    }
    let lock = packages.resolve()?;
    wanted.profile = Some(packages.key(&lock));
    let plan = home.apply(
        &wanted,
        options,
        &mut |folder| packages.make(&lock, folder),
        &context.cancelled,
    );
    show::plan(&plan.map_err(failed)?, context)
}

/// Where a person's own configs are.
fn own() -> Outcome<PathBuf> {
    let configs = folder("XDG_CONFIG_HOME")
        .map_or_else(|| home_path().map(|home| home.join(".config")), Ok)?;
    Ok(configs.join("elea"))
}

/// The name of the user who runs this.
fn user() -> Outcome<String> {
    let id = rustix::process::geteuid().as_raw().to_string();
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let known = lines.find(|fields| fields.get(2) == Some(&id.as_str()));
    if let Some(name) = known.and_then(|fields| fields.first().map(ToString::to_string)) {
        return Ok(name);
    }
    // Users of a directory service are in no file.
    std::env::var("USER").map_err(|_| {
        Failure::new(Code::Usage, format!("the user {id} has no name here"))
            .hint("`--name NAME` says which `[home.NAME]` is meant")
    })
}
