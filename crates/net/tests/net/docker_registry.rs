//! A real registry on loopback, ended when it is dropped.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running `docker-registry`.
pub(crate) struct DockerRegistry {
    child: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

/// What the registry asks of its clients.
#[derive(Default)]
pub(crate) struct Access<'a> {
    /// A line of an htpasswd file (bcrypt).
    pub(crate) htpasswd: Option<&'a str>,
    /// Certificate and key files.
    pub(crate) tls: Option<(&'a Path, &'a Path)>,
}

impl DockerRegistry {
    /// Starts one on a free port; none, with a message, if the program is missing.
    pub(crate) fn start(access: &Access<'_>) -> Option<Self> {
        if Command::new("docker-registry")
            .arg("--version")
            .output()
            .is_err()
        {
            eprintln!("skipped: no docker-registry");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let root = folder.path().display();
        let mut config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}/data\n\
             http:\n  addr: 127.0.0.1:{port}\n"
        );
        if let Some((certificate, key)) = access.tls {
            let _ = write!(
                config,
                "  tls:\n    certificate: {}\n    key: {}\n",
                certificate.display(),
                key.display()
            );
        }
        if let Some(line) = access.htpasswd {
            let path = folder.path().join("htpasswd");
            fs::write(&path, line).unwrap();
            let _ = write!(
                config,
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                path.display()
            );
        }
        let path = folder.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let registry = Self {
            child,
            port,
            folder,
        };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "{}", registry.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(registry)
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The bytes of blobs that were sent until now: a client may end before the registry has said so.
    pub(crate) fn sent(&self) -> u64 {
        let of = |line: &str| {
            let (_, rest) = line.split_once("GET /v2/")?;
            let (path, rest) = rest.split_once(" HTTP/1.1\" 20")?;
            let size = path.contains("/blobs/").then(|| rest.split(' ').nth(1))?;
            size?.parse::<u64>().ok()
        };
        self.log().lines().filter_map(of).sum()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
