//! What the initrd tells the running system and later boots: `/run/elea/booted` and the
//! try records `/elea/generations/<n>/tries/<boot_id>.json`.
//!
//! Both are JSON; `docs/formats/booted.md` describes them for other readers.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};

/// The value of `schema` in `/run/elea/booted`.
pub const SCHEMA: &str = "elea.booted/1";
/// The value of `schema` in a try record.
pub const TRY_SCHEMA: &str = "elea.try/1";
/// Where the running system finds [`Booted`].
pub const PATH: &str = "/run/elea/booted";

/// What was booted and how: `/run/elea/booted`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Booted {
    /// [`SCHEMA`].
    pub schema: String,
    /// The kernel's id of this boot (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The number of the generation whose `/etc` is mounted.
    pub generation: u64,
    /// The image that is the root.
    pub image: Digest,
    /// The block device of the physical root, `major:minor`.
    pub device: String,
    /// Its name in `/dev`, as the kernel named it in this boot.
    pub device_name: String,
    /// The file system's UUID, lower case with hyphens.
    pub root_uuid: String,
    /// The file system's kind: `ext4`, `btrfs` or `xfs`; `tmpfs` for a machine without a disk.
    pub root_kind: String,
    /// The record of this try, as a path of the running system.
    pub try_file: Option<String>,
    /// How many seconds the initrd took.
    pub initrd_seconds: f64,
    /// Whether every object must have the fs-verity digest that the image names.
    pub verity: Verity,
    /// Whether this is the rescue entry's boot of a generation.
    pub rescue: bool,
    /// Whether the generation's `/etc` was made in this boot, and from which generation's edits.
    pub etc: Etc,
    /// The watchdog that the initrd left running for the system, if any.
    pub watchdog: Option<String>,
    /// What the person should know.
    pub warnings: Vec<String>,
}

impl Booted {
    /// Whether the machine has no disk, and all of it is gone when it stops.
    pub fn is_in_memory(&self) -> bool {
        self.root_kind == "tmpfs"
    }
}

/// How the content of objects is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verity {
    /// The kernel refuses an object whose fs-verity digest is not the image's.
    Required,
    /// The objects are not sealed yet (`/elea/state/sealing` exists).
    Unsealed,
    /// The file system has no fs-verity.
    Unsupported,
}

/// What was done about the generation's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Etc {
    /// The generation ran before; its own upper layer was mounted.
    Kept,
    /// First boot of the generation, and there was nothing to carry over.
    Fresh,
    /// First boot of the generation: the local edits of `from` were carried over.
    Carried {
        /// The number of the generation that ran last.
        from: u64,
    },
    /// `/etc` and `/var` are fresh, in `/elea/state/boots/<boot id>`, but for what the image keeps.
    Ephemeral,
}

/// One boot of a generation that has no verdict yet.
///
/// The initrd writes it before the hand-over. The host removes the generation's records
/// when the boot is found healthy; so two records without `ended` are two failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// [`TRY_SCHEMA`].
    pub schema: String,
    /// The kernel's id of the boot.
    pub boot_id: String,
    /// The clock at the time of the boot, RFC 3339 in UTC. Machines without a clock lie here.
    pub time: String,
    /// The generation.
    pub number: u64,
    /// Why the try ended before a verdict without being a failure: `user`, `power`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Try {
    /// Whether this record counts as a failed boot once another boot has begun.
    pub fn counts(&self) -> bool {
        self.ended.is_none()
    }
}

/// Seconds since 1970 as RFC 3339 in UTC (Howard Hinnant's `civil_from_days`).
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn times_agree_with_date() {
        for seconds in [0, 951_782_399, 951_868_800, 1_760_000_000, 4_107_542_399] {
            let out = Command::new("date")
                .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
                .output()
                .unwrap();
            let theirs = String::from_utf8(out.stdout).unwrap();
            assert_eq!(rfc3339(seconds), theirs.trim(), "{seconds}");
        }
    }

    #[test]
    fn a_try_of_the_first_release_still_reads() {
        let text =
            r#"{"schema":"elea.try/1","boot_id":"x","time":"2026-01-01T00:00:00Z","number":3}"#;
        let read: Try = serde_json::from_str(text).unwrap();
        assert!(read.counts());
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let ended: Try =
            serde_json::from_str(&text.replace(":3}", r#":3,"ended":"user"}"#)).unwrap();
        assert!(!ended.counts());
    }
}
