//! `elea image explain`.

use super::digest;
use crate::context::Context;
use crate::failure::Outcome;
use crate::places;
use crate::text::{self, Lines};
use elea_formats::digest::Digest;
use elea_formats::erofs::{self, Version};
use elea_formats::form::{Form, INLINE_LIMIT, Rule};
use elea_formats::oci::reference::Reference;
use elea_formats::tree::Tree;
use elea_store::{Difference, Explanation, Store, Verdict};
use serde::Serialize;
use std::collections::BTreeMap;

/// So many differences are printed, and so many examples of each rule.
const SHOWN: usize = 40;
const EXAMPLES: usize = 3;

/// Say why two digests differ: path, field and both values
///
/// Trees that are read (dir:, tar:) are compared as they are found. What the form os-1 evens out is
/// listed last, by rule: if nothing else differs, the difference is only canonicalisation.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// dir:PATH, tar:PATH (`-` is stdin), or a name or digest in the store
    #[arg(value_name = "A")]
    a: Reference,
    /// The other one
    #[arg(value_name = "B")]
    b: Reference,
}

/// One of the two.
#[derive(Serialize)]
struct Side {
    source: String,
    /// The form of an image in the store; a tree that was read is as found.
    form: String,
    image: Digest,
    /// The digest of the same tree in the form `os-1`.
    os_1: Digest,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    a: Side,
    b: Side,
    #[serde(flatten)]
    explanation: Explanation,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if matches!(
        (&args.a, &args.b),
        (Reference::Tar(None), Reference::Tar(None))
    ) {
        return Err(places::unsuitable(&args.b, "stdin can be read only once"));
    }
    let (a, tree_a) = side(&args.a, context)?;
    let (b, tree_b) = side(&args.b, context)?;
    let shown = Shown {
        schema: "elea.image-explain/1",
        a,
        b,
        explanation: elea_store::explain(&tree_a, &tree_b),
    };
    context.show(&shown, lines)
}

fn side(source: &Reference, context: &Context) -> Outcome<(Side, Tree)> {
    places::digested(source, context.algorithm(), context, |store: &Store| {
        let (image, form, tree) = if let Reference::Store(name) = source {
            let image = store.resolve(name)?;
            (image, store.image(&image)?.form, store.tree(&image)?)
        } else {
            let tree = places::tree(store, source, &context.bars())?.0;
            let image = erofs::digest(&tree, Version::V1);
            (image, Form::Raw.name().into(), tree)
        };
        let load = |digest: &Digest| store.read_object(digest, INLINE_LIMIT as u64);
        let side = Side {
            source: source.to_string(),
            form,
            image,
            os_1: digest::measure(tree.clone(), Form::Os1, Version::V1, load)?,
        };
        Ok((side, tree))
    })
}

fn lines(shown: &Shown) -> String {
    let mut out = String::new();
    for (name, side) in [("A", &shown.a), ("B", &shown.b)] {
        out.line(format!(
            "{name}  {} {}  {}",
            side.image, side.form, side.source
        ));
    }
    out.line(verdict(shown));
    let differences = &shown.explanation.differences;
    let (mut stays, mut ruled) = (Vec::new(), BTreeMap::<Rule, Vec<&Difference>>::new());
    for difference in differences {
        match difference.rule {
            None => stays.push(difference),
            Some(rule) => ruled.entry(rule).or_default().push(difference),
        }
    }
    some(&mut out, &stays, SHOWN);
    if !ruled.is_empty() {
        out.line("the form os-1 evens out:");
    }
    for (rule, differences) in ruled {
        let number = text::count(differences.len() as u64, "difference");
        out.line(format!("  {rule}: {number}"));
        some(&mut out, &differences, EXAMPLES);
    }
    out
}

fn verdict(shown: &Shown) -> String {
    let both = shown.a.os_1 == shown.b.os_1;
    match shown.explanation.verdict {
        Verdict::Same if shown.a.image == shown.b.image => "the same digest, the same tree".into(),
        Verdict::Same => {
            "the same tree; one of the images was not written in the canonical way".into()
        }
        Verdict::FormOfA => "only canonicalisation: B is the form os-1 of A".into(),
        Verdict::FormOfB => "only canonicalisation: A is the form os-1 of B".into(),
        Verdict::SameInForm if both => {
            format!(
                "only canonicalisation: in the form os-1 both are {}",
                shown.a.os_1
            )
        }
        Verdict::SameInForm => "only canonicalisation: in the form os-1 both are one tree".into(),
        Verdict::Different => {
            let all = &shown.explanation.differences;
            let stays = all.iter().filter(|d| d.rule.is_none()).count();
            let number = text::count(stays as u64, "difference");
            format!("two trees: {number} in every form")
        }
    }
}

/// The first of some differences, and how many more there are.
fn some(out: &mut String, differences: &[&Difference], limit: usize) {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
    for d in differences.iter().take(limit) {
        let (a, b) = (value(&d.a), value(&d.b));
        out.line(format!("    {}  {}: {a} → {b}", d.path, d.field));
    }
    if differences.len() > limit {
        let more = differences.len() - limit;
        out.line(format!("    … and {more} more; `--json` lists them all"));
    }
}
