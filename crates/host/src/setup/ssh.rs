//! The machine's ssh host keys: made once, kept in `/elea/state/ssh`, never in an image and never in
//! `/etc`, so that they are the same in every generation. The drop-in
//! `/etc/ssh/sshd_config.d/50-elea.conf` names them to sshd.

use crate::error::Error;
use elea_sys::{At as _, durable};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The kinds of keys; RSA costs seconds of a first boot, and no client of this decade needs it.
const KINDS: [&str; 2] = ["ed25519", "ecdsa"];

/// Makes the keys that are not there; says which. Without `ssh-keygen` there is no sshd, and
/// nothing to do.
pub(super) fn host_keys(state: &Path) -> Result<Vec<String>, Error> {
    let folder = state.join("ssh");
    let names = KINDS.map(|kind| (kind, format!("ssh_host_{kind}_key")));
    let missing: Vec<_> = names
        .iter()
        .filter(|(_, name)| !folder.join(name).is_file())
        .collect();
    if missing.is_empty() || !has_keygen() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(&folder).at("create", &folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).at("set", &folder)?;
    let mut made = Vec::new();
    for (kind, name) in missing {
        let new = folder.join(format!(".new-{name}"));
        let public = folder.join(format!(".new-{name}.pub"));
        for old in [&new, &public] {
            if old.exists() {
                fs::remove_file(old).at("remove", old)?;
            }
        }
        generate(kind, &new)?;
        durable::sync_filesystem(&folder)?;
        // The private key last: where it is, both are.
        fs::rename(&public, folder.join(format!("{name}.pub"))).at("rename", &public)?;
        fs::rename(&new, folder.join(name)).at("rename", &new)?;
        made.push(name.clone());
    }
    durable::sync_folder(&folder)?;
    Ok(made)
}

fn has_keygen() -> bool {
    ["/usr/bin/ssh-keygen", "/bin/ssh-keygen"]
        .iter()
        .any(|path| Path::new(path).is_file())
}

fn generate(kind: &str, path: &Path) -> Result<(), Error> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C"])
        .arg(format!("root@{}", host.trim()))
        .arg("-f")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .at("run", "ssh-keygen")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program {
        program: "ssh-keygen",
        said,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once() {
        if !has_keygen() {
            println!("skipped: no ssh-keygen");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("ssh")).unwrap();
        // A power cut in the middle of the first attempt.
        fs::write(dir.path().join("ssh/.new-ssh_host_ecdsa_key"), "").unwrap();
        let made = host_keys(dir.path()).unwrap();
        assert_eq!(made, ["ssh_host_ed25519_key", "ssh_host_ecdsa_key"]);
        let key = dir.path().join("ssh/ssh_host_ed25519_key");
        let first = fs::read(&key).unwrap();
        let bits = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(bits & 0o777, 0o600);
        assert_eq!(host_keys(dir.path()).unwrap(), [""; 0]);
        assert_eq!(fs::read(&key).unwrap(), first);
        assert_eq!(fs::read_dir(dir.path().join("ssh")).unwrap().count(), 4);
    }
}
