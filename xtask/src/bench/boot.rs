//! Boots of one system from an image and from plain ext4, in pairs.

use super::build::length;
use super::measure::{settle, spread};
use super::plain;
use super::report::Section;
use crate::guest::BOOT;
use crate::vm::{Base, Stage};
use crate::{Result, talk};
use elea_testkit::disk::Disk;
use elea_testkit::key::KeyPair;
use elea_testkit::vm::{Hardware, Machine};
use elea_testkit::{Error, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A system to boot without firmware.
#[derive(Debug)]
pub(super) struct System {
    /// What it is called.
    pub(super) name: &'static str,
    /// Its disk.
    pub(super) disk: PathBuf,
    /// Its kernel.
    pub(super) kernel: PathBuf,
    /// Its initrd.
    pub(super) initrd: PathBuf,
    /// Its kernel arguments.
    pub(super) arguments: String,
}

/// One boot, in seconds.
#[derive(Debug, Clone, Copy)]
struct Boot {
    /// Until the multi-user target is reached, by the guest's clock.
    target: f64,
    /// Until the system is done with its start, by the guest's clock.
    done: f64,
    /// Processor time of QEMU until the login prompt.
    cpu: f64,
    /// In the initrd.
    initrd: f64,
}

/// A column of the table.
type Pick = fn(&Boot) -> f64;

const COLUMNS: [(&str, Pick, usize); 4] = [
    ("CPU s of QEMU until the login prompt", |b| b.cpu, 1),
    ("wall s until `multi-user.target`", |b| b.target, 1),
    ("wall s until all is started", |b| b.done, 1),
    ("s in the initrd", |b| b.initrd, 2),
];

/// Measures pairs, each system first in turn.
pub(super) fn measure(mut stage: Stage, tree: &Path, pairs: usize) -> Result<Section> {
    let trial = stage.trial("bench", Base::First)?;
    let folder = stage.works.folder.join("boots");
    fs::create_dir_all(&folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))?;
    let image = of_disk(&trial.disk, &folder)?;
    let plain = plain::system(tree, &image, &folder)?;
    let systems = [&image, &plain];
    // The first boot of each makes ids, keys and caches, and is not counted.
    for system in systems {
        boot(system, &folder, &stage.works.login)?;
    }
    let mut boots = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            settle()?;
            let boot = boot(systems[which], &folder, &stage.works.login)?;
            talk::note(&format!(
                "pair {}: {}: multi-user after {:.1} s, CPU {:.1} s, initrd {:.2} s",
                pair + 1,
                systems[which].name,
                boot.target,
                boot.cpu,
                boot.initrd
            ));
            boots[which].push(boot);
        }
    }
    section(&systems, &boots)
}

fn section(systems: &[&System; 2], boots: &[Vec<Boot>; 2]) -> Result<Section> {
    let of = |which: usize, pick: Pick| spread(boots[which].iter().map(pick));
    let mut rows = Vec::new();
    for (which, system) in systems.iter().enumerate() {
        let mut row = vec![system.name.to_owned()];
        row.extend(
            COLUMNS.map(|(_, pick, digits)| {
                of(which, pick).map_or_else(String::new, |s| s.text(digits))
            }),
        );
        rows.push(row);
    }
    let mut difference = vec!["difference of the medians".to_owned()];
    let mut paired = vec!["difference within a pair, median".to_owned()];
    for (_, pick, digits) in COLUMNS {
        let medians = of(0, pick).zip(of(1, pick));
        difference.push(medians.map_or_else(String::new, |(image, plain)| {
            format!("{:+.1} %", (image.median / plain.median - 1.0) * 100.0)
        }));
        let pairs = boots[0].iter().zip(&boots[1]);
        paired.push(
            spread(pairs.map(|(image, plain)| pick(image) - pick(plain)))
                .map_or_else(String::new, |s| s.text(digits)),
        );
    }
    rows.extend([difference, paired]);
    let mut head = vec!["root".to_owned()];
    head.extend(COLUMNS.map(|(name, _, _)| name.to_owned()));
    let guests = elea_testkit::vm::usable_accelerator().name();
    Ok(Section {
        title: "Boot, against the same packages on plain ext4",
        head,
        rows,
        how: format!(
            "{} interleaved pairs under {guests} with one processor and 1 GiB, the kernel started by QEMU, each system's second boot or later. Both use one kernel\n\
             with the same arguments and one initrd of {} with the same modules: for plain ext4 the program in it is `crates/initrd/examples/plain_root.rs`,\n\
             which loads modules and finds the disk as `elea-initrd` does, mounts it and hands over. Plain ext4 has neither Elea's units nor its checks.",
            boots[0].len(),
            talk::size(length(&systems[0].initrd)?),
        ),
    })
}

/// The system on an installed disk, as its boot entry starts it.
fn of_disk(disk: &Disk, folder: &Path) -> Result<System> {
    let names = disk.esp_list("loader/entries")?;
    let name = names
        .iter()
        .find(|name| name.starts_with("elea-1"))
        .ok_or_else(|| Error::other(format!("there is no entry of generation 1: {names:?}")))?;
    let entry = disk.esp_read(&format!("loader/entries/{name}"))?;
    let entry = String::from_utf8_lossy(&entry).into_owned();
    let field = |key: &str| {
        entry
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix([' ', '\t']))
            .map(str::trim)
            .ok_or_else(|| Error::other(format!("the entry has no `{key}`: {entry}")))
    };
    let fetch = |key: &str| -> Result<PathBuf> {
        let path = folder.join(key);
        let bytes = disk.esp_read(field(key)?.trim_start_matches('/'))?;
        fs::write(&path, bytes)
            .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))?;
        Ok(path)
    };
    Ok(System {
        name: "an image of Elea",
        disk: disk.path().to_owned(),
        kernel: fetch("linux")?,
        initrd: fetch("initrd")?,
        arguments: field("options")?.to_owned(),
    })
}

/// What the guest says of its start: the target, all of it, and the initrd.
const ASK: &str = "systemctl is-system-running --wait >/dev/null
systemctl show -P ActiveEnterTimestampMonotonic multi-user.target
systemctl show -P FinishTimestampMonotonic
dmesg | sed -n 's/.*elea: .* after \\([0-9.]*\\) s in the initrd.*/\\1/p'";

fn boot(system: &System, folder: &Path, login: &KeyPair) -> Result<Boot> {
    let hardware = Hardware {
        login: Some(login.clone()),
        kernel: Some((
            system.kernel.clone(),
            system.initrd.clone(),
            system.arguments.clone(),
        )),
        ..Hardware::default()
    };
    // Read once, so that the host's disk has no part in it.
    run(Command::new("sh")
        .args(["-c", "cat \"$0\" >/dev/null"])
        .arg(&system.disk))?;
    let mut machine = Machine::new(folder, &system.disk, hardware)?;
    let from = machine.console().length();
    machine.start()?;
    machine.wait_for("login:", from, BOOT)?;
    let cpu = machine.processor_time()?;
    machine.wait_boot(None, BOOT)?;
    let said = machine.ssh(ASK)?;
    let boot = parse(&said.out, cpu)
        .ok_or_else(|| Error::other(format!("the guest says of its start: {}", said.all())))?;
    machine.power_off(Duration::from_mins(3))?;
    Ok(boot)
}

fn parse(said: &str, cpu: Duration) -> Option<Boot> {
    let numbers: Vec<f64> = said.lines().filter_map(|line| line.parse().ok()).collect();
    let [target, done, initrd] = numbers[..] else {
        return None;
    };
    Some(Boot {
        target: target / 1e6,
        done: done / 1e6,
        cpu: cpu.as_secs_f64(),
        initrd,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_read() {
        let boot = parse("26000000\n31500000\n0.61\n", Duration::from_mins(1)).unwrap();
        assert!((boot.target - 26.0).abs() < 1e-9 && (boot.done - 31.5).abs() < 1e-9);
        assert!((boot.initrd - 0.61).abs() < 1e-9 && (boot.cpu - 60.0).abs() < 1e-9);
        assert!(parse("26000000\n", Duration::ZERO).is_none());
    }
}
