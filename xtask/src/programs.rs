//! The programs of this repository, built for use.

use crate::{Result, show, workspace};
use elea_testkit::{Error, run};
use std::fs;
use std::path::{Path, PathBuf};
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

    /// Puts both into one folder, as [`READY`] wants them.
    pub(crate) fn together(&self, folder: &Path) -> Result<PathBuf> {
        let fail = |e| Error::other(format!("cannot write {}: {e}", folder.display()));
        fs::create_dir_all(folder).map_err(fail)?;
        fs::copy(&self.elea, folder.join("elea")).map_err(fail)?;
        fs::copy(&self.initrd, folder.join("elea-initrd")).map_err(fail)?;
        Ok(folder.to_owned())
    }
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A folder with both, ready: nothing is built then.
pub(crate) const READY: &str = "ELEA_PROGRAMS";

/// Builds both; quick where nothing changed.
pub(crate) fn build() -> Result<Programs> {
    if let Some(folder) = std::env::var_os(READY).map(PathBuf::from) {
        return Ok(Programs {
            elea: folder.join("elea"),
            initrd: folder.join("elea-initrd"),
        });
    }
    let target = target_folder();
    show(cargo().args(["build", "--release", "--quiet", "-p", "elea-cli"]))?;
    // Process 1 of an initramfs that holds nothing else: no shared libraries there.
    show(
        cargo()
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(["build", "--release", "--quiet", "-p", "elea-initrd"])
            .args(["--target", TARGET]),
    )?;
    Ok(Programs {
        elea: target.join("release/elea"),
        initrd: target.join(TARGET).join("release/elea-initrd"),
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
