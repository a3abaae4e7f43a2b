//! `[certificates]`: authorities that the system trusts besides those of the distribution.

use super::super::reader::{Fields, Reader};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use elea_formats::digest::Sha256;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// `[certificates]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// Files with certificates (PEM).
    pub trust: Vec<PathBuf>,
    /// Every certificate by the name of its file in the image.
    #[serde(skip)]
    pub pem: BTreeMap<String, String>,
}

/// A file with certificates is never larger, in bytes: all of Mozilla's take a quarter of it.
const LARGEST: u64 = 1 << 20;

/// Reads `[certificates]`.
pub(super) fn read(reader: &mut Reader, top: &mut Fields) -> Certificates {
    let mut fields = reader.table(top, "certificates");
    let mut out = Certificates::default();
    for text in reader.texts(&mut fields, "trust") {
        let path = reader.resolve(&text);
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let good = |c: char| {
            if c.is_ascii_alphanumeric() || "._-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let stem: String = stem.chars().map(good).take(100).collect();
        match load(&path) {
            Ok(found) => {
                for pem in found {
                    let digest = Sha256::of(pem.as_bytes()).to_string();
                    out.pem.insert(format!("{stem}-{}.crt", &digest[..8]), pem);
                }
                out.trust.push(path);
            }
            Err(why) => {
                let what = format!("cannot use the certificates of {}: {why}", path.display());
                reader.problem(Some(text.at), what, "named here", None);
            }
        }
    }
    reader.finish(&fields);
    out
}

fn load(path: &Path) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().map_err(|e| e.to_string())?.is_file() {
        return Err("it is no file".into());
    }
    let mut text = String::new();
    file.take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() as u64 > LARGEST {
        return Err(format!("it is larger than {} MiB", LARGEST >> 20));
    }
    parse(&text)
}

/// The certificates of a PEM file (RFC 7468), each as a file of its own. What stands between them is left out.
fn parse(text: &str) -> Result<Vec<String>, String> {
    let (begin, end) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");
    if text.contains("PRIVATE KEY-----") {
        return Err("there is a private key in it".into());
    }
    let mut out = Vec::new();
    for part in text.split(begin).skip(1) {
        let (body, _) = part.split_once(end).ok_or("a certificate has no end")?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64_STANDARD.decode(&body);
        let der = der.map_err(|_| "a certificate is not base64")?;
        if !is_sequence(&der) {
            return Err("a certificate is none: it is damaged".into());
        }
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .filter_map(|l| str::from_utf8(l).ok())
            .collect();
        out.push(format!("{begin}\n{}\n{end}\n", lines.join("\n")));
    }
    if out.is_empty() {
        return Err("there is no certificate in it (`-----BEGIN CERTIFICATE-----`)".into());
    }
    Ok(out)
}

/// Whether bytes are one whole SEQUENCE of DER (X.690, 8.1) with a length of two bytes or one, as certificates are.
fn is_sequence(der: &[u8]) -> bool {
    match *der {
        [0x30, 0x82, high, low, ref rest @ ..] => {
            rest.len() == usize::from(u16::from_be_bytes([high, low]))
        }
        [0x30, 0x81, length, ref rest @ ..] => rest.len() == usize::from(length),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_have_several_and_must_have_one() {
        let der = [&[0x30, 0x82, 1, 0][..], &[5; 256]].concat();
        let body = BASE64_STANDARD.encode(&der);
        let pem = |body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
        };
        let two = parse(&format!("a\n{}b\r\n{}", pem(&body), pem(&body))).unwrap();
        assert_eq!(two.len(), 2);
        assert_eq!(two[0].lines().nth(1).unwrap().len(), 64);
        let again: String = two[0].lines().filter(|l| !l.starts_with('-')).collect();
        assert_eq!(again, body);
        assert!(parse("").is_err());
        assert!(
            parse(&pem(&body).replace("-----END", "")).is_err(),
            "no end"
        );
        assert!(parse(&pem("!")).is_err());
        assert!(
            parse(&pem(&BASE64_STANDARD.encode(&der[..200]))).is_err(),
            "cut"
        );
        let key = "-----BEGIN PRIVATE KEY-----\n";
        assert!(
            parse(&format!("{key}{}", pem(&body)))
                .unwrap_err()
                .contains("private key")
        );
    }
}
