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
}

/// A folder with both, ready: nothing is built then.
pub(crate) const READY: &str = "ELEA_PROGRAMS";

/// Names another profile than `release`: `dev`, whose libraries the workspace's tests share.
pub(crate) const PROFILE: &str = "ELEA_PROFILE";

/// Builds both; quick where nothing changed.
pub(crate) fn build() -> Result<Programs> {
    if let Some(folder) = std::env::var_os(READY).map(PathBuf::from) {
        return Ok(Programs {
            elea: folder.join("elea"),
            initrd: folder.join("elea-initrd"),
        });
    }
    let profile = std::env::var(PROFILE).unwrap_or_else(|_| "release".into());
    let of = ["--locked", "--quiet", "--profile", &profile];
    show(cargo().arg("build").args(of).args(["-p", "elea-cli"]))?;
    // Process 1 of an initramfs that holds nothing else: no shared libraries there. Only linking it differs.
    show(
        cargo()
            .arg("rustc")
            .args(of)
            .args(["-p", "elea-initrd", "--bin", "elea-initrd"])
            .args(["--", "-C", "target-feature=+crt-static"]),
    )?;
    let built = built(&profile);
    Ok(Programs {
        elea: small(&built.join("elea"))?,
        initrd: small(&built.join("elea-initrd"))?,
    })
}

/// Builds an example of `elea-host`: where it is.
pub(crate) fn example(name: &str, profile: &str) -> Result<PathBuf> {
    show(
        cargo()
            .args(["build", "--locked", "--quiet", "--profile", profile])
            .args(["-p", "elea-host", "--example", name]),
    )?;
    Ok(built_example(name, profile))
}

/// Where that is, once it is built.
pub(crate) fn built_example(name: &str, profile: &str) -> PathBuf {
    built(profile).join("examples").join(name)
}

/// Where cargo puts what it builds with a profile.
fn built(profile: &str) -> PathBuf {
    target_folder().join(match profile {
        "dev" => "debug",
        other => other,
    })
}

/// The same program without what is for debuggers: it goes into every image.
fn small(program: &Path) -> Result<PathBuf> {
    let folder = target_folder().join("programs");
    fs::create_dir_all(&folder)
        .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))?;
    let name = program.file_name().unwrap_or_default();
    let (new, small) = (folder.join(name).with_extension("new"), folder.join(name));
    run(Command::new("strip").arg("-o").arg(&new).arg(program))?;
    // At once: another command may have it open.
    fs::rename(&new, &small)
        .map_err(|e| Error::other(format!("cannot write {}: {e}", small.display())))?;
    Ok(small)
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
