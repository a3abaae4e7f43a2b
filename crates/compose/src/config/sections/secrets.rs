//! `[secrets.NAME]`: what services get to know and the image's readers do not.

use super::super::reader::{Fields, Located, Reader};
use super::super::{Config, Content, Setting, check};
use super::values;
use crate::config::value::{Place, place_of};
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

/// Says what looks like a secret in clear: a private key, or a password, in what goes into the image.
pub(super) fn in_clear(reader: &mut Reader, config: &Config) {
    let at = |key: String| -> Option<Place> { place_of(&config.places, &key) };
    let mut found = Vec::new();
    for (path, file) in &config.files {
        let (key, text) = match &file.content {
            Content::Text(text) => ("content", text.clone()),
            Content::Copy(source) => ("source", beginning(source)),
            _ => continue,
        };
        found.extend(secret_of(&text).map(|what| (format!("files.{path:?}.{key}"), what)));
    }
    for (path, template) in &config.templates {
        let what = secret_of(&template.text);
        found.extend(what.map(|what| (format!("templates.{path:?}.source"), what)));
    }
    for (name, unit) in &config.units {
        let of = format!("units.{name:?}");
        if let Some(text) = &unit.text {
            let lines = text
                .lines()
                .filter_map(|l| l.trim().strip_prefix("Environment="));
            let what = secret_of(text).or_else(|| lines.into_iter().find_map(environment));
            found.extend(what.map(|what| (format!("{of}.text"), what)));
        }
        for (section, settings) in &unit.sections {
            let values = settings.get("Environment").map_or(&[][..], Setting::each);
            let what = values
                .iter()
                .find_map(|value| environment(&value.to_string()));
            found.extend(what.map(|what| (format!("{of}.{section}.Environment"), what)));
        }
    }
    for (key, what) in found {
        let what = format!("there is {what} in `{key}`, where everybody could read it");
        let help = "make it a secret: [secrets.NAME] with `from`, and read it from $CREDENTIALS_DIRECTORY/NAME";
        reader.problem(at(key), what, "in clear", Some(help.into()));
    }
}

/// As much of a file as is looked at.
fn beginning(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path).map(|file| file.take(1 << 20).read_to_end(&mut bytes));
    // What cannot be read is said by the build.
    let _ = read;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a text has in clear.
fn secret_of(text: &str) -> Option<&'static str> {
    let key = |line: &str| {
        line.strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.strip_suffix("PRIVATE KEY-----"))
            .is_some_and(|kind| kind != "ENCRYPTED ")
    };
    let password = |line: &str| {
        let Some((name, value)) = line.split_once(['=', ':']) else {
            return false;
        };
        let name = name.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
        let (_, last) = name.rsplit_once(['_', '-', '.']).unwrap_or(("", &name));
        matches!(last, "password" | "passwd") && literal(value)
    };
    let mut lines = text.lines().map(str::trim);
    lines.find_map(|line| match line {
        line if key(line) => Some("a private key"),
        line if line.starts_with(['#', ';']) => None,
        line if password(line) => Some("a password"),
        _ => None,
    })
}

/// What the value of `Environment=` has in clear.
fn environment(value: &str) -> Option<&'static str> {
    let secret = |name: &str| {
        let ends = ["PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY"];
        let name = name.trim_start_matches(['"', '\'']).to_ascii_uppercase();
        ends.iter().any(|end| name.ends_with(end))
    };
    let words = value.split_whitespace();
    let mut pairs = words.filter_map(|word| word.split_once('='));
    let found = pairs.any(|(name, value)| secret(name) && literal(value));
    found.then_some("a password or token")
}

/// Whether a value is a secret itself: no hash, no place where it is, nothing to fill in, no switch.
fn literal(value: &str) -> bool {
    let value = value.trim().trim_end_matches([',', ';']);
    let value = value.trim_matches(['"', '\'']).trim();
    let word = value.to_ascii_lowercase();
    let no_secret = [
        "", "x", "*", "!", "ask", "prompt", "none", "null", "true", "false", "yes", "no",
        "required", "optional",
    ];
    !no_secret.contains(&word.as_str()) && !value.starts_with(['$', '%', '/', '<', '{', '@', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_clear_is_seen_and_what_is_not_is_left_alone() {
        let key = "a\n -----BEGIN OPENSSH PRIVATE KEY-----\nx";
        let seen = [
            key,
            "-----BEGIN PRIVATE KEY-----",
            "password = hunter2",
            "db.password: \"hunter2\"",
            "[a]\n\"admin_password\" = 'x y'",
        ];
        for text in seen {
            assert!(secret_of(text).is_some(), "{text}");
        }
        let not = [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----",
            "PasswordAuthentication no",
            "password required pam_unix.so",
            "password = $6$salt$hash",
            "password = ${PASSWORD}",
            "password_file = /run/x",
            "password: ask",
            "# password = hunter2",
            "password=",
        ];
        for text in not {
            assert_eq!(secret_of(text), None, "{text}");
        }
        assert!(environment("A=1 DB_PASSWORD=hunter2").is_some());
        assert!(environment("\"API_TOKEN=abc\"").is_some());
        assert!(environment("DB_PASSWORD_FILE=%d/x PASSWORD=%d/y").is_none());
    }

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
