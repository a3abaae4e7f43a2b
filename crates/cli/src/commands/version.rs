//! `elea version`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_formats::form::Form;
use elea_formats::{booted, generation, oplog, release};
use serde::Serialize;

/// Show the program's version and the formats that it reads and writes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Shown {
    schema: &'static str,
    version: &'static str,
    architecture: &'static str,
    /// The forms of trees, the default first.
    forms: [&'static str; 2],
    /// The schemas of what it writes to a machine.
    formats: [&'static str; 5],
}

pub(crate) fn run(_: &Args, context: &Context) -> Outcome {
    let shown = Shown {
        schema: "elea.version/1",
        version: env!("CARGO_PKG_VERSION"),
        architecture: std::env::consts::ARCH,
        forms: [Form::Os1.name(), Form::Raw.name()],
        formats: [
            release::SCHEMA,
            generation::SCHEMA,
            oplog::SCHEMA,
            booted::SCHEMA,
            booted::TRY_SCHEMA,
        ],
    };
    context.show(&shown, |s| {
        text::facts(&[
            ("elea", Some(s.version.to_owned())),
            ("architecture", Some(s.architecture.to_owned())),
            ("forms", Some(s.forms.join(", "))),
            ("formats", Some(s.formats.join(", "))),
        ])
    })
}
