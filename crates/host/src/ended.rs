//! A shutdown that a person asked for before there was a verdict: `elea agent ended`.

use crate::error::Error;
use crate::machine::Machine;
use crate::verdict;
use elea_formats::booted::Try;
use elea_sys::durable;
use serde::Serialize;
use std::fs;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.ended/1";

/// What was done about the try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Whether the try was marked as cut short; else it has its verdict, or none was recorded.
    pub marked: bool,
}

/// Marks the try of this boot as ended by the user, if it has no verdict: it counts as no failure.
pub fn ended(machine: &Machine) -> Result<Ended, Error> {
    let booted = machine.booted().ok_or(Error::NotBooted)?;
    let path = machine
        .generation(booted.generation)
        .join(format!("tries/{}.json", booted.boot_id));
    let open = verdict::now().is_none();
    let record = fs::read(&path).ok().filter(|_| open);
    let record = record.and_then(|text| serde_json::from_slice::<Try>(&text).ok());
    let Some(mut record) = record else {
        return Ok(Ended {
            schema: SCHEMA,
            marked: false,
        });
    };
    record.ended = Some("user".into());
    let text = serde_json::to_vec(&record).unwrap_or_default();
    durable::write(&path, &text)?;
    Ok(Ended {
        schema: SCHEMA,
        marked: true,
    })
}
