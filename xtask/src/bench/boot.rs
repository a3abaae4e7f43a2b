//! Boots of one system from a composefs image and from plain ext4, in pairs.

use super::{Figure, length, median, plain};
use crate::guest::BOOT;
use crate::vm::{Base, Stage};
use crate::{Result, talk};
use elea_testkit::Error;
use elea_testkit::key::KeyPair;
use elea_testkit::vm::{Hardware, Machine};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A system to boot without firmware.
#[derive(Debug)]
pub(super) struct System {
    /// Its disk.
    pub(super) disk: PathBuf,
    /// Its kernel.
    pub(super) kernel: PathBuf,
    /// Its initrd.
    pub(super) initrd: PathBuf,
    /// Its kernel arguments.
    pub(super) arguments: String,
}

/// One boot.
#[derive(Debug, Clone, Copy)]
struct Boot {
    /// Until the multi-user target is reached, by the guest's clock.
    user: Duration,
    /// Processor time of QEMU until then.
    cpu: Duration,
}

/// Measures pairs, each system first in turn.
pub(super) fn measure(
    mut stage: Stage,
    tree: &Path,
    pairs: usize,
    figures: &mut Vec<Figure>,
) -> Result<()> {
    let trial = stage.trial("bench", Base::First)?;
    let folder = stage.works.folder.join("boots");
    fs::create_dir_all(&folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))?;
    let image = of_disk(&trial.disk, &folder)?;
    let size = length(&image.initrd)?;
    figures.push(Figure::new(
        "size of the initrd with its modules",
        talk::size(size),
        "the file on `$BOOT`: a cpio archive, not compressed again",
    ));
    let plain = plain::system(tree, &image, &folder)?;
    // The first boot of each makes ids, keys and caches, and is not counted.
    let systems = [&image, &plain];
    for system in systems {
        boot(system, &folder, &stage.works.login)?;
    }
    let mut boots = [Vec::new(), Vec::new()];
    for pair in 0..pairs {
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            let (boot, initrd) = boot(systems[which], &folder, &stage.works.login)?;
            talk::note(&format!(
                "pair {}: {} {:.1} s, CPU {:.1} s",
                pair + 1,
                ["image", "plain"][which],
                boot.user.as_secs_f64(),
                boot.cpu.as_secs_f64()
            ));
            boots[which].push((boot, initrd));
        }
    }
    let middle = |which: usize, pick: fn(&Boot) -> Duration| {
        median(boots[which].iter().map(|(b, _)| pick(b)).collect()).as_secs_f64()
    };
    let how =
        format!("medians of {pairs} interleaved pairs, the kernel started by QEMU, second boots");
    let compare = |what: &str, pick: fn(&Boot) -> Duration| {
        let (image, plain) = (middle(0, pick), middle(1, pick));
        let percent = (image / plain - 1.0) * 100.0;
        let value = format!("{image:.1} s; plain ext4 {plain:.1} s ({percent:+.0} %)");
        Figure::new(what, value, &how)
    };
    figures.push(compare("boot until multi-user, wall", |b| b.user));
    figures.push(compare("boot until multi-user, CPU of QEMU", |b| b.cpu));
    let mut initrds: Vec<f64> = boots[0].iter().filter_map(|(_, i)| *i).collect();
    initrds.sort_by(f64::total_cmp);
    if let Some(time) = initrds.get(initrds.len() / 2) {
        figures.push(Figure::new(
            "time in the initrd",
            format!("{time:.2} s"),
            &how,
        ));
    }
    Ok(())
}

/// The system on an installed disk, as its first boot entry starts it.
fn of_disk(disk: &elea_testkit::disk::Disk, folder: &Path) -> Result<System> {
    let entry = String::from_utf8_lossy(&disk.esp_read("loader/entries/elea-1.conf")?).into_owned();
    let field = |key: &str| {
        entry
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
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
        disk: disk.path().to_owned(),
        kernel: fetch("linux")?,
        initrd: fetch("initrd")?,
        arguments: field("options")?.to_owned(),
    })
}

/// Boots once; the time in the initrd is known for an image only.
fn boot(system: &System, folder: &Path, login: &KeyPair) -> Result<(Boot, Option<f64>)> {
    let hardware = Hardware {
        login: Some(login.clone()),
        kernel: Some((
            system.kernel.clone(),
            system.initrd.clone(),
            system.arguments.clone(),
        )),
        ..Hardware::default()
    };
    let mut machine = Machine::new(folder, &system.disk, hardware)?;
    machine.start()?;
    let from = machine.console().length();
    machine.wait_for("login:", from, BOOT)?;
    let cpu = machine.processor_time()?;
    machine.wait_boot(None, BOOT)?;
    machine.ssh("systemctl is-system-running --wait")?;
    let reached = "systemctl show -P ActiveEnterTimestampMonotonic multi-user.target";
    let said = machine.ssh_ok(reached)?;
    let user = said
        .trim()
        .parse()
        .map(Duration::from_micros)
        .map_err(|_| Error::other(format!("multi-user.target says {said}")))?;
    let booted = machine.ssh("cat /run/elea/booted")?;
    let initrd = serde_json::from_str::<serde_json::Value>(&booted.out)
        .ok()
        .and_then(|value| value["initrd_seconds"].as_f64());
    machine.power_off(Duration::from_mins(3))?;
    Ok((Boot { user, cpu }, initrd))
}
