//! `elea image push`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Network, Packing};
use crate::text::Lines as _;
use crate::{password, text};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_store::trust::PrivateKey;
use serde::Serialize;
use std::path::PathBuf;

/// Put an image into a registry or an OCI layout, signed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// registry:HOST/NAME:TAG or oci:DIR:TAG
    #[arg(value_name = "REF")]
    to: Reference,
    /// Sign it with this private key (`elea image keygen` or cosign makes one)
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    #[command(flatten)]
    packing: Packing,
    #[command(flatten)]
    network: Network,
    /// Say what would be pushed and push nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    image: Digest,
    reference: String,
    manifest: String,
    layers: usize,
    /// Bytes that were uploaded.
    uploaded: u64,
    /// Bytes that were there already.
    present: u64,
    /// The id of the key that signed.
    signed_by: Option<Sha256>,
    /// The names of the specialisations that went along.
    specialisations: Vec<String>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let key = args.sign.as_deref();
    let key = key
        .map(|path| PrivateKey::load(path, password::ask))
        .transpose()?;
    let store = context.store_to_change("elea image push")?;
    let image = store.resolve(&args.image)?;
    if args.dry_run {
        let size = text::size(store.image(&image)?.bytes);
        let (name, to) = (&args.image, &args.to);
        context.say(&format!(
            "would push {name} ({image}, {size} unpacked) to {to}"
        ));
        return Ok(crate::failure::Code::Done);
    }
    let options = elea_net::Options {
        compression: args.packing.compression,
        ..args.network.options()?
    };
    let pushed = elea_net::push(
        &image,
        &store,
        &args.to,
        &options,
        key.as_ref(),
        &context.bars(),
    )?;
    let shown = Shown {
        schema: "elea.push/1",
        image,
        reference: args.to.to_string(),
        manifest: format!("sha256:{}", pushed.manifest),
        layers: pushed.layers,
        uploaded: pushed.uploaded,
        present: pushed.present,
        signed_by: pushed.signed_by,
        specialisations: pushed.specialisations,
    };
    context.show(&shown, |s| {
        let mut out = format!(
            "{}\n{}: {} uploaded, {} there already; {}\n",
            s.manifest,
            text::count(s.layers as u64, "layer"),
            text::size(s.uploaded),
            text::size(s.present),
            s.signed_by.map_or_else(
                || "not signed".into(),
                |key| format!("signed by {}", key.short())
            ),
        );
        if !s.specialisations.is_empty() {
            out.line(format!(
                "with the specialisations {}",
                s.specialisations.join(", ")
            ));
        }
        out
    })
}
