//! Boots of one system from an image and from plain ext4, in pairs.

use super::build::length;
use super::measure::{settle, spread};
use super::plain;
use super::report::Section;
use crate::vm::{Base, Stage};
use crate::{Result, talk};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use elea_testkit::Error;
use elea_testkit::disk::Disk;
use elea_testkit::key::KeyPair;
use elea_testkit::vm::{Hardware, Machine};
use std::fs;
use std::path::{Path, PathBuf};
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

/// How the guest's clock runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// With ours: the machine's other work is in it.
    Real,
    /// By the instructions that the guest runs: nothing of ours is in its busy time.
    Counted,
}

/// How many pairs run with a counted clock, at most: they take long, and differ little.
const COUNTED: usize = 3;
/// How long a boot may take: with a counted clock on a busy machine that is long.
const LIMIT: Duration = Duration::from_mins(25);

/// One boot until the multi-user target, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Boot {
    /// By the guest's clock.
    wall: f64,
    /// What of it the guest's processor was not idle.
    busy: f64,
    /// Processor time of QEMU.
    cpu: f64,
    /// In the initrd.
    initrd: f64,
}

/// A column of the table: its head, whose clock, what, and digits behind the point.
type Column = (&'static str, Clock, fn(&Boot) -> f64, usize);

const COLUMNS: [Column; 4] = [
    ("CPU s of QEMU", Clock::Real, |b| b.cpu, 1),
    ("wall s", Clock::Real, |b| b.wall, 1),
    ("wall s in the initrd", Clock::Real, |b| b.initrd, 2),
    ("busy s, counted", Clock::Counted, |b| b.busy, 2),
];

/// Measures pairs, each system first in turn; what is known so far is kept after each.
pub(super) fn measure(
    mut stage: Stage,
    tree: &Path,
    pairs: usize,
    keep: impl Fn(&Section) -> Result<()>,
) -> Result<()> {
    let trial = stage.trial("bench", Base::First)?;
    let folder = stage.works.folder.join("boots");
    fs::create_dir_all(&folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))?;
    let image = of_disk(&trial.disk, &folder)?;
    let plain = plain::system(tree, &image, &folder)?;
    let systems = [&image, &plain];
    let boot = |system: &System, clock| {
        let once = || boot(system, &folder, &stage.works.login, clock);
        // Now and then an emulated guest stands still for a minute, at a page of which the emulator has
        // translated code: that says nothing of the system.
        once().or_else(|e| {
            talk::note(&format!("{}: once more, for {e}", system.name));
            once()
        })
    };
    // The first boot of each makes ids, keys and caches, and is not counted.
    for system in systems {
        boot(system, Clock::Real)?;
    }
    let mut boots = [Vec::new(), Vec::new()];
    let counted = pairs.min(COUNTED);
    let all = (0..pairs).map(|pair| (Clock::Real, pair));
    for (clock, pair) in all.chain((0..counted).map(|pair| (Clock::Counted, pair))) {
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            settle()?;
            let boot = boot(systems[which], clock)?;
            talk::note(&format!(
                "pair {}, {clock:?} clock: {}: multi-user after {:.1} s, busy {:.1} s, CPU {:.1} s, initrd {:.2} s",
                pair + 1,
                systems[which].name,
                boot.wall,
                boot.busy,
                boot.cpu,
                boot.initrd
            ));
            boots[which].push((clock, boot));
        }
        keep(&section(&systems, &boots)?)?;
    }
    Ok(())
}

fn section(systems: &[&System; 2], boots: &[Vec<(Clock, Boot)>; 2]) -> Result<Section> {
    let values = |which: usize, column: &Column| -> Vec<f64> {
        let of_clock = boots[which].iter().filter(|(clock, _)| *clock == column.1);
        of_clock.map(|(_, boot)| (column.2)(boot)).collect()
    };
    let mut rows = Vec::new();
    for (which, system) in systems.iter().enumerate() {
        let mut row = vec![system.name.to_owned()];
        row.extend(COLUMNS.map(|column| {
            spread(values(which, &column)).map_or_else(String::new, |s| s.text(column.3))
        }));
        rows.push(row);
    }
    let mut percent = vec!["the image's median against the other".to_owned()];
    let mut paired = vec!["difference within a pair".to_owned()];
    for column in COLUMNS {
        let (image, plain) = (values(0, &column), values(1, &column));
        let pairs = image.iter().zip(&plain).map(|(image, plain)| image - plain);
        paired.push(spread(pairs).map_or_else(String::new, |s| s.text(column.3)));
        let medians = spread(image).zip(spread(plain));
        percent.push(medians.map_or_else(String::new, |(image, plain)| {
            format!("{:+.1} %", (image.median / plain.median - 1.0) * 100.0)
        }));
    }
    rows.extend([percent, paired]);
    let mut head = vec!["root".to_owned()];
    head.extend(COLUMNS.map(|column| column.0.to_owned()));
    let guests = elea_testkit::vm::usable_accelerator().name();
    let count = |clock| boots[0].iter().filter(|(c, _)| *c == clock).count();
    Ok(Section {
        title: "Boot to multi-user, against the same packages on plain ext4",
        head,
        rows,
        how: format!(
            "{} interleaved pairs under {guests} (and {} for the last column), one processor and 1 GiB, the kernel started by QEMU, each system's second boot or later. Both use\n\
             one kernel with the same arguments and one initrd of {} with the same modules: for plain ext4 the program in it is\n\
             `crates/initrd/examples/plain_root.rs`, which loads modules and finds the disk as `elea-initrd` does, mounts it and hands over. Plain ext4 has neither\n\
             Elea's units nor its checks. CPU of QEMU is user and system time of its process. In the last column the guest's clock counts instructions\n\
             (`-icount`), and what is shown is that clock without idle time, so that other work on this machine has no part in it.",
            count(Clock::Real),
            count(Clock::Counted),
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

/// Says how long the guest has run and how long it was idle, and what the initrd said of itself;
/// on the console, as soon as the target is reached. (`$$` is systemd's way to write `$`.)
const UNIT: &str = r#"[Unit]
Description=Time of the start
After=multi-user.target
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=file:/dev/console
ExecStart=/bin/sh -c 'read up idle < /proc/uptime; dmesg | grep "s in the initrd"; echo "bench: $$up $$idle :hcneb"'
"#;

fn boot(system: &System, folder: &Path, login: &KeyPair, clock: Clock) -> Result<Boot> {
    let credential = format!(
        "type=11,value=io.systemd.credential.binary:systemd.extra-unit.bench.service={}",
        STANDARD.encode(UNIT)
    );
    let mut more = vec!["-smbios".to_owned(), credential];
    if clock == Clock::Counted {
        more.extend(["-icount".to_owned(), "shift=1".to_owned()]);
    }
    let hardware = Hardware {
        login: Some(login.clone()),
        kernel: Some((
            system.kernel.clone(),
            system.initrd.clone(),
            format!("{} systemd.wants=bench.service", system.arguments),
        )),
        more,
        ..Hardware::default()
    };
    let mut machine = Machine::new(folder, &system.disk, hardware)?;
    let from = machine.console().length();
    machine.start()?;
    machine.wait_for(" :hcneb", from, LIMIT)?;
    let cpu = machine.processor_time()?;
    let said = machine.said();
    let boot = parse(&said, cpu)
        .ok_or_else(|| Error::other(format!("the guest says of its start: {said}")))?;
    machine.wait_for("login:", from, LIMIT)?;
    machine.power_off(Duration::from_mins(3))?;
    Ok(boot)
}

fn parse(said: &str, cpu: Duration) -> Option<Boot> {
    let between = |from: &str, to: &str| {
        let (_, rest) = said.rsplit_once(from)?;
        Some(rest.split_once(to)?.0)
    };
    let (wall, idle) = between("bench: ", " :hcneb")?.split_once(' ')?;
    let initrd = between(" after ", " s in the initrd")?;
    let wall: f64 = wall.parse().ok()?;
    Some(Boot {
        wall,
        busy: wall - idle.parse::<f64>().ok()?,
        cpu: cpu.as_secs_f64(),
        initrd: initrd.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_read() {
        let said =
            "[ 3.1] elea: generation 1 after 0.61 s in the initrd\nbench: 26.25 3.75 :hcneb\n";
        let boot = parse(said, Duration::from_mins(1)).unwrap();
        let wanted = Boot {
            wall: 26.25,
            busy: 22.5,
            cpu: 60.0,
            initrd: 0.61,
        };
        assert_eq!(boot, wanted);
        assert_eq!(parse("bench: 26.25 3.75 :hcneb", Duration::ZERO), None);
        assert_eq!(parse("Welcome", Duration::ZERO), None);
    }
}
