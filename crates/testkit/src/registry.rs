//! A real registry on loopback, ended when it is dropped.

use crate::process::tail;
use crate::{Error, Result, bound, has};
use elea_sys::At as _;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

/// How long the registry may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A running `docker-registry`.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    folder: PathBuf,
}

/// What clients fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fetched {
    /// Requests for manifests, blobs and tags that were answered with content.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Registry {
    /// Starts one on a port of loopback, its data and log in `folder`; what was pushed there
    /// before is there again.
    pub fn start(folder: &Path, port: u16) -> Result<Self> {
        if !has("docker-registry") {
            return Err(Error::other("there is no docker-registry on this machine"));
        }
        fs::create_dir_all(folder).at("create", folder)?;
        let config = folder.join("config.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
                 http:\n  addr: 127.0.0.1:{port}\n",
                folder.join("data").display()
            ),
        )
        .at("write", &config)?;
        let path = folder.join("log");
        let log = File::options().create(true).append(true).open(&path);
        let log = log.at("open", &path)?;
        let second = log.try_clone().at("open", &path)?;
        let child = bound("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(log)
            .stderr(second)
            .spawn()
            .map_err(|source| Error::Start {
                program: "docker-registry".into(),
                source,
            })?;
        let mut registry = Self {
            child,
            port,
            folder: folder.to_owned(),
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = registry.child.try_wait().ok().flatten().is_some();
            if ended || begun.elapsed() > LIMIT {
                return Err(Error::Late {
                    what: "the registry's answer".into(),
                    seconds: LIMIT.as_secs(),
                    tail: tail(&registry.log(), 20),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`, as programs of this machine reach it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `10.0.2.2:PORT`, as a guest on QEMU's user network reaches it.
    pub fn guest_host(&self) -> String {
        format!("10.0.2.2:{}", self.port)
    }

    /// Where its blobs are: `…/docker/registry/v2`.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data/docker/registry/v2")
    }

    /// Everything it said.
    pub fn log(&self) -> String {
        let path = self.folder.join("log");
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }

    /// What was fetched since its data folder was made, by the access log.
    pub fn fetched(&self) -> Fetched {
        parse_access_log(&self.log())
    }
}

impl Fetched {
    /// What came after an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// Counts the answers with content in an access log (the "combined" form of Apache).
fn parse_access_log(text: &str) -> Fetched {
    let mut fetched = Fetched::default();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once("\"GET /v2/") else {
            continue;
        };
        let Some((_, rest)) = rest.split_once("\" ") else {
            continue;
        };
        let mut words = rest.split(' ');
        let (status, bytes) = (words.next(), words.next());
        if matches!(status, Some("200" | "206")) {
            fetched.requests += 1;
            fetched.bytes += bytes.and_then(|b| b.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    fetched
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_with_content_are_counted() {
        let log = concat!(
            "127.0.0.1 - - [24/Nov/2026:21:00:00 +0000] \"GET /v2/ HTTP/1.1\" 200 2 \"\" \"x\"\n",
            "127.0.0.1 - - [24/Nov/2026:21:00:00 +0000] \"GET /v2/a/blobs/sha256:0 HTTP/1.1\" 200 700 \"\" \"x\"\n",
            "127.0.0.1 - - [24/Nov/2026:21:00:00 +0000] \"GET /v2/a/blobs/sha256:0 HTTP/1.1\" 404 90 \"\" \"x\"\n",
            "127.0.0.1 - - [24/Nov/2026:21:00:00 +0000] \"PUT /v2/a/blobs/sha256:0 HTTP/1.1\" 201 0 \"\" \"x\"\n",
            "time=\"2026\" level=error msg=\"GET /v2/\"\n",
        );
        let wanted = Fetched {
            requests: 2,
            bytes: 702,
        };
        assert_eq!(parse_access_log(log), wanted);
    }

    #[test]
    fn a_real_registry_answers_and_ends_with_us() {
        if !has("docker-registry") || !has("curl") {
            eprintln!("skipped: no docker-registry or curl");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = crate::free_port().unwrap();
        let registry = Registry::start(folder.path(), port).unwrap();
        let url = format!("http://{}/v2/", registry.host());
        let answer = crate::run(std::process::Command::new("curl").args(["-sS", &url])).unwrap();
        assert_eq!(answer.trim(), "{}");
        assert_eq!(registry.fetched().requests, 1, "{}", registry.log());
        drop(registry);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
