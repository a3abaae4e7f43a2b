//! `elea home apply`.

use super::{Change, declared, failed, folder, home_path, open, show};
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_compose::config::home::load_home;
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
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let path = match &args.config {
        Some(path) => path.clone(),
        None => folder("XDG_CONFIG_HOME")
            .map_or_else(|| home_path().map(|home| home.join(".config")), Ok)?
            .join("elea/home.toml"),
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
    let home = open(context, !args.change.dry_run)?;
    let wanted = declared::of(one.home)?.wanted().map_err(failed)?;
    let plan = home.apply(&wanted, args.change.options(), &context.cancelled);
    show::plan(&plan.map_err(failed)?, context)
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
