//! `elea image sign`.

use crate::context::Context;
use crate::failure::{Code, Outcome};
use crate::options::Network;
use crate::password;
use elea_formats::digest::Sha256;
use elea_formats::oci::reference::Reference;
use elea_store::trust::PrivateKey;
use serde::Serialize;
use std::path::PathBuf;

/// Sign an image that is in a registry or an OCI layout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// registry:HOST/NAME:TAG or oci:DIR:TAG
    #[arg(value_name = "REF")]
    reference: Reference,
    /// The private key (`elea image keygen` or cosign makes one)
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    #[command(flatten)]
    network: Network,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    reference: String,
    manifest: String,
    key: Sha256,
    /// False if this key had signed the same before.
    added: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let key = PrivateKey::load(&args.key, password::ask)?;
    if args.dry_run {
        let id = key.public().id().short();
        context.say(&format!("would sign {} as {id}", args.reference));
        return Ok(Code::Done);
    }
    let options = args.network.options()?;
    let signed = elea_net::sign(&args.reference, &options, &key, None, &context.bars())?;
    let shown = Shown {
        schema: "elea.sign/1",
        reference: args.reference.to_string(),
        manifest: format!("sha256:{}", signed.claims.manifest),
        key: signed.key,
        added: signed.added,
    };
    context.show(&shown, |s| {
        let what = if s.added {
            "signed"
        } else {
            "was signed before"
        };
        format!("{} {what} by {}\n", s.manifest, s.key.short())
    })
}
