//! `[secrets.NAME]`: what services get to know and the image's readers do not.

use super::super::check;
use super::super::reader::{Fields, Located, Reader};
use super::values;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// `[secrets.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// The file that `systemd-creds encrypt` made.
    pub from: PathBuf,
    /// Units that get it, below `$CREDENTIALS_DIRECTORY`.
    pub units: Vec<String>,
}

/// systemd takes no larger credential (`CREDENTIAL_ENCRYPTED_SIZE_MAX`), in bytes before base64.
const LARGEST: usize = 2 << 20;
/// The key of credentials that anybody can read: it is empty (`CRED_AES256_GCM_BY_NULL`).
const BY_NULL: [u8; 16] = [
    0x05, 0x84, 0x69, 0xda, 0xf6, 0xf5, 0x43, 0x24, 0x80, 0x05, 0x49, 0xda, 0x0f, 0x8e, 0xa2, 0xfb,
];
/// What stands behind the key's name: the lengths of key, block, vector and tag of AES-256-GCM, little-endian.
const LENGTHS: [u8; 16] = [32, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0, 16, 0, 0, 0];

/// Reads every secret.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Secret> {
    let mut out = BTreeMap::new();
    for (name, mut fields) in reader.tables(top, "secrets") {
        let fits: fn(&str) -> bool = |name| {
            let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !name.starts_with('.') && (1..=128).contains(&name.len()) && name.chars().all(good)
        };
        let rule = "letters, digits and `._-`";
        let valid = reader.check("secrets", name.clone(), fits, rule);
        let secret = secret(reader, &mut fields, &name);
        reader.finish(&fields);
        if let (Some(name), Some(secret)) = (valid, secret) {
            out.insert(name.value, secret);
        }
    }
    out
}

fn secret(reader: &mut Reader, f: &mut Fields, name: &Located<String>) -> Option<Secret> {
    let mut literal = false;
    for word in ["content", "value", "text", "password"] {
        if let Some(at) = f.refuse(word) {
            literal = true;
            let what = format!("a secret never stands in a config: `{}`", f.full(word));
            let help = encrypt(&name.value);
            reader.problem(Some(at), what, "everybody could read it", Some(help));
        }
    }
    let fits: fn(&str) -> bool = |unit| {
        let kinds = [".service", ".socket", ".mount", ".swap"];
        check::unit(unit) && kinds.iter().any(|kind| unit.ends_with(kind))
    };
    let rule = "a service, socket, mount or swap, such as web.service";
    let units = reader.checked_list(f, "units", fits, rule);
    let from = reader.text(f, "from");
    let from = if literal {
        from
    } else {
        reader.needed(from, f, "from", "\"NAME.cred\"")
    }?;
    let path = reader.resolve(&from);
    if let Err(why) = credential(&path) {
        let what = format!("cannot use the secret {}: {why}", path.display());
        let help = encrypt(&name.value);
        reader.problem(Some(from.at), what, "named here", Some(help));
        return None;
    }
    Some(Secret {
        from: path,
        units: values(units),
    })
}

fn encrypt(name: &str) -> String {
    format!(
        "on the machine: `systemd-creds encrypt --name={name} FILE {name}.cred`, and `from = \"{name}.cred\"`"
    )
}

/// Whether a file is an encrypted credential: base64 of systemd's header and more.
fn credential(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("it is no file".into());
    }
    let most = LARGEST * 3 / 2;
    let mut text = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX) + 1;
    file.take(limit)
        .read_to_end(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() > most {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    text.retain(|byte| !byte.is_ascii_whitespace());
    let no = "it is not encrypted by systemd-creds";
    let bytes = BASE64_STANDARD.decode(&text).map_err(|_| no)?;
    let (key, rest) = bytes.split_at_checked(16).ok_or(no)?;
    // A vector and a tag at least.
    if !rest.starts_with(&LENGTHS) || rest.len() < LENGTHS.len() + 12 + 16 {
        return Err(no.into());
    }
    if key == BY_NULL {
        return Err("it is encrypted with the empty key, so anybody can read it".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_systemds() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.cred");
        let check = |bytes: &[u8]| {
            std::fs::write(&file, BASE64_STANDARD.encode(bytes)).unwrap();
            credential(&file)
        };
        let whole = |key: [u8; 16]| [&key[..], &LENGTHS, &[7; 40]].concat();
        assert_eq!(check(&whole([9; 16])), Ok(()));
        assert!(check(&whole([9; 16])[..50]).is_err(), "cut");
        assert!(check(&whole(BY_NULL)).unwrap_err().contains("empty key"));
        assert!(check(b"hunter2").is_err());
        std::fs::write(&file, "hunter2!").unwrap();
        assert!(credential(&file).is_err());
        // systemd itself writes this one with the empty key, which asks for nothing of the machine.
        let mut command = std::process::Command::new("systemd-creds");
        let arguments = ["encrypt", "--with-key=tpm2-absent", "--name=x", "/dev/null"];
        match command.args(arguments).arg(&file).output() {
            Ok(output) if output.status.success() => {
                assert!(credential(&file).unwrap_err().contains("empty key"));
            }
            _ => println!("skipped: no systemd-creds"),
        }
    }
}
