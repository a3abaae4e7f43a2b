//! The programs of this repository, built for use.

use crate::{Result, show, workspace};
use elea_testkit::run;
use std::path::PathBuf;
use std::process::Command;

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// `elea`.
    pub(crate) elea: PathBuf,
    /// `elea-initrd`, linked statically.
    pub(crate) initrd: PathBuf,
}

impl Programs {
    /// What tells these programs from others: a disk that was made with others is made anew.
    pub(crate) fn identity(&self) -> Result<String> {
        run(Command::new("sha256sum").args([&self.elea, &self.initrd]))
    }
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A folder with both, ready: nothing is built then.
pub(crate) const READY: &str = "ELEA_PROGRAMS";

/// Names another profile than `release`, with its folder.
pub(crate) const PROFILE: &str = "ELEA_PROFILE";

/// Builds both; quick where nothing changed.
pub(crate) fn build() -> Result<Programs> {
    if let Some(folder) = std::env::var_os(READY).map(PathBuf::from) {
        return Ok(Programs {
            elea: folder.join("elea"),
            initrd: folder.join("elea-initrd"),
        });
    }
    let target = target_folder();
    let profile = std::env::var(PROFILE).unwrap_or_else(|_| "release".into());
    let build = ["build", "--quiet", "--profile", &profile];
    show(cargo().args(build).args(["-p", "elea-cli"]))?;
    // Process 1 of an initramfs that holds nothing else: no shared libraries there.
    show(
        cargo()
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(build)
            .args(["-p", "elea-initrd", "--target", TARGET]),
    )?;
    Ok(Programs {
        elea: target.join(&profile).join("elea"),
        initrd: target.join(TARGET).join(&profile).join("elea-initrd"),
    })
}

/// Cargo, in the workspace.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(workspace());
    // `cargo xtask` sets them for itself; what it starts must not take them over.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
