//! `elea config explain`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options;
use crate::text::Lines as _;
use elea_compose::config::{Config, Definition, Item, Origin, keys};
use serde::Serialize;
use std::path::PathBuf;

/// Say where a value comes from: everything that is said of it, and why it is what it is
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The value's name, or the table that it stands in: `system.version`, `services`
    key: String,
    /// The config's file; `-` is what comes by stdin
    #[arg(default_value = options::CONFIG)]
    config: PathBuf,
    /// Of a specialisation
    #[arg(long, value_name = "NAME")]
    specialisation: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    values: Vec<Explained>,
}

#[derive(Serialize)]
struct Explained {
    /// The dotted name.
    key: String,
    /// The value; none if something else took its place.
    value: Option<String>,
    /// Everything that is said of it, in the order in which it is laid over one another.
    said: Vec<Definition>,
    /// Of a list each item, with everybody who says it and who takes it out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    items: Vec<Item>,
}

impl Explained {
    fn new(config: &Config, key: String, value: Option<String>) -> Self {
        Self {
            said: config.said(&key),
            items: config.items(&key, value.as_deref()),
            key,
            value,
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let config = context.config(&args.config)?;
    let config = match &args.specialisation {
        None => &config,
        Some(name) => config.specialisation.get(name).ok_or_else(|| {
            let known: Vec<&str> = config.specialisation.keys().map(String::as_str).collect();
            let failure =
                Failure::new(Code::Usage, format!("no specialisation is called `{name}`"));
            match known[..] {
                [] => failure,
                _ => failure.hint(format!("there are: {}", known.join(", "))),
            }
        })?,
    };
    let values = explained(config, &args.key);
    if values.is_empty() {
        let text = format!("nothing in a config is called `{}`", args.key);
        let help = match keys::near(&args.key) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`elea config options` lists all that there is".into(),
        };
        return Err(Failure::new(Code::Usage, text).hint(help));
    }
    let schema = "elea.config-explain/1";
    context.show(&Shown { schema, values }, |shown| {
        let texts: Vec<String> = shown.values.iter().map(draw).collect();
        texts.join("\n")
    })
}

/// The values of this name or below it.
fn explained(config: &Config, key: &str) -> Vec<Explained> {
    let below = |name: &str| {
        name.strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let mut values: Vec<Explained> = config
        .values()
        .into_iter()
        .filter(|(name, _)| below(name))
        .map(|(key, value)| Explained::new(config, key, Some(value)))
        .collect();
    // What is said and has no value of its own: what a later part takes out, say.
    for name in config.said_keys().filter(|name| below(name)) {
        if !values.iter().any(|value| value.key == name) {
            values.push(Explained::new(config, name.to_owned(), None));
        }
    }
    values.sort_by(|a, b| a.key.cmp(&b.key));
    values
}

fn draw(explained: &Explained) -> String {
    let mut text = String::new();
    match &explained.value {
        Some(value) => text.line(format!("{} = {value}", explained.key)),
        None => text.line(format!("{}: not in what comes out", explained.key)),
    }
    if explained.said.is_empty() {
        text.line("  nobody says anything else: it is what Elea does by itself");
    }
    for said in &explained.said {
        text.line(format!("  {}", definition(said, &said.value)));
    }
    // Of a list that one place says whole there is nothing more to tell.
    let is_joined = explained.said.len() > 1;
    let is_cut = explained.items.iter().any(|item| !item.holds);
    if is_joined || is_cut {
        for item in &explained.items {
            text.line(format!("  {}", item.value));
            for said in &item.said {
                text.line(format!("    {}", definition(said, "")));
            }
        }
    }
    text
}

/// Where something is said, with which weight and why there; an arrow marks what holds.
fn definition(said: &Definition, value: &str) -> String {
    let mark = if said.holds { "→" } else { " " };
    let value = if value.is_empty() {
        String::new()
    } else {
        format!("{value} ")
    };
    let why = match said.why.as_str() {
        "" => String::new(),
        why => format!(" ({why})"),
    };
    let gone = match &said.removed {
        Some(at) => format!(", taken out by {}", place(at)),
        None => String::new(),
    };
    let at = place(&said.origin);
    format!("{mark} {at}: {value}{}{why}{gone}", said.rank.name())
}

fn place(at: &Origin) -> String {
    format!("{}:{}:{}", at.file.display(), at.line, at.column)
}
