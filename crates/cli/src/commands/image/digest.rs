//! `elea image digest`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::{places, text};
use elea_formats::digest::Digest;
use elea_formats::erofs::Version;
use elea_formats::form::{self, Form, INLINE_LIMIT};
use elea_formats::oci::reference::Reference;
use elea_formats::tree::{Content, Entry, Tree};
use elea_formats::{erofs, verity};
use elea_store::Store;
use elea_sys::At;
use serde::Serialize;

/// Print the digest that a tree has as an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// dir:PATH, tar:PATH, dump:PATH or erofs:PATH (`-` is stdin), or a name in the store
    #[arg(value_name = "SRC")]
    source: Reference,
    /// The form that is digested: os-1, raw
    #[arg(long, default_value_t)]
    form: Form,
    /// The format of the image: v1, v0
    #[arg(long, default_value_t)]
    format: Version,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    source: String,
    form: &'static str,
    format: String,
    image: Digest,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let shown = Shown {
        schema: "elea.image-digest/1",
        source: args.source.to_string(),
        form: args.form.name(),
        format: args.format.to_string(),
        image: of(&args.source, args.form, args.format, context)?,
    };
    context.show(&shown, |shown| format!("{}\n", shown.image))
}

/// The digest of a tree in a form. Nothing is left in any store.
pub(super) fn of(
    source: &Reference,
    form: Form,
    format: Version,
    context: &Context,
) -> Outcome<Digest> {
    if let Some(tree) = places::described(source)? {
        if form == Form::Os1 {
            needs_no_content(source, &tree)?;
        }
        let unknown = |digest: &Digest| Err(elea_store::Error::NoObject { digest: *digest });
        return measure(tree, form, format, unknown);
    }
    // The contents are needed only while they are digested.
    let scratch = places::scratch();
    let folder = tempfile::tempdir_in(&scratch).at("create a folder in", &scratch)?;
    let store = match source {
        Reference::Store(_) => context.store()?,
        _ => Store::init(&folder.path().join("store"))?,
    };
    let (tree, _) = places::tree(&store, source, &context.bars())?;
    let load = |digest: &Digest| store.read_object(digest, INLINE_LIMIT as u64);
    measure(tree, form, format, load)
}

fn measure(
    mut tree: Tree,
    form: Form,
    format: Version,
    load: impl FnMut(&Digest) -> Result<Vec<u8>, elea_store::Error>,
) -> Outcome<Digest> {
    form::canonical(&mut tree, form);
    if form == Form::Os1 {
        form::settle(&mut tree, load, |bytes| Ok(verity::measure(bytes)))?;
    }
    Ok(verity::measure(&erofs::write(&tree, format)))
}

/// How many paths an error names.
const SHOWN: usize = 3;

/// The form `os-1` has small files in the image, so what it is of a tree without them is unknown.
fn needs_no_content(source: &Reference, tree: &Tree) -> Outcome<()> {
    let (mut first, mut count) = (Vec::new(), 0);
    tree.walk(|path, entry| {
        if let Entry::Leaf(_, leaf) = entry
            && matches!(leaf.content, Content::Object { size, .. } if size <= INLINE_LIMIT as u64)
        {
            count += 1;
            if first.len() < SHOWN {
                first.push(format!("`{}`", path.escape_ascii()));
            }
        }
        Ok::<(), Failure>(())
    })?;
    if count == 0 {
        return Ok(());
    }
    let more = if count > first.len() { ", …" } else { "" };
    let files = text::count(count as u64, "file");
    Err(Failure::new(
        Code::Failed,
        format!(
            "{source} has only the digests of {files} of up to 64 bytes, whose content the form \
             os-1 has in the image: {}{more}",
            first.join(", ")
        ),
    )
    .hint("write them into it, import it into a store that has the objects, or use `--form raw`"))
}
