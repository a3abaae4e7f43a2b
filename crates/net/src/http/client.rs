//! The client that all requests go through: TLS, certificates, time limits.

use super::reason;
use crate::{NetError, Options};
use elea_sys::At as _;
use reqwest::Certificate;
use reqwest::blocking::{Client, ClientBuilder};
use std::path::PathBuf;

/// Where distributions keep the certificates that they trust.
const SYSTEM_CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(super) fn client(loopback: bool, plain: bool, options: &Options) -> Result<Client, NetError> {
    // The first caller sets it for the process; a second one finds it set.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = certificates(plain, options)?;
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
        None => PathBuf::from(SYSTEM_CERTIFICATES),
    };
    let bytes = match std::fs::read(&path) {
        Err(_) if plain && options.ca_file.is_none() => return Ok(Vec::new()),
        bytes => bytes.at("read", &path)?,
    };
    let fail = |reason: String| NetError::Certificates {
        path: path.clone(),
        reason,
    };
    let certificates = Certificate::from_pem_bundle(&bytes).map_err(|e| fail(reason(&e)))?;
    if certificates.is_empty() {
        return Err(fail("there is no PEM certificate in it".into()));
    }
    Ok(certificates)
}
