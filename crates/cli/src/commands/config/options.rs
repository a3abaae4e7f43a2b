//! `elea config options`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::text::Lines as _;
use elea_compose::config::keys::{Kind, all};
use serde::Serialize;

/// List what a config can say: every key with its type, its default and what it means
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Words that the key's name or its meaning must have
    search: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    options: Vec<Described>,
}

/// A key.
#[derive(Serialize)]
struct Described {
    /// The dotted name: `users.NAME.uid`.
    key: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// What holds without it; none where it must be given.
    default: Option<&'static str>,
    doc: &'static str,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let all = all().flat_map(|section| {
        section.keys.iter().flat_map(|key| {
            let of = section.path(key);
            let inner = match key.kind {
                Kind::Tables(keys) => keys,
                _ => &[],
            };
            let inner = inner
                .iter()
                .map(move |key| (format!("{of}[].{}", key.name), key));
            std::iter::once((section.path(key), key)).chain(inner)
        })
    });
    let all = all.map(|(name, key)| Described {
        key: name,
        kind: key.kind,
        default: (!key.default.is_empty()).then_some(key.default),
        doc: key.doc,
    });
    let words: Vec<String> = args.search.iter().map(|word| word.to_lowercase()).collect();
    let fits = |option: &Described| {
        let text = format!("{} {}", option.key, option.doc).to_lowercase();
        words.iter().all(|word| text.contains(word))
    };
    let options: Vec<Described> = all.filter(fits).collect();
    if options.is_empty() {
        let text = format!("no key has to do with `{}`", args.search.join(" "));
        let help = "`elea config options` lists all";
        return Err(Failure::new(Code::Failed, text).hint(help));
    }
    let schema = "elea.config-options/1";
    context.show(&Shown { schema, options }, |shown| {
        let mut out = String::new();
        for option in &shown.options {
            let default = match option.default {
                Some(default) => format!("default: {default}"),
                None => "must be given".into(),
            };
            out.line(format!(
                "{} ({}; {default})",
                option.key,
                option.kind.word()
            ));
            out.line(format!("    {}", option.doc));
        }
        out
    })
}
