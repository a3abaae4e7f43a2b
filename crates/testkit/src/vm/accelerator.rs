//! KVM where it really works, TCG elsewhere.

use super::{bound, firmware};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the firmware may take under KVM; it needs about one second.
const LIMIT: Duration = Duration::from_secs(15);

/// How the guest's processor is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The hardware's virtualisation.
    Kvm,
    /// Translation by QEMU: about ten times slower, and everywhere.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    /// The processor to show.
    pub(super) fn processor(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            Self::Tcg => "max",
        }
    }
}

/// What works on this machine. `/dev/kvm` can be opened on machines where every guest hangs
/// or dies, so a guest is started: only one whose firmware speaks counts.
pub fn usable() -> Accelerator {
    static FOUND: OnceLock<Accelerator> = OnceLock::new();
    *FOUND.get_or_init(|| {
        if Path::new("/dev/kvm").exists() && try_kvm().unwrap_or(false) {
            Accelerator::Kvm
        } else {
            Accelerator::Tcg
        }
    })
}

fn try_kvm() -> crate::Result<bool> {
    let (code, _) = firmware()?;
    let Ok(log) = tempfile::NamedTempFile::new() else {
        return Ok(false);
    };
    let child = bound("qemu-system-x86_64")
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256"])
        .args(["-no-reboot", "-drive"])
        .arg(format!("if=pflash,format=raw,readonly=on,file={code}"))
        .arg("-serial")
        .arg(format!("file:{}", log.path().display()))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return Ok(false);
    };
    let begun = Instant::now();
    let mut spoke = false;
    while !spoke && begun.elapsed() < LIMIT && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(100));
        let said = fs::read(log.path()).unwrap_or_default();
        spoke = String::from_utf8_lossy(&said).contains("BdsDxe");
    }
    let _ = child.kill();
    let _ = child.wait();
    Ok(spoke)
}
