//! Damage to what the boot loader reads.

use super::{Base, Scenario, Stage, Told, Trial};
use crate::Result;
use crate::works::Release;
use elea_testkit::Error;
use std::time::Duration;

/// A disk that is not there.
const NO_DISK: &str = "root=UUID=00000000-0000-4000-8000-000000000000";
const LIMIT: Duration = Duration::from_mins(20);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kernel-truncated",
        done: "the new kernel on $BOOT has lost its second half",
        run: |stage, name| payload(stage, name, "linux", Damage::Cut),
    },
    Scenario {
        name: "kernel-flipped",
        done: "one bit of the new kernel on $BOOT is wrong",
        run: |stage, name| payload(stage, name, "linux", Damage::Flip),
    },
    Scenario {
        name: "kernel-missing",
        done: "the new kernel on $BOOT is gone",
        run: kernel_missing,
    },
    Scenario {
        name: "initrd-truncated",
        done: "the new initrd on $BOOT has lost its second half",
        run: |stage, name| payload(stage, name, "initrd", Damage::Cut),
    },
    Scenario {
        name: "initrd-flipped",
        done: "one bit of the new initrd's program is wrong",
        run: |stage, name| payload(stage, name, "initrd", Damage::Flip),
    },
    Scenario {
        name: "initrd-missing",
        done: "the new initrd on $BOOT is gone",
        run: |stage, name| payload(stage, name, "initrd", Damage::Gone),
    },
    Scenario {
        name: "entry-deleted",
        done: "the new generation's entry is deleted before its first boot",
        run: entry_deleted,
    },
    Scenario {
        name: "entry-renamed",
        done: "the new generation's entry has got an 8.3 name, as a repair of FAT gives it",
        run: entry_renamed,
    },
    Scenario {
        name: "no-root",
        done: "the new generation names a disk that is not there (elsewhere: a prompt in the initrd)",
        run: |stage, name| {
            arguments(stage, name, |line| {
                line.split(' ')
                    .map(|word| {
                        if word.starts_with("root=UUID=") {
                            NO_DISK
                        } else {
                            word
                        }
                    })
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        },
    },
    Scenario {
        name: "emergency",
        done: "the new generation ends in emergency mode, at a prompt",
        run: |stage, name| {
            arguments(stage, name, |line| {
                format!("{line} systemd.unit=emergency.target")
            })
        },
    },
];

/// What happens to a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// Its second half is lost.
    Cut,
    /// One bit is wrong.
    Flip,
    /// It is not there.
    Gone,
}

impl Damage {
    fn of(self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        match self {
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::Flip => {
                let at = bytes.len() / 3;
                bytes[at] ^= 0x10;
            }
            Self::Gone => return None,
        }
        Some(bytes)
    }
}

/// The entry that still counts its tries.
pub(super) fn counted_entry(trial: &Trial) -> Result<(String, String)> {
    let names = trial.disk.esp_list("loader/entries")?;
    let name = names
        .iter()
        .find(|name| name.contains('+'))
        .ok_or_else(|| Error::other(format!("no entry counts its tries: {names:?}")))?;
    let path = format!("loader/entries/{name}");
    let text = String::from_utf8_lossy(&trial.disk.esp_read(&path)?).into_owned();
    Ok((path, text))
}

/// Gives the new entry a damaged file of its own. The good entry may use the same file, and
/// what is tried here is a new one that did not arrive whole.
fn damaged(stage: &mut Stage, name: &str, key: &str, damage: Damage) -> Result<Trial> {
    let trial = stage.trial(name, Base::Staged)?;
    let (path, text) = counted_entry(&trial)?;
    let old = text
        .lines()
        .find_map(|line| line.strip_prefix(key).map(str::trim))
        .ok_or_else(|| Error::other(format!("no `{key}` in {text}")))?;
    let new = format!("/elea/{}", "d".repeat(64));
    if let Some(bytes) = damage.of(trial.disk.esp_read(old.trim_start_matches('/'))?) {
        trial.disk.esp_write(new.trim_start_matches('/'), &bytes)?;
    }
    trial
        .disk
        .esp_write(&path, text.replace(old, &new).as_bytes())?;
    Ok(trial)
}

fn payload(stage: &mut Stage, name: &str, key: &str, damage: Damage) -> Result<Told> {
    let trial = damaged(stage, name, key, damage)?;
    comes_back(trial, "three tries, then 1.0 again")
}

/// The loader passes over an entry without its kernel, so no try is counted: that must be told,
/// and mended by the next upgrade.
fn kernel_missing(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = damaged(stage, name, "linux", Damage::Gone)?;
    stage.publish(Release::Second)?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let status = trial.guest.must("elea status")?;
    let warning = status.lines().find(|line| line.contains("its kernel"));
    trial.check(
        warning.is_some(),
        &format!("`elea status` does not name the missing kernel: {status}"),
    )?;
    let warning = warning.and_then(|line| line.split_once("generation"));
    let evidence = format!("\"generation{}\"", warning.unwrap_or_default().1);
    trial.guest.must("elea upgrade")?;
    trial.guest.reboot_to("2.0", LIMIT)?;
    trial.guest.wait_committed(LIMIT)?;
    trial.told(
        "1.0 boots at once; the next upgrade stages 2.0 again, and it runs",
        evidence,
    )
}

/// Changes the new entry's kernel arguments.
fn arguments(stage: &mut Stage, name: &str, change: fn(&str) -> String) -> Result<Told> {
    let trial = stage.trial(name, Base::Staged)?;
    let (path, text) = counted_entry(&trial)?;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("options") {
                change(line)
            } else {
                line.to_owned()
            }
        })
        .collect();
    trial
        .disk
        .esp_write(&path, format!("{}\n", lines.join("\n")).as_bytes())?;
    comes_back(trial, "three tries, then 1.0 again, without a prompt")
}

fn comes_back(mut trial: Trial, happened: &str) -> Result<Told> {
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let evidence = trial.evidence("2.0")?;
    trial.told(happened, evidence)
}

fn entry_deleted(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Staged)?;
    let (path, _) = counted_entry(&trial)?;
    trial.disk.esp_remove(&path)?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let status = trial.guest.must("elea status")?;
    trial.check(
        status.contains("2.0"),
        "`elea status` forgot the staged 2.0",
    )?;
    let evidence = "`elea status` names the generation without an entry".to_owned();
    trial.told("1.0 boots at once", evidence)
}

fn entry_renamed(stage: &mut Stage, name: &str) -> Result<Told> {
    let mut trial = stage.trial(name, Base::Staged)?;
    let (path, _) = counted_entry(&trial)?;
    trial
        .disk
        .esp_rename(&path, "loader/entries/ELEA-2_3.CON")?;
    trial.start()?;
    trial.good("1.0", LIMIT)?;
    let status = trial.guest.must("elea status")?;
    trial.check(
        status.contains("2.0"),
        "`elea status` forgot the staged 2.0",
    )?;
    let evidence = "`elea status` names the generation without an entry".to_owned();
    trial.told("the loader does not see it; 1.0 boots at once", evidence)
}
