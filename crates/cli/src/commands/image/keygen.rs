//! `elea image keygen`.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::password;
use elea_store::trust::{Algorithm, PrivateKey};
use elea_sys::durable;
use serde::Serialize;
use std::path::PathBuf;

/// Make a key pair for signing images: PREFIX.key and PREFIX.pub
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the two files go; an existing key is never replaced
    prefix: PathBuf,
    /// Ed25519 instead of ECDSA P-256, which cosign verifies too
    #[arg(long)]
    ed25519: bool,
    /// Put the private key behind a password, as cosign does: `$COSIGN_PASSWORD`, or a typed one
    #[arg(long)]
    password: bool,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

const NO_PASSWORD: &str =
    "there is no password: set $COSIGN_PASSWORD, or type the same twice on a terminal";

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    key: PathBuf,
    public: PathBuf,
    id: String,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let beside = |ending: &str| {
        let mut name = args.prefix.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let algorithm = if args.ed25519 {
        Algorithm::Ed25519
    } else {
        Algorithm::EcdsaP256
    };
    let key = PrivateKey::generate(algorithm)?;
    let shown = Shown {
        schema: "elea.key/1",
        key: beside(".key"),
        public: beside(".pub"),
        id: key.public().id().to_string(),
    };
    if shown.key.exists() || shown.public.exists() {
        return Err(Failure::new(
            Code::Failed,
            format!(
                "{} or {} is there already",
                shown.key.display(),
                shown.public.display()
            ),
        )
        .hint("choose another prefix; a key that images were signed with is not replaced"));
    }
    if args.dry_run {
        let (key, public) = (shown.key.display(), shown.public.display());
        context.say(&format!("would make {key} and {public}"));
        return Ok(Code::Done);
    }
    let password = args.password.then(|| password::choose().ok_or(NO_PASSWORD));
    let password = password
        .transpose()
        .map_err(|e| Failure::new(Code::Failed, e))?;
    key.save(&shown.key, password.as_deref())?;
    durable::write(&shown.public, key.public().to_pem().as_bytes())?;
    context.show(&shown, |shown| {
        format!(
            "{}: keep it secret; `elea image push … --sign` uses it\n\
             {}: give it to machines (/etc/elea/trust.d) and to `elea install --key`\n",
            shown.key.display(),
            shown.public.display()
        )
    })
}
