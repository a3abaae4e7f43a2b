//! `elea image digest`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::options::Network;
use crate::{places, text};
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::erofs::Version;
use elea_formats::form::{self, Form, INLINE_LIMIT, oci};
use elea_formats::oci::reference::Reference;
use elea_formats::tree::{Content, Node, Tree};
use elea_formats::{erofs, verity};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Print the digest that a tree has as an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// dir:PATH, tar:PATH, dump:PATH or erofs:PATH (`-` is stdin), or a name in the store; for the
    /// forms oci and oci-boot oci:DIR:TAG, oci-archive:FILE or registry:HOST/NAME:TAG
    #[arg(value_name = "SRC")]
    source: Reference,
    /// The form that is digested: os-1, raw; or as composefs-rs does it: oci, oci-boot
    #[arg(long, default_value_t)]
    form: Asked,
    /// The format of the image: v1, v0
    #[arg(long, default_value_t)]
    format: Version,
    /// What names objects, and the image: sha256 or sha512 [default: what the source has, else sha256; for the
    /// forms of composefs-rs sha512]
    #[arg(long)]
    algorithm: Option<Algorithm>,
    #[command(flatten)]
    network: Network,
}

/// A form that can be digested; those of composefs-rs are not made by any other command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Ours(Form),
    Oci,
    OciBoot,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Ours(form) => form.name(),
            Self::Oci => "oci",
            Self::OciBoot => "oci-boot",
        }
    }
}

impl Default for Asked {
    fn default() -> Self {
        Self::Ours(Form::default())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "oci" => Ok(Self::Oci),
            "oci-boot" => Ok(Self::OciBoot),
            other => other
                .parse()
                .map(Self::Ours)
                .map_err(|e: form::UnknownForm| format!("{e}, `oci` or `oci-boot`")),
        }
    }
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
    let image = match args.form {
        Asked::Ours(form) => of(&args.source, form, args.format, args.algorithm, context)?,
        Asked::Oci | Asked::OciBoot => of_layers(args, context)?,
    };
    let shown = Shown {
        schema: "elea.image-digest/1",
        source: args.source.to_string(),
        form: args.form.name(),
        format: args.format.to_string(),
        image,
    };
    context.show(&shown, |shown| format!("{}\n", shown.image))
}

/// The digest of a tree in a form, by the algorithm that is asked for, or else by the one that the source has.
/// Nothing is left in any store.
pub(super) fn of(
    source: &Reference,
    form: Form,
    format: Version,
    algorithm: Option<Algorithm>,
    context: &Context,
) -> Outcome<Digest> {
    let unknown = |digest: &Digest| Err(elea_store::Error::NoObject { digest: *digest });
    if let Some(tree) = places::described(source, algorithm)? {
        if form == Form::Os1 {
            needs_no_content(source, &tree)?;
        }
        return measure(tree, form, format, unknown);
    }
    if let Reference::Directory(path) = source {
        let algorithm = algorithm.unwrap_or_default();
        let tree = elea_store::read_dir(path, &places::scratch(), algorithm, &context.bars())?;
        return measure(tree, form, format, unknown);
    }
    places::digested(source, algorithm.unwrap_or_default(), context, |store| {
        let (mut tree, _) = places::tree(store, source, &context.bars())?;
        let load = |digest: &Digest| store.read_object(digest, INLINE_LIMIT as u64);
        bring(&mut tree, form, load)?;
        Ok(store.digest_by(algorithm.unwrap_or(store.algorithm()), &tree, format)?)
    })
}

/// What composefs-rs computes for an OCI image. Nothing is left in any store.
fn of_layers(args: &Args, context: &Context) -> Outcome<Digest> {
    let source = &args.source;
    if !matches!(
        source,
        Reference::Layout { .. } | Reference::Archive(_) | Reference::Registry(_)
    ) {
        let suitable =
            "the forms oci and oci-boot are of layers: oci:, oci-archive: and registry: are read";
        return Err(places::unsuitable(source, suitable));
    }
    let algorithm = args.algorithm.unwrap_or(Algorithm::Sha512);
    places::digested(source, algorithm, context, |store| {
        let layers = elea_net::look(source, store, &args.network.options()?, &context.bars())?;
        let mut tree = store.assemble_in_order(&layers)?;
        let refused = |e: oci::NoOciForm| Failure::new(Code::Failed, format!("{source}: {e}"));
        oci::oci(&mut tree).map_err(refused)?;
        if args.form == Asked::OciBoot {
            oci::bootable(&mut tree).map_err(refused)?;
            store.label(&mut tree)?;
        }
        Ok(erofs::digest(&tree, args.format))
    })
}

/// The digest of a tree in a form; `load` gives the content of a small object.
pub(super) fn measure(
    mut tree: Tree,
    form: Form,
    format: Version,
    load: impl FnMut(&Digest) -> Result<Vec<u8>, elea_store::Error>,
) -> Outcome<Digest> {
    bring(&mut tree, form, load)?;
    Ok(erofs::digest(&tree, format))
}

/// Brings a tree into a form.
fn bring(
    tree: &mut Tree,
    form: Form,
    load: impl FnMut(&Digest) -> Result<Vec<u8>, elea_store::Error>,
) -> Outcome<()> {
    form::canonical(tree, form);
    if form == Form::Os1 {
        let algorithm = tree.algorithm();
        form::settle(tree, load, |bytes| Ok(verity::measure(algorithm, bytes)))?;
    }
    Ok(())
}

/// How many paths an error names.
const SHOWN: usize = 3;

/// The form `os-1` has small files in the image, so what it is of a tree without them is unknown.
fn needs_no_content(source: &Reference, tree: &Tree) -> Outcome<()> {
    let (mut first, mut count) = (Vec::new(), 0);
    tree.walk(|path, node| {
        if let Node::Leaf(id) = node
            && matches!(tree.content(id), Content::Object { size, .. } if size <= INLINE_LIMIT as u64)
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
