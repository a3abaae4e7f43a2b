//! `elea build --check`.

use crate::commands::image::lines;
use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::places;
use elea_compose::config::Config;
use elea_compose::elsewhere::{self, Place};
use elea_compose::lock::Options;
use elea_formats::digest::Digest;
use elea_store::{Change, Store};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::Path;

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    image: Digest,
    /// What the second build gave.
    again: Digest,
    same: bool,
    /// By how many seconds the second build's packages saw a later time; 0 where they could not.
    clock_ahead: u64,
    /// What differs.
    changes: Vec<Change>,
}

/// What is read of what the second build prints.
#[derive(Deserialize)]
struct Printed {
    image: Digest,
}

/// Builds again, from the packages alone and in other circumstances, and compares.
pub(super) fn run(
    config: &Config,
    store: &Store,
    image: &Digest,
    options: &Options,
    context: &Context,
) -> Outcome {
    let name = format!("elea-check:{}", std::process::id());
    let mut clock_ahead = 0;
    let printed = elsewhere::run(
        &places::this_program()?,
        |place| {
            clock_ahead = place.clock_ahead.as_secs();
            words(config, options, place, &name, context)
        },
        options,
        &context.bars(),
    );
    // The images stay until `elea store gc`, so that they can be looked at.
    let beside = super::beside(&name, "");
    for known in store.refs()?.into_keys() {
        if known == name || known.starts_with(&beside) {
            store.remove_ref(&known)?;
        }
    }
    let printed = printed.map_err(|e| context.build_error(e))?;
    let again = serde_json::from_slice::<Printed>(&printed)?.image;
    let shown = Shown {
        schema: "elea.build-check/1",
        image: *image,
        again,
        same: again == *image,
        clock_ahead,
        changes: if again == *image {
            Vec::new()
        } else {
            store.diff(image, &again)?
        },
    };
    context.show(&shown, |s| {
        if s.same {
            let clock = if s.clock_ahead == 0 {
                " but by the same clock"
            } else {
                ""
            };
            format!(
                "{}\nbuilt twice, in different circumstances{clock}, and no file differs\n",
                s.image
            )
        } else {
            lines(&s.changes)
        }
    })?;
    if shown.same {
        return Ok(Code::Done);
    }
    let text = format!("the second build gave {again}, and the first {image}");
    let hint = format!(
        "`elea image explain {} {}` shows every field that differs",
        image.short(),
        again.short()
    );
    Err(Failure::new(Code::Verification, text).hint(hint))
}

/// The command line of the second build.
fn words(
    config: &Config,
    options: &Options,
    place: &Place,
    name: &str,
    context: &Context,
) -> Vec<OsString> {
    let absolute = |path: &Path| {
        let whole = std::path::absolute(path);
        whole.map_or_else(|_| path.into(), OsString::from)
    };
    let mut words: Vec<OsString> = vec!["--root".into(), absolute(&context.global.root)];
    if let Some(store) = &context.global.store {
        words.extend(["--store".into(), absolute(store)]);
    }
    words.extend(["--json", "build", "--locked", "--fresh", "--name", name].map(OsString::from));
    let seconds = place.clock_ahead.as_secs();
    if seconds > 0 {
        words.extend(["--clock-ahead".into(), seconds.to_string().into()]);
    }
    if let Some(special) = &config.special {
        words.extend(["--specialisation".into(), special.into()]);
    }
    for (option, path) in [
        ("--cache", &place.cache),
        ("--work", &place.work),
        ("--elea", &options.elea),
        ("--initrd", &options.initrd),
    ] {
        words.extend([option.into(), absolute(path)]);
    }
    words.extend(["--".into(), absolute(&config.path)]);
    words
}
