//! `elea image verify`.

mod rebuild;

use crate::context::Context;
use crate::failure::Outcome;
use crate::options::{Network, Trust};
use crate::{places, text};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_store::trust::Verdict;
use serde::Serialize;

/// Say who signed an image, and whether that key is trusted; or build it again and compare
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// registry:…, oci:DIR:TAG, oci-archive:FILE, or a name in the store
    #[arg(value_name = "REF")]
    reference: Reference,
    /// Build it again from what is inside it, and compare: of an image in the store. Signatures are not asked for
    #[arg(long)]
    rebuild: bool,
    #[command(flatten)]
    inputs: rebuild::Inputs,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    network: Network,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    reference: String,
    /// The id of the first trusted key; none for what needs no signature here.
    key: Option<Sha256>,
    /// The ids of all that count.
    keys: Vec<Sha256>,
    /// What decided.
    rule: String,
    manifest: Option<String>,
    image: Option<Digest>,
    name: Option<String>,
    version: Option<String>,
    epoch: Option<u64>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    if args.rebuild {
        return rebuild::run(&args.reference, &args.inputs, context);
    }
    let policy = args.trust.policy(&context.global.root)?;
    let options = args.network.options()?;
    let verdict = places::verdict(
        &context.store_or_new("elea image verify")?,
        &args.reference,
        &options,
        &policy,
        &context.bars(),
    )?;
    let mut shown = Shown {
        schema: "elea.verify/1",
        reference: args.reference.to_string(),
        key: verdict.keys().first().copied(),
        keys: verdict.keys().to_vec(),
        rule: verdict.rule().into(),
        manifest: None,
        image: None,
        name: None,
        version: None,
        epoch: None,
    };
    if let Verdict::Signed { claims, .. } = verdict {
        shown.manifest = Some(format!("sha256:{}", claims.manifest));
        if let Some(elea) = claims.elea {
            shown.image = Some(elea.image);
            shown.name = Some(elea.name);
            shown.version = Some(elea.version);
            shown.epoch = Some(elea.epoch);
        }
    }
    context.show(&shown, |s| {
        let keys: Vec<_> = s.keys.iter().map(Sha256::to_string).collect();
        let signed = if keys.is_empty() {
            "nobody, which is allowed here".into()
        } else {
            keys.join("\n")
        };
        text::facts(&[
            ("signed by", Some(signed)),
            ("decided by", Some(s.rule.clone())),
            ("manifest", s.manifest.clone()),
            ("image", s.image.map(|d| d.to_string())),
            ("system", s.name.clone()),
            ("version", s.version.clone()),
            ("epoch", s.epoch.map(|e| e.to_string())),
        ])
    })
}
