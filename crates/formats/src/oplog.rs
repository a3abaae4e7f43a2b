//! The operation log: `/elea/log/operations.jsonl`.
//!
//! One JSON object a line, each with a sequence number and, as its last member, a checksum
//! over the rest of its line. Lines are only ever added, so a power cut can tear the
//! last one and no other; a torn tail is told apart from damage in the middle.
//! `docs/formats/operation-log.md` describes it for other readers.

use crate::digest::{Digest, Sha256};
use serde::{Deserialize, Serialize};

/// The value of `schema` in each record.
pub const SCHEMA: &str = "elea.log/1";
/// The longest line that is read, in bytes.
pub const MAX_LINE: usize = 256 * 1024;

/// The length of `,"sum":"0123456789abcdef"}`.
const SUM_LENGTH: usize = 26;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// 1 for the first record, then one more each; a gap is damage.
    pub sequence: u64,
    /// When, RFC 3339 in UTC. Machines without a clock lie here; order comes from `sequence`.
    pub time: String,
    /// The kernel's id of the boot in which it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Which command wrote it: `elea upgrade`.
    pub by: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Why a generation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A health check said no, or there was no verdict in time.
    Health,
    /// The kernel panicked.
    Panic,
    /// The boot stopped without a word: a hang, a watchdog's reset, or the power.
    Hang,
    /// The system fell to an emergency prompt.
    Emergency,
    /// The initrd could not start it, or its kernel or initrd is damaged.
    Initrd,
    /// Its entry was gone from `$BOOT`.
    Vanished,
    /// All its tries were ended by a person.
    Interrupted,
    /// A cause that a newer Elea knows.
    #[serde(other)]
    Unknown,
}

/// How long a live switch lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// It stays: the next boots use it too.
    Kept,
    /// Somebody has to confirm it; then it stays.
    Confirmed,
    /// The next boot is as before.
    Reboot,
    /// One that a newer Elea knows.
    #[serde(other)]
    Unknown,
}

/// What happened. A newer Elea may write events that this one does not know; they read as
/// [`Event::Unknown`] and stay in the file as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A generation is about to be made bootable; its entry may or may not have been written.
    Staging {
        /// The new number.
        number: u64,
        /// Its image.
        image: Digest,
        /// What is compared before an offer: image, kernel, initrds and arguments.
        identity: Sha256,
        /// The release's version.
        version: String,
        /// The number it repeats (a rollback or retry).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<u64>,
        /// Staged generations that it takes the place of.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        replaces: Vec<u64>,
    },
    /// Its entry is on `$BOOT`, durable.
    Armed {
        /// The generation.
        number: u64,
    },
    /// A staged generation was taken back before it was tried.
    Unstaged {
        /// The generation.
        number: u64,
    },
    /// A boot of it passed all checks.
    Healthy {
        /// The generation.
        number: u64,
    },
    /// A boot of it did not pass; the tries decide what follows.
    Unhealthy {
        /// The generation.
        number: u64,
        /// The first thing that was wrong.
        reason: String,
        /// Why, as a kind.
        cause: Cause,
    },
    /// Its entry has no counter any more: it is good.
    Committed {
        /// The generation.
        number: u64,
    },
    /// It will not be booted again by itself.
    Failed {
        /// The generation.
        number: u64,
        /// What is not offered again.
        identity: Sha256,
        /// Why, as a kind.
        cause: Cause,
        /// Why, for people.
        reason: String,
        /// Whether the identity is refused from now on.
        refused: bool,
    },
    /// A person lifted the refusal of a failed identity.
    Retried {
        /// The failed generation.
        number: u64,
        /// What may be offered again.
        identity: Sha256,
    },
    /// A person keeps a generation from being collected.
    Pinned {
        /// The generation.
        number: u64,
    },
    /// And no longer.
    Unpinned {
        /// The generation.
        number: u64,
    },
    /// The running system took a generation's `/etc`, without a boot.
    Applied {
        /// The generation.
        number: u64,
        /// The one whose `/etc` showed before.
        from: u64,
        /// What the next boots make of it.
        until: Until,
    },
    /// The running system has the `/etc` of before again.
    Reverted {
        /// The generation that was taken back.
        number: u64,
        /// The one whose `/etc` shows again.
        to: u64,
        /// Why.
        reason: String,
        /// What could not be taken back.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missed: Vec<String>,
    },
    /// Generations were removed.
    Collected {
        /// Which.
        numbers: Vec<u64>,
    },
    /// A copy of the boot loader was replaced.
    Loader {
        /// Its path on `$BOOT`.
        path: String,
        /// The version that was there.
        from: Option<String>,
        /// The version that is there now.
        to: String,
    },
    /// Elea reboots the machine itself.
    Reboot {
        /// The generation that ran.
        number: u64,
        /// Why.
        reason: String,
    },
    /// Log and boot entries disagreed, and this was done about it.
    Repaired {
        /// What was found and done.
        what: String,
    },
    /// An event that a newer Elea wrote.
    #[serde(other)]
    Unknown,
}

/// A log that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Bytes from the start that are whole lines; what follows is a torn tail.
    pub whole: usize,
    /// Whether there is a torn tail.
    pub torn: bool,
}

/// Damage that no power cut explains.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A line before the last is not a record, or its checksum is wrong.
    #[error("line {line} of the operation log is damaged: {reason}")]
    Damaged {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A sequence number is not one more than the one before.
    #[error("line {line} of the operation log has number {actual}, {expected} was due")]
    Gap {
        /// The line, from 1.
        line: usize,
        /// What was due.
        expected: u64,
        /// What is there.
        actual: u64,
    },
}

/// The line of a record, with its checksum and line end.
pub fn encode(record: &Record) -> String {
    seal(serde_json::to_string(record).expect("a record has only string keys"))
}

/// Makes a JSON object with members a line with its checksum, as the last member, and its end.
pub fn seal(mut object: String) -> String {
    object.pop();
    let sum = checksum(object.as_bytes());
    object.push_str(",\"sum\":\"");
    object.push_str(&sum);
    object.push_str("\"}\n");
    object
}

/// The JSON object of a sealed line without its end; what is wrong with it otherwise.
pub fn unseal(line: &[u8]) -> Result<Vec<u8>, &'static str> {
    if line.len() > MAX_LINE {
        return Err("it is too long");
    }
    let (body, tail) = line
        .len()
        .checked_sub(SUM_LENGTH)
        .and_then(|at| line.split_at_checked(at))
        .ok_or("it is too short")?;
    let sum = tail
        .strip_prefix(b",\"sum\":\"")
        .and_then(|t| t.strip_suffix(b"\"}"))
        .ok_or("it has no checksum")?;
    if sum != checksum(body).as_bytes() {
        return Err("its checksum is wrong");
    }
    let mut json = body.to_vec();
    json.push(b'}');
    Ok(json)
}

/// Reads a log. A last line that is torn (no line end, or a wrong checksum) is left out and
/// reported; anything else that is wrong is an error.
pub fn parse(bytes: &[u8]) -> Result<Log, Error> {
    let mut log = Log::default();
    let mut rest = bytes;
    for line in 1.. {
        if rest.is_empty() {
            break;
        }
        let end = rest.iter().position(|&b| b == b'\n');
        let is_last = end.is_none_or(|e| e + 1 == rest.len());
        let parsed = match end {
            None => Err("it has no line end"),
            Some(end) => parse_line(&rest[..end]),
        };
        match parsed {
            Ok(record) => {
                let expected = log
                    .records
                    .last()
                    .map_or(record.sequence, |r| r.sequence + 1);
                if record.sequence != expected || expected == 0 {
                    return Err(Error::Gap {
                        line,
                        expected: expected.max(1),
                        actual: record.sequence,
                    });
                }
                log.records.push(record);
            }
            Err(_) if is_last => {
                log.torn = true;
                break;
            }
            // A file system may also leave zeros where the tail was being written.
            Err(_) if rest.iter().all(|&b| b == 0) => {
                log.torn = true;
                break;
            }
            Err(reason) => return Err(Error::Damaged { line, reason }),
        }
        let taken = end.map_or(rest.len(), |e| e + 1);
        log.whole += taken;
        rest = &rest[taken..];
    }
    Ok(log)
}

fn parse_line(line: &[u8]) -> Result<Record, &'static str> {
    /// What records of every version have.
    #[derive(Deserialize)]
    struct Common {
        schema: String,
        sequence: u64,
        time: String,
        boot: Option<String>,
        by: String,
    }
    let json = unseal(line)?;
    let common: Common = serde_json::from_slice(&json).map_err(|_| "it is not a record")?;
    let known = common.schema == SCHEMA;
    // What has a right checksum was written so, by a newer Elea if it does not read.
    Ok(match serde_json::from_slice(&json) {
        Ok(record) if known => record,
        _ => Record {
            schema: common.schema,
            sequence: common.sequence,
            time: common.time,
            boot: common.boot,
            by: common.by,
            event: Event::Unknown,
        },
    })
}

/// The first 16 digits of the SHA-256 of the line up to the checksum's comma.
fn checksum(body: &[u8]) -> String {
    Sha256::of(body).to_string()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &[u8] = include_bytes!("../tests/golden/operation-log-1.jsonl");

    fn record(sequence: u64, event: Event) -> Record {
        Record {
            schema: SCHEMA.into(),
            sequence,
            time: "2026-11-24T16:30:00Z".into(),
            boot: Some("6f1d".into()),
            by: "elea upgrade".into(),
            event,
        }
    }

    fn samples() -> Vec<Record> {
        let identity = Sha256::of(b"identity");
        let staging = Event::Staging {
            number: 2,
            image: Sha256::of(b"image").into(),
            identity,
            version: "2.0".into(),
            from: None,
            replaces: vec![],
        };
        let failed = Event::Failed {
            number: 2,
            identity,
            cause: Cause::Health,
            reason: "health check 20-web failed: exit code 1".into(),
            refused: true,
        };
        vec![
            record(1, staging),
            record(2, Event::Armed { number: 2 }),
            record(3, failed),
            record(4, Event::Collected { numbers: vec![2] }),
        ]
    }

    fn encoded() -> Vec<u8> {
        samples()
            .iter()
            .flat_map(|r| encode(r).into_bytes())
            .collect()
    }

    #[test]
    fn the_golden_log_still_parses() {
        let log = parse(GOLDEN).unwrap();
        assert!(!log.torn);
        assert_eq!(log.whole, GOLDEN.len());
        assert_eq!(log.records[..4], samples()[..]);
        // The fifth was written by a newer Elea.
        assert_eq!(log.records[4].event, Event::Unknown);
        assert!(
            GOLDEN.starts_with(&encoded()),
            "the text of records changed"
        );
    }

    #[test]
    fn damage_in_the_middle_is_an_error_and_names_its_line() {
        let mut bytes = encoded();
        let second = bytes.iter().position(|&b| b == b'\n').unwrap() + 20;
        bytes[second] ^= 1;
        assert_eq!(
            parse(&bytes).unwrap_err().to_string(),
            "line 2 of the operation log is damaged: its checksum is wrong"
        );
        let gap = [encode(&samples()[0]), encode(&samples()[2])].concat();
        let error = parse(gap.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("number 3, 2 was due"), "{error}");
    }

    #[test]
    fn what_a_newer_elea_wrote_is_skipped_and_neither_torn_nor_damage() {
        let lines = [
            // A later version of the schema, a known event that is otherwise, and a cause that is no word.
            r#"{"schema":"elea.log/2","sequence":1,"time":"","by":"elea","event":"armed","number":2}"#,
            r#"{"schema":"elea.log/1","sequence":2,"time":"","by":"elea","event":"armed","numbers":[2]}"#,
            r#"{"schema":"elea.log/1","sequence":3,"time":"","by":"elea","event":{"kind":"armed"}}"#,
        ];
        let text: String = lines.map(|line| seal(line.to_owned())).concat();
        let log = parse(text.as_bytes()).unwrap();
        assert!(!log.torn && log.whole == text.len());
        assert_eq!(log.records.len(), 3);
        assert!(log.records.iter().all(|r| r.event == Event::Unknown));
        let none = seal(r#"{"schema":"elea.log/1"}"#.to_owned()) + &text;
        assert_eq!(
            parse(none.as_bytes()).unwrap_err().to_string(),
            "line 1 of the operation log is damaged: it is not a record"
        );
    }

    proptest! {
        /// A power cut leaves any prefix, perhaps with zeros behind it: what was whole is read.
        #[test]
        fn a_torn_tail_is_tolerated(cut in 0usize..2000, zeros in 0usize..50) {
            let bytes = encoded();
            let cut = cut % (bytes.len() + 1);
            let mut torn = bytes[..cut].to_vec();
            torn.extend(std::iter::repeat_n(0, zeros));
            let log = parse(&torn).unwrap();
            let whole = bytes[..cut].split(|&b| b == b'\n').count() - 1;
            prop_assert_eq!(&log.records[..], &samples()[..whole]);
            prop_assert_eq!(log.torn, log.whole != torn.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }
    }
}
