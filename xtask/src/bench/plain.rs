//! The same packages on plain ext4: what a boot of an image is compared with.

use super::boot::System;
use crate::programs::{built_example, cargo};
use crate::{Result, show};
use elea_testkit::run;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The UUID of the plain root.
const UUID: &str = "5f1e0c9a-52a1-4b0e-9d0c-7a0e6f3d1c22";

/// Makes an ext4 disk of the tree, and the image's initrd with another program in it.
const MAKE: &str = r#"
tree=$1 out=$2 init=$3 initrd=$4 uuid=$5
work=$(mktemp -d -p "$out")
trap 'rm -rf "$work"' EXIT
cp -a --reflink=auto "$tree" "$work/root"
cd "$work/root"
rm -rf var && mkdir var && cp -a usr/share/factory/var/. var/
# Elea's own units have nothing to do here.
rm -f elea etc/fstab
find etc/systemd usr/lib/systemd/system -name '*elea*' -exec rm -rf {} +
# One of them makes the keys that a setting of Elea's names.
find etc/ssh -name '*elea*' -delete
ssh-keygen -q -A -f .
rm -f "$out/plain.disk"
mke2fs -q -t ext4 -b 4096 -U "$uuid" -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 \
    -d . "$out/plain.disk" 4G
mkdir "$work/initrd"
cd "$work/initrd"
cpio --quiet -idm < "$initrd"
cp "$init" init
find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc > "$out/plain.initrd"
"#;

/// Makes it; `image` gives the kernel, the modules and the arguments.
pub(super) fn system(tree: &Path, image: &System, folder: &Path) -> Result<System> {
    let init = program()?;
    let mut make = Command::new("sh");
    make.args(["-euc", MAKE, "sh"]).arg(tree).arg(folder);
    run(make.arg(init).arg(&image.initrd).arg(UUID))?;
    Ok(System {
        name: "plain ext4",
        disk: folder.join("plain.disk"),
        kernel: image.kernel.clone(),
        initrd: folder.join("plain.initrd"),
        arguments: arguments(&image.arguments),
    })
}

/// `examples/plain_root.rs` of `elea-initrd`, linked statically as that is.
fn program() -> Result<PathBuf> {
    show(
        cargo()
            .args(["rustc", "--release", "--quiet", "-p", "elea-initrd"])
            .args(["--example", "plain_root"])
            .args(["--", "-C", "target-feature=+crt-static"]),
    )?;
    Ok(built_example("plain_root", "release"))
}

/// The arguments of an image without those that name it.
fn arguments(of_image: &str) -> String {
    let kept = of_image.split_whitespace().filter(|word| {
        let ours = ["root=", "composefs.", "elea."];
        *word != "ro" && !ours.iter().any(|prefix| word.starts_with(prefix))
    });
    let kept: Vec<&str> = kept.collect();
    format!("root=UUID={UUID} rw {}", kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_the_image_is_left_out() {
        let line = "root=UUID=1 ro composefs.digest=v1:2 elea.generation=1 panic=5 console=ttyS0";
        assert_eq!(
            arguments(line),
            format!("root=UUID={UUID} rw panic=5 console=ttyS0")
        );
    }
}
