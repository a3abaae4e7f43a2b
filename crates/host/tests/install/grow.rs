//! The first boot's growth, on a loop device whose disk became larger. (The partitions are told to the
//! kernel by hand, since not every kernel reads GPT.)

use super::lab::{Lab, LoopDevice, Mounted, can, ok, sh};
use super::part;
use elea_host::install::firstboot::{Grown, grow};
use elea_host::install::{Filesystem, Options, Role};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

struct Machine {
    mounted: Option<Mounted>,
    device: LoopDevice,
    number: String,
}

impl Machine {
    /// Starts a machine from the disk: its root is mounted so that it can be written.
    fn boot(lab: &Lab) -> Option<Self> {
        let device = LoopDevice::new(&lab.path("disk"), "")?;
        let table: serde_json::Value =
            serde_json::from_str(&ok(&format!("sfdisk -J {} 2>/dev/null", device.0))).unwrap();
        let root = &table["partitiontable"]["partitions"][1];
        // A test that failed may have left one.
        sh(&format!("delpart {} 2", device.0));
        ok(&format!(
            "addpart {} 2 {} {}",
            device.0, root["start"], root["size"]
        ));
        let part = format!("{}p2", device.0);
        let name = part.trim_start_matches("/dev/");
        let number = fs::read_to_string(format!("/sys/class/block/{name}/dev")).unwrap();
        let mut machine = Self {
            mounted: None,
            device,
            number: number.trim().to_owned(),
        };
        machine.mounted = Some(Mounted::new(&part, &lab.path("mnt"), ""));
        Some(machine)
    }

    fn grow(&self) -> Grown {
        grow(&self.mounted.as_ref().unwrap().0, Some(&self.number)).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.mounted.take());
        sh(&format!("delpart {} 2", self.device.0));
    }
}

/// Whether this process may resize an ext4 (`ext4_resize_begin` asks for the capability).
fn may_resize_ext4() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .unwrap();
    let bits = u64::from_str_radix(line.trim(), 16).unwrap();
    let may = bits & (1 << 24) != 0;
    if !may {
        eprintln!("skipped: no CAP_SYS_RESOURCE");
    }
    may
}

/// A kernel without fs-verity writes to no ext4 that has the feature; growing does not depend on it.
fn without_verity(disk: &Path, start: u64) {
    ok(&format!(
        "debugfs -w -R 'feature -verity' '{}?offset={start}'",
        disk.display()
    ));
}

fn grows(filesystem: Filesystem) {
    let lab = Lab::new();
    let options = Options {
        filesystem,
        ..Options::default()
    };
    let plan = lab.install("disk", &options);
    let root = part(&plan, Role::Root);
    let disk = lab.path("disk");
    if filesystem == Filesystem::Ext4 {
        without_verity(&disk, root.start);
    }
    let Some(machine) = Machine::boot(&lab) else {
        return;
    };
    assert_eq!(
        machine.grow(),
        Grown::default(),
        "it is as large as the disk"
    );
    drop(machine);
    let larger: u64 = (3000 << 20) + 12_345 * 512;
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(larger)
        .unwrap();
    let machine = Machine::boot(&lab).unwrap();
    let size = (2999 << 20) + (6 << 20) - root.start;
    let grown = machine.grow();
    assert_eq!(grown.partition, Some((root.size, size)));
    assert_eq!(grown.filesystem, Some((root.size, size)));
    assert_eq!(machine.grow(), Grown::default(), "once is enough");
    let stat = rustix::fs::statvfs(&machine.mounted.as_ref().unwrap().0).unwrap();
    assert!(stat.f_blocks * stat.f_frsize > 2300 << 20);
    drop(machine);
    assert!(ok(&format!("sgdisk -v {}", disk.display())).contains("No problems found"));
    let after: serde_json::Value =
        serde_json::from_str(&ok(&format!("sfdisk -J {} 2>/dev/null", disk.display()))).unwrap();
    let partitions = &after["partitiontable"]["partitions"];
    assert_eq!(after["partitiontable"]["id"], plan.disk_uuid.to_uppercase());
    assert_eq!(partitions[1]["size"], size / 512);
    for (i, before) in plan.partitions.iter().enumerate() {
        assert_eq!(partitions[i]["uuid"], before.uuid.to_uppercase());
        assert_eq!(partitions[i]["start"], before.start / 512);
        assert_eq!(partitions[i]["name"], before.role.name());
    }
    match filesystem {
        Filesystem::Ext4 => {
            ok(&format!(
                "e2fsck -fn '{}?offset={}'",
                disk.display(),
                root.start
            ));
        }
        Filesystem::Btrfs => {
            let offset = format!("-r --offset {}", root.start);
            let device = LoopDevice::new(&disk, &offset).unwrap();
            ok(&format!("btrfs check --readonly {}", device.0));
        }
    }
}

#[test]
fn ext4_grows_with_its_disk() {
    if can(&["losetup", "addpart", "sfdisk", "sgdisk"]) && may_resize_ext4() {
        grows(Filesystem::Ext4);
    }
}

#[test]
fn btrfs_grows_with_its_disk() {
    if can(&["losetup", "addpart", "sfdisk", "sgdisk", "mkfs.btrfs"]) {
        grows(Filesystem::Btrfs);
    }
}

/// Every state that a power cut in the middle leaves is mended by the next boot.
#[test]
fn growth_that_was_cut_short_goes_on() {
    if !can(&["losetup", "addpart", "sfdisk", "sgdisk", "mkfs.btrfs"]) {
        return;
    }
    let lab = Lab::new();
    let options = Options {
        filesystem: Filesystem::Btrfs,
        ..Options::default()
    };
    let plan = lab.install("disk", &options);
    let root = part(&plan, Role::Root);
    let disk = lab.path("disk");
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(2000 << 20)
        .unwrap();
    let before = lab.path("before");
    ok(&format!(
        "cp --sparse=always {} {}",
        disk.display(),
        before.display()
    ));
    let Some(machine) = Machine::boot(&lab) else {
        return;
    };
    let grown = machine.grow();
    drop(machine);
    let size = (1999 << 20) - root.start;
    let whole = Grown {
        partition: Some((root.size, size)),
        filesystem: Some((root.size, size)),
    };
    assert_eq!(grown, whole);
    let grown_disk = lab.path("grown");
    fs::rename(&disk, &grown_disk).unwrap();
    let copy_of_grown = |disk: &Path| {
        let mut end = vec![0; 1 << 20];
        File::open(&grown_disk)
            .unwrap()
            .read_exact_at(&mut end, 1999 << 20)
            .unwrap();
        let disk = File::options().write(true).open(disk).unwrap();
        disk.write_all_at(&end, 1999 << 20).unwrap();
    };
    let sound = || ok(&format!("sgdisk -v {}", disk.display())).contains("No problems found");
    // The copy at the end is new, the beginning old.
    ok(&format!(
        "cp --sparse=always {} {}",
        before.display(),
        disk.display()
    ));
    copy_of_grown(&disk);
    let machine = Machine::boot(&lab).unwrap();
    assert_eq!(machine.grow(), whole);
    drop(machine);
    assert!(sound());
    // The copy at the end is new, the beginning torn: the kernel reads the copy.
    ok(&format!(
        "cp --sparse=always {} {}",
        before.display(),
        disk.display()
    ));
    copy_of_grown(&disk);
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .write_all_at(&[0xff; 700], 900)
        .unwrap();
    assert!(!sound());
    let machine = Machine::boot(&lab).unwrap();
    let again = Grown {
        partition: None,
        ..whole
    };
    assert_eq!(machine.grow(), again);
    drop(machine);
    assert!(sound());
    // The table is new, the file system old.
    ok(&format!(
        "cp --sparse=always {} {}",
        before.display(),
        disk.display()
    ));
    copy_of_grown(&disk);
    let mut start = vec![0; 1 << 20];
    File::open(&grown_disk)
        .unwrap()
        .read_exact_at(&mut start, 0)
        .unwrap();
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .write_all_at(&start, 0)
        .unwrap();
    let machine = Machine::boot(&lab).unwrap();
    assert_eq!(machine.grow(), again);
    drop(machine);
    assert!(sound());
}

#[test]
fn a_partition_behind_the_root_stops_growth() {
    if !can(&["losetup", "addpart", "sfdisk", "sgdisk"]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.install("disk", &Options::default());
    let root = part(&plan, Role::Root);
    let disk = lab.path("disk");
    without_verity(&disk, root.start);
    File::options()
        .write(true)
        .open(&disk)
        .unwrap()
        .set_len(2000 << 20)
        .unwrap();
    ok(&format!("sgdisk -e -n 3:1500M:0 {}", disk.display()));
    let Some(machine) = Machine::boot(&lab) else {
        return;
    };
    assert_eq!(machine.grow(), Grown::default());
    drop(machine);
    let table = ok(&format!("sfdisk -J {} 2>/dev/null", disk.display()));
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    assert_eq!(
        table["partitiontable"]["partitions"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}
