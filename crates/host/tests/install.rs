//! Disks made from a small image, looked at with other people's programs.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stderr, reason = "a test says why it is skipped")]

#[path = "install/grow.rs"]
mod grow;
#[path = "install/lab.rs"]
mod lab;
#[path = "install/refused.rs"]
mod refused;
#[path = "install/special.rs"]
mod special;

use elea_formats::bls::Entry;
use elea_formats::digest::Sha256;
use elea_formats::generation::Generation;
use elea_host::install::{Filesystem, Options, Partition, Role, Sealing};
use elea_host::view::{Disks, State, View};
use elea_store::Store;
use elea_sys::disk::Folder;
use elea_sys::progress::Silent;
use lab::{Lab, LoopDevice, Mounted, can, ok};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

fn part(plan: &elea_host::install::Plan, role: Role) -> &Partition {
    plan.partitions.iter().find(|p| p.role == role).unwrap()
}

#[test]
fn the_partition_table_is_what_other_programs_take() {
    if !can(&["sfdisk", "sgdisk"]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.install("disk", &Options::default());
    let disk = lab.path("disk").display().to_string();
    ok(&format!("sfdisk --verify {disk}"));
    assert!(ok(&format!("sgdisk -v {disk}")).contains("No problems found"));
    let table: serde_json::Value = serde_json::from_str(&ok(&format!("sfdisk -J {disk}"))).unwrap();
    let table = &table["partitiontable"];
    assert_eq!(table["label"], "gpt");
    assert_eq!(table["id"], plan.disk_uuid.to_uppercase());
    let partitions = table["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2);
    for (theirs, ours) in partitions.iter().zip(&plan.partitions) {
        assert_eq!(theirs["start"], ours.start / 512);
        assert_eq!(theirs["size"], ours.size / 512);
        assert_eq!(theirs["type"], ours.role.type_guid().to_uppercase());
        assert_eq!(theirs["uuid"], ours.uuid.to_uppercase());
        assert_eq!(theirs["name"], ours.role.name());
    }
    assert!(part(&plan, Role::Boot).size >= 512 << 20);
    assert_eq!(fs::metadata(lab.path("disk")).unwrap().len(), 1200 << 20);
}

#[test]
fn the_boot_partition_holds_loader_entries_and_payloads() {
    if !can(&["fsck.vfat", "mcopy"]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.install("disk", &Options::default());
    let boot = part(&plan, Role::Boot);
    let disk = lab.path("disk").display().to_string();
    let (esp, out) = (lab.path("esp"), lab.path("out"));
    ok(&format!(
        "dd if={disk} of={} bs=1M skip={} count={} status=none",
        esp.display(),
        boot.start >> 20,
        boot.size >> 20
    ));
    let checked = ok(&format!("fsck.vfat -n -v {}", esp.display()));
    assert!(
        checked.contains("FAT32") || checked.contains("32 bit"),
        "{checked}"
    );
    fs::create_dir(&out).unwrap();
    ok(&format!(
        "mcopy -s -n -i {disk}@@{} ::/* {}",
        boot.start,
        out.display()
    ));
    let loader = fs::read(lab.path("tree").join(lab::LOADER)).unwrap();
    for path in ["EFI/systemd/systemd-bootx64.efi", "EFI/BOOT/BOOTX64.EFI"] {
        assert_eq!(fs::read(out.join(path)).unwrap(), loader, "{path}");
    }
    let conf = fs::read_to_string(out.join("loader/loader.conf")).unwrap();
    assert!(
        conf.contains("\nreboot-on-error auto\n") && conf.contains("\neditor no\n"),
        "{conf}"
    );
    let names: Vec<_> = fs::read_dir(out.join("loader/entries"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names.len() == 2 && names.contains(&"elea-1.conf".to_owned()),
        "{names:?}"
    );
    let text = fs::read_to_string(out.join("loader/entries/elea-1.conf")).unwrap();
    let entry = Entry::parse(&text).unwrap();
    for (source, path) in [
        (lab::KERNEL, entry.linux.as_ref().unwrap()),
        (lab::INITRD, &entry.initrds[0]),
    ] {
        let content = fs::read(out.join(path.trim_start_matches('/'))).unwrap();
        assert_eq!(content, fs::read(lab.path("tree").join(source)).unwrap());
        assert_eq!(*path, format!("/elea/{}", Sha256::of(&content)));
    }
    assert_eq!(
        entry.options.unwrap(),
        format!(
            "composefs.digest=v1-sha256-12:{} elea.generation=1 root=UUID={} ro panic=5 console=ttyS0 note=\"two words\"",
            lab.image, plan.filesystem_uuid
        )
    );
    let rescue = fs::read_to_string(out.join("loader/entries/elea-rescue.conf")).unwrap();
    assert!(rescue.contains(" elea.rescue"), "{rescue}");
}

/// What stands on the physical root, whichever file system it is.
fn check_root(root: &Path, lab: &Lab, plan: &elea_host::install::Plan) {
    let elea = root.join("elea");
    let text = fs::read(elea.join("generations/1/manifest.json")).unwrap();
    let generation: Generation = serde_json::from_slice(&text).unwrap();
    assert_eq!(generation, plan.generation);
    assert_eq!(
        (generation.epoch, generation.from, generation.image),
        (3, None, lab.image)
    );
    let (state, boot) = (Folder::new(&elea), Folder::new("/nonexistent"));
    let view = View::load(Disks {
        state: &state,
        boot: &boot,
    })
    .unwrap();
    assert!(view.log_damage.is_none() && !view.log_torn);
    assert_eq!(view.log.len(), 2);
    assert_eq!(view.log[0].by, "elea install");
    assert_eq!(view.next_number(), 2);
    assert_eq!(
        view.state(1, None),
        State::Vanished,
        "its entry is on the other partition"
    );
    let mode = |path: &str| {
        fs::symlink_metadata(elea.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        mode("store/objects"),
        0o700,
        "the content of /etc/shadow is in it"
    );
    for folder in [
        "",
        "store",
        "store/manifests",
        "generations/1",
        "state",
        "log",
    ] {
        assert_eq!(mode(folder), 0o755, "{folder}");
    }
    let store = Store::open(&elea.join("store")).unwrap();
    assert_eq!(
        store.image(&lab.image).unwrap(),
        lab.store.image(&lab.image).unwrap()
    );
    assert_eq!(store.objects_of(&lab.image).unwrap(), lab.contents.objects);
    for (digest, size) in &lab.contents.objects {
        let path = store.object_path(digest);
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(
            (metadata.len(), metadata.uid(), metadata.mode() & 0o777),
            (*size, 0, 0o444)
        );
        let theirs = ok(&format!("fsverity digest --compact {}", path.display()));
        assert_eq!(theirs.trim(), digest.to_string());
    }
    let kept = fs::read_dir(elea.join("store/objects")).unwrap();
    let count: usize = kept
        .map(|d| fs::read_dir(d.unwrap().path()).unwrap().count())
        .sum();
    assert_eq!(count, lab.contents.objects.len());
    let bytes = |store: &Store| {
        let mut bytes = Vec::new();
        store.copy_image(&lab.image, &mut bytes).unwrap();
        bytes
    };
    assert!(bytes(&store) == bytes(&lab.store));
    assert!(store.fsck(&Silent).unwrap().findings.is_empty());
}

#[test]
fn ext4_is_clean_and_has_everything() {
    if !can(&["fsverity", "dumpe2fs"]) {
        return;
    }
    let lab = Lab::new();
    let options = Options {
        arguments: vec!["quiet".into()],
        ..Options::default()
    };
    let plan = lab.install("disk", &options);
    assert_eq!(plan.sealing, Sealing::Born);
    let root = part(&plan, Role::Root);
    let place = format!("'{}?offset={}'", lab.path("disk").display(), root.start);
    ok(&format!("e2fsck -fn {place}"));
    let said = ok(&format!("dumpe2fs -h {place}"));
    for line in [
        "Filesystem volume name:   elea-root",
        &format!("Filesystem UUID:          {}", plan.filesystem_uuid),
        "Block size:               4096",
        &format!("Block count:              {}", root.size / 4096),
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(
        said.lines()
            .any(|l| l.starts_with("Filesystem features:") && l.contains("verity")),
        "{said}"
    );
    // A kernel without fs-verity opens no sealed file; debugfs does.
    let out = lab.path("out");
    fs::create_dir(&out).unwrap();
    let said = ok(&format!(
        "debugfs -R 'rdump /elea {}' {place}",
        out.display()
    ));
    assert_eq!(said.lines().count(), 1, "{said}");
    check_root(&out, &lab, &plan);
    assert!(!out.join("elea/state/sealing").exists());
    assert!(plan.generation.options.ends_with(" quiet"));
}

/// Without them the first upgrade of a machine would fetch everything.
#[test]
fn the_layers_of_an_image_are_known_on_the_disk() {
    if !can(&["tar"]) {
        return;
    }
    let lab = Lab::new();
    let path = lab.path("tree").display().to_string();
    // The second layer hides a file of the first, and has one that the image leaves out.
    ok(&format!("tar -cf {path}.1 -C {path} ."));
    ok(&format!(
        "mkdir -p {path}/tmp && head -c 5000 /dev/urandom > {path}/tmp/left-out"
    ));
    ok(&format!(
        "head -c 5000 /dev/urandom > {path}/usr/share/sizes/4097"
    ));
    ok(&format!(
        "tar -cf {path}.2 -C {path} tmp usr/share/sizes/4097"
    ));
    let mut layers = Vec::new();
    for number in 1..=2 {
        let bytes = fs::read(format!("{path}.{number}")).unwrap();
        let blob = Sha256::of(&bytes);
        let kind = elea_formats::oci::media::LAYER;
        layers.push(
            lab.store
                .import_layer(&blob, kind, &*bytes, &Silent)
                .unwrap(),
        );
    }
    let origin = elea_store::Origin {
        layers: layers.iter().map(|l| l.blob).collect(),
        ..elea_store::Origin::default()
    };
    let tree = lab.store.assemble(&layers).unwrap();
    let form = elea_formats::form::Form::Os1;
    let image = lab.store.seal(tree, form, &origin).unwrap().image;
    let contents = elea_host::install::Contents::load(&lab.store, &image).unwrap();
    let lab = Lab {
        image,
        contents,
        ..lab
    };
    let plan = lab.install("disk", &Options::default());
    let root = part(&plan, Role::Root);
    let place = format!("'{}?offset={}'", lab.path("disk").display(), root.start);
    let out = lab.path("out");
    fs::create_dir(&out).unwrap();
    ok(&format!(
        "debugfs -R 'rdump /elea {}' {place}",
        out.display()
    ));
    let store = Store::open(&out.join("elea/store")).unwrap();
    assert_eq!(store.layers_of(&image).unwrap(), origin.layers);
    for layer in layers {
        let known = store.layer(&layer.blob).unwrap().expect("it is whole");
        assert_eq!(known.diff_id, layer.diff_id);
    }
    assert!(store.fsck(&Silent).unwrap().findings.is_empty());
}

/// The bytes of a file's block, wherever it stands behind the file's end.
fn block(disk: &File, start: u64, place: &str, path: &str, block: u64) -> Vec<u8> {
    let said = ok(&format!(
        "debugfs -R 'bmap {path} {block}' {place} 2>/dev/null"
    ));
    let number: u64 = said
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{path}: {said}"));
    assert!(number > 0, "{path} has no block {block}");
    let mut bytes = vec![0; 4096];
    disk.read_exact_at(&mut bytes, start + number * 4096)
        .unwrap();
    bytes
}

#[test]
fn every_object_is_sealed_as_the_kernel_would() {
    if !can(&["fsverity"]) {
        return;
    }
    let lab = Lab::new();
    let plan = lab.install("disk", &Options::default());
    let root = part(&plan, Role::Root);
    let place = format!("'{}?offset={}'", lab.path("disk").display(), root.start);
    let disk = File::open(lab.path("disk")).unwrap();
    let (tree, descriptor) = (lab.path("merkle"), lab.path("descriptor"));
    assert!(
        lab.contents.objects.contains_key(&lab.image),
        "the image itself is sealed, too"
    );
    for (digest, size) in &lab.contents.objects {
        let path = format!("/elea/store/objects/{}", digest.object_path());
        let said = ok(&format!("debugfs -R 'stat {path}' {place}"));
        assert!(said.contains("Flags: 0x180000"), "{said}");
        assert!(said.contains(&format!("Size: {size}\n")), "{said}");
        let object = lab.store.object_path(digest);
        ok(&format!(
            "rm -f {0} {1}; touch {0}; fsverity digest {2} --out-merkle-tree={0} --out-descriptor={1}",
            tree.display(),
            descriptor.display(),
            object.display()
        ));
        let tree = fs::read(&tree).unwrap();
        let first = size.div_ceil(65_536) * 16;
        for (i, theirs) in (0..).zip(tree.chunks(4096)) {
            assert_eq!(
                block(&disk, root.start, &place, &path, first + i),
                theirs,
                "{path}"
            );
        }
        let last = block(
            &disk,
            root.start,
            &place,
            &path,
            first + tree.len() as u64 / 4096,
        );
        let theirs = fs::read(&descriptor).unwrap();
        assert_eq!(last[..theirs.len()], theirs, "{path}");
        let length = u32::try_from(theirs.len()).unwrap();
        assert_eq!(last[4092..], length.to_le_bytes());
        assert!(last[theirs.len()..4092].iter().all(|b| *b == 0));
    }
}

#[test]
fn btrfs_is_clean_and_is_sealed_at_the_first_boot() {
    if !can(&["fsverity", "losetup", "mkfs.btrfs"]) {
        return;
    }
    let lab = Lab::new();
    let options = Options {
        filesystem: Filesystem::Btrfs,
        ..Options::default()
    };
    let plan = lab.install("disk", &options);
    assert_eq!(plan.sealing, Sealing::FirstBoot);
    let root = part(&plan, Role::Root);
    let offset = format!("--offset {} --sizelimit {}", root.start, root.size);
    let Some(device) = LoopDevice::new(&lab.path("disk"), &format!("-r {offset}")) else {
        return;
    };
    ok(&format!(
        "btrfs check --readonly --check-data-csum {}",
        device.0
    ));
    let said = ok(&format!("btrfs filesystem show {}", device.0));
    assert!(
        said.contains("elea-root") && said.contains(&plan.filesystem_uuid),
        "{said}"
    );
    let mounted = Mounted::new(&device.0, &lab.path("mnt"), "-o ro");
    check_root(&mounted.0, &lab, &plan);
    assert!(mounted.0.join("elea/state/sealing").exists());
}

/// Installs on a device that was another system's disk, and asks what is there now.
fn over_an_older_system(filesystem: Filesystem) {
    let lab = Lab::new();
    let file = lab.path("device");
    let start = (1 << 20) + (512 << 20);
    let old = File::create(&file).unwrap();
    old.set_len(1200 << 20).unwrap();
    let random = lab::bytes(8 << 20, 5);
    for at in (0..1200_u64)
        .step_by(8)
        .filter(|at| *at < 32 || (512..600).contains(at))
    {
        old.write_all_at(&random, at << 20).unwrap();
    }
    // A boot partition that was mirrored has a RAID's superblock at its end (`md_p.h`, version 1.0).
    let end: u64 = start - 8192;
    let mut raid = [0; 256];
    raid[..8].copy_from_slice(b"\xfc\x4e\x2b\xa9\x01\0\0\0");
    raid[144..152].copy_from_slice(&((end - (1 << 20)) / 512).to_le_bytes());
    old.write_all_at(&raid, end).unwrap();
    drop(old);
    match filesystem {
        Filesystem::Ext4 => {
            ok(&format!(
                "truncate -s 600M {0}.old && mkfs.btrfs -q {0}.old",
                file.display()
            ));
            ok(&format!(
                "dd if={0}.old of={0} bs=1M seek={1} count=64 conv=notrunc status=none",
                file.display(),
                start >> 20
            ));
        }
        Filesystem::Btrfs => {
            ok(&format!(
                "mke2fs -q -F -E offset={start} {} 600M",
                file.display()
            ));
        }
    }
    let Some(device) = LoopDevice::new(&file, "") else {
        return;
    };
    let target = elea_host::install::Target::inspect(Path::new(&device.0), None).unwrap();
    let options = Options {
        filesystem,
        ..Options::default()
    };
    let plan = elea_host::install::plan(&lab.contents, &target, &options).unwrap();
    lab.apply(&plan, &Silent).unwrap();
    drop(device);
    let root = part(&plan, Role::Root);
    assert_eq!(root.start, start);
    assert!(ok(&format!("sgdisk -v {}", file.display())).contains("No problems found"));
    // What was there before must not shine through.
    let size = root.size;
    let said = ok(&format!(
        "blkid -p -o export -O {start} -S {size} {}",
        file.display()
    ));
    let kind = match filesystem {
        Filesystem::Ext4 => "TYPE=ext4",
        Filesystem::Btrfs => "TYPE=btrfs",
    };
    assert!(
        said.contains(kind) && said.contains(&plan.filesystem_uuid),
        "{said}"
    );
    let said = ok(&format!(
        "blkid -p -o export -O {} {}",
        1 << 20,
        file.display()
    ));
    assert!(said.contains("TYPE=vfat"), "{said}");
    let mut now = [0; 4];
    File::open(&file)
        .unwrap()
        .read_exact_at(&mut now, end)
        .unwrap();
    assert_ne!(now, raid[..4]);
    let mut bytes = vec![0; elea_formats::superblock::NEEDED];
    File::open(&file)
        .unwrap()
        .read_exact_at(&mut bytes, start)
        .unwrap();
    let superblock = elea_formats::superblock::read(&bytes).unwrap();
    assert_eq!(superblock.uuid, plan.filesystem_uuid);
    let offset = format!("-r --offset {start} --sizelimit {}", root.size);
    let device = LoopDevice::new(&file, &offset).unwrap();
    match filesystem {
        Filesystem::Ext4 => ok(&format!("e2fsck -fn {}", device.0)),
        Filesystem::Btrfs => ok(&format!("btrfs check --readonly {}", device.0)),
    };
    let boot = part(&plan, Role::Boot);
    let esp = format!("-r --offset {} --sizelimit {}", boot.start, boot.size);
    let esp = LoopDevice::new(&file, &esp).unwrap();
    ok(&format!("fsck.vfat -n {}", esp.0));
}

#[test]
fn ext4_on_a_device_that_held_btrfs() {
    if can(&["losetup", "sgdisk", "mkfs.btrfs", "blkid", "fsck.vfat"]) {
        over_an_older_system(Filesystem::Ext4);
    }
}

#[test]
fn btrfs_on_a_device_that_held_ext4() {
    if can(&["losetup", "sgdisk", "mkfs.btrfs", "blkid", "fsck.vfat"]) {
        over_an_older_system(Filesystem::Btrfs);
    }
}

#[test]
fn a_disk_with_large_sectors_is_as_good() {
    if !can(&["losetup", "sfdisk", "fsck.vfat"]) {
        return;
    }
    let lab = Lab::new();
    let file = lab.path("device");
    File::create(&file).unwrap().set_len(1200 << 20).unwrap();
    let Some(device) = LoopDevice::new(&file, "--sector-size 4096") else {
        return;
    };
    let target = elea_host::install::Target::inspect(Path::new(&device.0), None).unwrap();
    assert_eq!(target.sector, 4096);
    let plan = elea_host::install::plan(&lab.contents, &target, &Options::default()).unwrap();
    lab.apply(&plan, &Silent).unwrap();
    ok(&format!("sfdisk --verify {}", device.0));
    let table = ok(&format!("sfdisk -J {}", device.0));
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let partitions = &table["partitiontable"]["partitions"];
    for (i, ours) in plan.partitions.iter().enumerate() {
        assert_eq!(partitions[i]["start"], ours.start / 4096);
        assert_eq!(partitions[i]["size"], ours.size / 4096);
    }
    drop(device);
    let boot = part(&plan, Role::Boot);
    let esp = format!(
        "-r --sector-size 4096 --offset {} --sizelimit {}",
        boot.start, boot.size
    );
    let esp = LoopDevice::new(&file, &esp).unwrap();
    ok(&format!("fsck.vfat -n {}", esp.0));
    let root = part(&plan, Role::Root);
    ok(&format!(
        "e2fsck -fn '{}?offset={}'",
        file.display(),
        root.start
    ));
}
