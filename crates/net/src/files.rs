//! Files of a plain web server, or of this machine, each checked by its digest.

use crate::http::{Failed, Http, Request};
use crate::{NetError, Options};
use elea_formats::digest::Sha256;
use elea_sys::At as _;
use elea_sys::progress::Progress;
use reqwest::{Method, Url};
use sha2::Digest as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// A place that has files: an address that their paths are relative to.
pub struct Files {
    base: Url,
    /// None where they are of this machine.
    http: Option<Http>,
}

/// A file that is there, or not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It came, and is what was asked for.
    Whole,
    /// There is none, or another one.
    Gone,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Files({})", self.base)
    }
}

impl Files {
    /// Prepares to ask a place for files: `http:`, `https:`, or `file:` (`copy:` in apt's words). Nothing is sent yet.
    pub fn new(base: &str, options: &Options) -> Result<Self, NetError> {
        let wrong = |reason: String| NetError::Connection {
            action: "reach",
            url: base.to_owned(),
            reason,
        };
        let text = match base.strip_prefix("copy:") {
            Some(path) => format!("file:{path}"),
            None => base.to_owned(),
        };
        // A path is joined to a folder.
        let base = Url::parse(&format!("{}/", text.trim_end_matches('/')))
            .map_err(|e| wrong(e.to_string()))?;
        let http = match base.scheme() {
            "file" => None,
            scheme @ ("http" | "https") => {
                let name = base.host_str().unwrap_or_default();
                let host = match base.port() {
                    Some(port) => format!("{name}:{port}"),
                    None => name.to_owned(),
                };
                let address = name.trim_matches(['[', ']']).parse::<IpAddr>();
                let is_loopback = name == "localhost" || address.is_ok_and(|a| a.is_loopback());
                let options = Options {
                    plain_http: scheme == "http",
                    ..options.clone()
                };
                Some(Http::new(&host, is_loopback, &host, &options)?)
            }
            other => return Err(wrong(format!("files cannot be had by {other}"))),
        };
        Ok(Self { base, http })
    }

    /// Fetches a file of `size` bytes (a path, escaped as in a URL) to a new file.
    pub fn fetch(
        &self,
        path: &str,
        size: u64,
        digest: Sha256,
        to: &Path,
        progress: &dyn Progress,
    ) -> Result<Found, NetError> {
        let url = self.base.join(path).map_err(|e| NetError::Connection {
            action: "reach",
            url: path.to_owned(),
            reason: e.to_string(),
        })?;
        let Some(http) = &self.http else {
            let from = url.to_file_path().unwrap_or_default();
            return match fs::copy(&from, to) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Found::Gone),
                copied => {
                    copied.at("copy", &from)?;
                    let bytes = fs::read(to).at("read", to)?;
                    Ok(found(Sha256::of(&bytes) == digest))
                }
            };
        };
        let fetched = http.retry(progress, || {
            let response = http.send(&Request::new(Method::GET, url.clone()), &[], progress)?;
            let mut stream = http.stream(response, path)?;
            let mut file = File::create(to).at("create", to)?;
            let (mut hasher, mut got) = (sha2::Sha256::new(), 0_u64);
            while let Some(piece) = stream.next(progress)? {
                got += piece.len() as u64;
                if got > size {
                    return Ok(Found::Gone);
                }
                hasher.update(&piece);
                file.write_all(&piece).at("write", to)?;
            }
            Ok::<_, Failed>(found(Sha256::new(hasher.finalize().into()) == digest))
        });
        match fetched {
            Err(
                NetError::Status {
                    status: 404 | 410, ..
                }
                | NetError::NotRegistry {
                    status: 404 | 410, ..
                },
            ) => Ok(Found::Gone),
            fetched => fetched,
        }
    }
}

fn found(is_whole: bool) -> Found {
    if is_whole { Found::Whole } else { Found::Gone }
}
