//! A newer Debian in a folder: other people's programs that Debian 12 has not, or has too old.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian 13 in a folder, if it is there: `ELEA_DEBIAN_13` names it, else it is where `cargo xtask test` makes it.
pub fn root() -> Option<PathBuf> {
    crate::oracle::place("ELEA_DEBIAN_13", "target/debian-13")
}

/// Runs `$3` and what follows in the Debian at `$1`, with the folder `$2` at `/mnt`, where podman has its images. Its mounts
/// are its own, and go with it. podman is told that it may fetch layers in part, which Fedora does by default.
pub const ENTER: &str = r#"
set -e
root=$1 place=$2
shift 2
cat > "$place/storage.conf" <<'.'
[storage]
driver = "overlay"
graphroot = "/mnt/podman"
runroot = "/run/podman"
[storage.options]
pull_options = {enable_partial_images = "true"}
.
export CONTAINERS_STORAGE_CONF=/mnt/storage.conf PODMAN_IGNORE_CGROUPSV1_WARNING=1
mount --bind "$root" "$root"
mount --bind "$place" "$root/mnt"
for folder in dev proc sys; do mount --rbind "/$folder" "$root/$folder"; done
mount -t tmpfs tmpfs "$root/run"
cd "$root"
pivot_root . media
exec "$@"
"#;

/// A command for a program of this Debian, which is its first argument. It sees `place` as `/mnt`. Needs root.
pub fn enter(root: &Path, place: &Path) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", ENTER, "sh"])
        .args([root, place]);
    command
}
