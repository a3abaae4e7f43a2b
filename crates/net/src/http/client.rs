//! The client that all requests go through: TLS, certificates, time limits.

use super::reason;
use crate::{NetError, Options};
use elea_sys::At as _;
use reqwest::Certificate;
use reqwest::blocking::{Client, ClientBuilder};
use std::path::{Path, PathBuf};

/// Where distributions keep the certificates that they trust: Debian, Fedora, SUSE, Alpine.
const SYSTEM_CERTIFICATES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Folders with a folder for each registry whose certificates are its owner's own
/// (containers-certs.d(5)).
const OWN_CERTIFICATES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];

/// The most certificate files of one registry.
const MAX_FILES: usize = 64;

pub(super) fn client(
    host: &str,
    loopback: bool,
    plain: bool,
    options: &Options,
) -> Result<Client, NetError> {
    // The first caller sets it for the process; a second one finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut certificates = certificates(plain, options)?;
    if options.ca_file.is_none() && !plain {
        certificates.extend(own(host)?);
    }
    let mut builder: ClientBuilder = Client::builder()
        .user_agent(concat!("elea/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.connect_timeout)
        .timeout(options.idle_timeout)
        .tls_certs_only(certificates);
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|e| NetError::Connection {
        action: "prepare",
        url: "the HTTP client".into(),
        reason: reason(&e),
    })
}

/// The certificates to trust: those of the given file, of `$SSL_CERT_FILE`, or the system's. A system
/// without any is an error only where TLS is used.
fn certificates(plain: bool, options: &Options) -> Result<Vec<Certificate>, NetError> {
    let given = options
        .ca_file
        .clone()
        .or_else(|| std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
    let path = match given {
        Some(path) => path,
        None if plain => return Ok(Vec::new()),
        None => {
            let [usual, ..] = SYSTEM_CERTIFICATES;
            let there = SYSTEM_CERTIFICATES.iter().find(|p| Path::new(p).exists());
            PathBuf::from(there.unwrap_or(&usual))
        }
    };
    if plain && options.ca_file.is_none() && !path.exists() {
        return Ok(Vec::new());
    }
    load(&path)
}

/// The certificates that are trusted for one registry beside the system's: `HOST[:PORT]/*.crt`.
fn own(host: &str) -> Result<Vec<Certificate>, NetError> {
    let mut certificates = Vec::new();
    for folder in OWN_CERTIFICATES {
        let folder = Path::new(folder).join(host);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.take(MAX_FILES) {
            let path = entry.at("read", &folder)?.path();
            if path.extension().is_some_and(|e| e == "crt") {
                certificates.extend(load(&path)?);
            }
        }
    }
    Ok(certificates)
}

/// The certificates in a PEM file.
fn load(path: &Path) -> Result<Vec<Certificate>, NetError> {
    let fail = |reason: String| NetError::Certificates {
        path: path.to_owned(),
        reason,
    };
    let bytes = std::fs::read(path).at("read", path)?;
    let certificates = Certificate::from_pem_bundle(&bytes).map_err(|e| fail(reason(&e)))?;
    if certificates.is_empty() {
        return Err(fail("there is no PEM certificate in it".into()));
    }
    Ok(certificates)
}
