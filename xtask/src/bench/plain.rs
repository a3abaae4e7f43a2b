//! The same packages on plain ext4: what an image is compared with.

use super::boot::System;
use crate::Result;
use elea_testkit::{Error, run};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Makes an ext4 disk of the tree, and an initrd of shell script and busybox that mounts it.
///
/// The initrd cannot be the image's own, which mounts nothing but images; this one loads the
/// same module for the disk and does less.
const MAKE: &str = r#"
set -eu
tree=$1 out=$2
rm -rf "$out/plain.tree" "$out/plain.initrd.d"
cp -a --reflink=auto "$tree" "$out/plain.tree"
cd "$out/plain.tree"
rm -rf var && mkdir var && cp -a usr/share/factory/var/. var/
# Elea's own units have nothing to do here.
rm -f elea etc/fstab
find etc/systemd usr/lib/systemd/system -name 'elea-*' -exec rm -rf {} +
mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
    -d . "$out/plain.disk" 2G
release=$(ls usr/lib/modules)
mkdir -p "$out/plain.initrd.d" && cd "$out/plain.initrd.d"
mkdir -p bin dev proc sys root
cp /bin/busybox bin/busybox
modules="$out/plain.tree/usr/lib/modules/$release"
module=$(find "$modules" -name 'virtio_blk.ko*')
case $module in
    *.xz) xz -dc "$module" > virtio_blk.ko ;;
    *) cp "$module" virtio_blk.ko ;;
esac
cat > init <<'END'
#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox insmod /virtio_blk.ko
while [ ! -e /dev/vda ]; do /bin/busybox sleep 0.05; done
/bin/busybox mount -t ext4 -o noatime /dev/vda /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /sys
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
END
chmod 755 init
find . | cpio --quiet -o -H newc > "$out/plain.initrd"
rm -rf "$out/plain.tree" "$out/plain.initrd.d"
"#;

/// Makes it; `image` gives the kernel.
pub(super) fn system(tree: &Path, image: &System, folder: &Path) -> Result<System> {
    let disk = folder.join("plain.disk");
    let _ = fs::remove_file(&disk);
    run(Command::new("sh")
        .args(["-c", MAKE, "sh"])
        .arg(tree)
        .arg(folder))?;
    if !disk.exists() {
        return Err(Error::other("the plain disk was not made"));
    }
    let console: Vec<&str> = image
        .arguments
        .split(' ')
        .filter(|word| word.starts_with("console=") || word.starts_with("panic="))
        .collect();
    Ok(System {
        disk,
        kernel: image.kernel.clone(),
        initrd: folder.join("plain.initrd"),
        arguments: format!("root=/dev/vda rw {}", console.join(" ")),
    })
}
