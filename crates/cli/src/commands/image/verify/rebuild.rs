//! `elea image verify --rebuild`.

use crate::commands::image::lines;
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::{places, text};
use elea_compose::lock::{self, Update};
use elea_compose::source::{Builder, Source, SourceError};
use elea_formats::digest::{Digest, Sha256};
use elea_formats::oci::reference::Reference;
use elea_store::Change;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a rebuild takes beside the image.
#[derive(Debug, clap::Args)]
pub(super) struct Inputs {
    /// Fetch nothing: the packages that are kept must do
    #[arg(long, requires = "rebuild")]
    locked: bool,
    /// Where fetched packages are kept [default: cache/packages beside the store]
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    cache: Option<PathBuf>,
    /// Where the work is done, in some gigabytes [default: $TMPDIR or /var/tmp]
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    work: Option<PathBuf>,
}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    image: Digest,
    /// What the rebuild gave.
    again: Digest,
    same: bool,
    /// The version of Elea that built the image, and this one.
    built_by: String,
    rebuilt_by: String,
    /// SHA-256 of the programs that were taken from the image as they are.
    elea: Sha256,
    initrd: Sha256,
    /// What differs.
    changes: Vec<Change>,
}

pub(super) fn run(reference: &Reference, inputs: &Inputs, context: &Context) -> Outcome {
    let Reference::Store(name) = reference else {
        let text =
            format!("`--rebuild` is of an image in the store, and `{reference}` is outside it");
        return Err(Failure::new(Code::Usage, text).hint("`elea image pull` brings it there"));
    };
    Context::need_root("building an image")?;
    let store = context.store()?;
    let image = store.resolve(name)?;
    let _lease = store.lease("elea image verify --rebuild")?;
    let work = inputs.work.clone().unwrap_or_else(places::scratch);
    let source = Source::load(&store, &image, &work).map_err(|e| match e {
        SourceError::Config(found) => context.config_errors(&found),
        other => other.into(),
    })?;
    let default = || lock::Options::cache_beside(&context.store_path());
    let options = lock::Options {
        cache: inputs.cache.clone().unwrap_or_else(default),
        work,
        locked: inputs.locked,
        update: Update::Keep,
        fresh: true,
        clock_ahead: std::time::Duration::ZERO,
        // Those of the image are taken.
        tools: None,
        elea: PathBuf::new(),
        initrd: PathBuf::new(),
        specialisations: BTreeMap::new(),
    };
    let built = source.build(&store, &options, &context.bars());
    let again = built.map_err(|e| context.build_error(e))?.image;
    let same = again == image;
    let changes = if same {
        Vec::new()
    } else {
        store.diff(&image, &again)?
    };
    let [elea, initrd] = source.programs;
    let shown = Shown {
        schema: "elea.rebuild/1",
        image,
        again,
        same,
        built_by: source.builder.elea.clone(),
        rebuilt_by: Builder::this().elea,
        elea,
        initrd,
        changes,
    };
    context.show(&shown, |s| {
        let facts = text::facts(&[
            ("image", Some(s.image.to_string())),
            (
                "rebuilt",
                Some(if s.same {
                    "the same".into()
                } else {
                    s.again.to_string()
                }),
            ),
            (
                "built by",
                Some(format!("elea {}", text::plain(&s.built_by))),
            ),
            ("elea inside", Some(format!("sha256:{}", s.elea))),
            ("elea-initrd inside", Some(format!("sha256:{}", s.initrd))),
        ]);
        if s.same {
            facts
        } else {
            facts + &lines(&s.changes)
        }
    })?;
    if same {
        return Ok(Code::Done);
    }
    let failure = Failure::new(
        Code::Verification,
        format!("the rebuild gave {again}, and not {image}"),
    );
    Err(if shown.built_by == shown.rebuilt_by {
        failure.hint(format!(
            "`elea image explain {} {}` shows every field that differs",
            image.short(),
            again.short()
        ))
    } else {
        failure.hint(format!(
            "it was built by elea {}, and this is {}: the same version is to rebuild it",
            text::plain(&shown.built_by),
            shown.rebuilt_by
        ))
    })
}
