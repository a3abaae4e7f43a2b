//! A shutdown that a person asked for before there was a verdict.

use crate::error::Error;
use crate::machine::Machine;
use crate::verdict;
use elea_formats::booted::Try;
use elea_sys::durable;
use std::fs;

/// Marks the try of this boot as ended by the user, if it has no verdict: it counts as no failure.
/// False where the try has its verdict, or none was recorded.
pub(crate) fn mark(machine: &Machine) -> Result<bool, Error> {
    let booted = machine.booted().ok_or(Error::NotBooted)?;
    let path = machine
        .generation(booted.generation)
        .join(format!("tries/{}.json", booted.boot_id));
    let open = verdict::now().is_none();
    let record = fs::read(&path).ok().filter(|_| open);
    let record = record.and_then(|text| serde_json::from_slice::<Try>(&text).ok());
    let Some(mut record) = record else {
        return Ok(false);
    };
    record.ended = Some("user".into());
    let text = serde_json::to_vec(&record).unwrap_or_default();
    durable::write(&path, &text)?;
    Ok(true)
}
