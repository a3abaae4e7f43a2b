//! The records of boots without a verdict, and what two of them mean for a good generation.

use crate::disk::{generation, make_folder};
use elea_formats::booted::{TRY_SCHEMA, Try, rfc3339};
use elea_sys::{At as _, PathError, durable};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How many failures in a row a good generation may have before it gives way.
pub(crate) const FAILURES: usize = 2;
/// How many records are read; the host removes them at each healthy boot.
const LIMIT: usize = 64;

/// The records of a generation that count as failed boots, oldest first.
pub(crate) fn failed(folder: &Path, this_boot: &str) -> Vec<Try> {
    let mut tries: Vec<Try> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .take(LIMIT)
        .filter_map(|entry| serde_json::from_slice(&fs::read(entry.ok()?.path()).ok()?).ok())
        .filter(|t: &Try| t.counts() && t.boot_id != this_boot)
        .collect();
    tries.sort_by(|a, b| a.time.cmp(&b.time));
    tries
}

/// The folder of a generation's records.
pub(crate) fn folder(number: u64) -> PathBuf {
    generation(number).join("tries")
}

/// Records durably that this boot of the generation began.
pub(crate) fn record(number: u64, boot_id: &str) -> Result<PathBuf, PathError> {
    let folder = folder(number);
    make_folder(&folder)?;
    let path = folder.join(format!("{boot_id}.json"));
    let record = Try {
        schema: TRY_SCHEMA.to_owned(),
        boot_id: boot_id.to_owned(),
        time: now(),
        number,
        ended: None,
    };
    let text = serde_json::to_vec(&record).unwrap_or_default();
    durable::write(&path, &text)?;
    Ok(path)
}

/// Takes a generation's records away, by the person's choice.
pub(crate) fn forget(number: u64) -> Result<(), PathError> {
    let folder = folder(number);
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        fs::remove_file(entry.path()).at("remove", entry.path())?;
    }
    if folder.exists() {
        durable::sync_folder(&folder)?;
    }
    Ok(())
}

/// The clock, RFC 3339 in UTC.
pub(crate) fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(since.map_or(0, |d| d.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_open_records_of_other_boots_count() {
        let dir = tempfile::tempdir().unwrap();
        let write = |id: &str, time: &str, ended: Option<&str>| {
            let record = Try {
                schema: TRY_SCHEMA.into(),
                boot_id: id.into(),
                time: time.into(),
                number: 3,
                ended: ended.map(Into::into),
            };
            let text = serde_json::to_vec(&record).unwrap();
            fs::write(dir.path().join(format!("{id}.json")), text).unwrap();
        };
        write("b", "2026-01-02T00:00:00Z", None);
        write("a", "2026-01-01T00:00:00Z", None);
        write("user", "2026-01-03T00:00:00Z", Some("user"));
        write("this", "2026-01-04T00:00:00Z", None);
        fs::write(dir.path().join("torn.json"), "{\"sch").unwrap();
        let ids: Vec<_> = failed(dir.path(), "this")
            .into_iter()
            .map(|t| t.boot_id)
            .collect();
        assert_eq!(ids, ["a", "b"]);
        assert!(failed(&dir.path().join("none"), "this").is_empty());
    }
}
