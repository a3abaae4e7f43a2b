//! `elea home apply`.

use super::{Change, failed, folder, home_path, open, show};
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use elea_compose::config::Content;
use elea_compose::config::home::{Format, Home, How, load_home};
use elea_host::home::declared::{self, LARGEST};
use elea_host::home::merge;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

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
    let wanted = plain(one.home)?.wanted().map_err(failed)?;
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

/// What a config says, as plain values: with the contents of the files that it names.
fn plain(home: Home) -> Outcome<declared::Home> {
    let mut plain = declared::Home {
        environment: home.environment,
        packages: home.packages,
        ..declared::Home::default()
    };
    for (path, file) in home.files {
        let how = match (file.how, file.format) {
            (Some(How::Link), _) => declared::How::Link,
            (Some(How::Seed), _) => declared::How::Seed,
            (Some(How::Merge), Some(format)) => declared::How::Merge(match format {
                Format::Json => merge::Format::Json,
                Format::Ini => merge::Format::Ini,
                Format::Toml => merge::Format::Toml,
            }),
            _ => declared::How::Copy,
        };
        plain.files.push(declared::File {
            path,
            content: content(file.content)?,
            mode: file.mode.unwrap_or(0o644),
            how,
        });
    }
    for (name, unit) in home.units {
        let bytes = match content(unit.content)? {
            declared::Content::Bytes(bytes) => bytes,
            declared::Content::Link(_) => Vec::new(),
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| Failure::new(Code::Config, format!("{name} is not UTF-8")))?;
        let enable = unit.enable;
        plain.units.push(declared::Unit { name, text, enable });
    }
    Ok(plain)
}

fn content(content: Content) -> Outcome<declared::Content> {
    Ok(match content {
        Content::Text(text) => declared::Content::Bytes(text.into_bytes()),
        Content::Link(target) => declared::Content::Link(target),
        Content::Copy(path) => declared::Content::Bytes(read(&path)?),
        Content::Folder => declared::Content::Bytes(Vec::new()),
    })
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = LARGEST as u64 + 1;
    let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    let cannot = |why: String| {
        Failure::new(
            Code::Config,
            format!("cannot read {}: {why}", path.display()),
        )
    };
    read.map_err(|e| cannot(e.to_string()))?;
    if bytes.len() > LARGEST {
        return Err(cannot(format!("it is larger than {} MiB", LARGEST >> 20)));
    }
    Ok(bytes)
}
