//! `elea image pull`.

use crate::commands::build;
use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::options::{Network, Trust};
use crate::text::Lines as _;
use crate::{places, text};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_formats::release::ImageManifest;
use serde::Serialize;
use std::collections::BTreeMap;

/// Fetch an image that a trusted key signed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// registry:HOST/NAME:TAG, oci:DIR:TAG or oci-archive:FILE
    #[arg(value_name = "REF")]
    from: Reference,
    /// The name that it gets in the store [default: NAME:TAG]
    #[arg(long, value_parser = places::parse_name)]
    name: Option<String>,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    network: Network,
    /// Look at what is offered and fetch nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    image: ImageManifest,
    names: Vec<String>,
    /// Bytes that came over the network.
    fetched: u64,
    layers_fetched: usize,
    layers_reused: usize,
    /// The ids of the keys that vouch for it.
    signed_by: Vec<Sha256>,
    /// What decided that it may be taken.
    rule: String,
    /// The images of the specialisations by name.
    specialisations: BTreeMap<String, Digest>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let (options, policy) = (
        args.network.options()?,
        args.trust.policy(&context.global.root)?,
    );
    let (store, bars) = (context.store_or_new("elea image pull")?, context.bars());
    let offer = elea_net::check(&args.from, &store, &options, &policy, None, &bars)?;
    if args.dry_run {
        let (missing, total) = (text::size(offer.missing), text::size(offer.total));
        context.say(&format!("would fetch at most {missing} of {total}"));
        return Ok(Code::Done);
    }
    let pulled = elea_net::pull(&offer, &store, &options, &policy, None, &bars)?;
    let name = args.name.clone().or_else(|| places::name_of(&args.from));
    let beside = places::with_beside(&args.from, &pulled, &store, &options, &policy, &bars)?;
    let mut specialisations = BTreeMap::new();
    let (mut fetched, mut layers) = (
        pulled.fetched,
        [pulled.layers_fetched, pulled.layers_reused],
    );
    for (special, one) in &beside {
        if let Some(name) = &name {
            store.set_ref(&build::beside(name, special), &one.image.image)?;
        }
        specialisations.insert(special.clone(), one.image.image);
        fetched += one.fetched;
        layers[0] += one.layers_fetched;
        layers[1] += one.layers_reused;
    }
    if let Some(name) = &name {
        store.set_ref(name, &pulled.image.image)?;
    }
    let shown = Shown {
        signed_by: offer.verdict.keys().to_vec(),
        rule: offer.verdict.rule().into(),
        names: name.into_iter().collect(),
        image: pulled.image,
        fetched,
        layers_fetched: layers[0],
        layers_reused: layers[1],
        specialisations,
    };
    context.show(&shown, |s| {
        let layers = s.layers_fetched + s.layers_reused;
        let mut out = format!(
            "{}\n{}: {} fetched in {} of {}\nsigned by {}\n",
            s.image.image,
            s.names.join(", "),
            text::size(s.fetched),
            s.layers_fetched,
            text::count(layers as u64, "layer"),
            text::signers(&s.signed_by, &s.rule),
        );
        for (name, image) in &s.specialisations {
            out.line(format!("specialisation {name}: {image}"));
        }
        out
    })
}
