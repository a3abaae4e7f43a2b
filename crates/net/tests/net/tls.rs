//! Certificates for tests, made by openssl.

use crate::fixture::run;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An authority of our own, and a server that it vouches for.
pub(crate) struct Authority {
    /// The certificate of the authority itself.
    pub(crate) root: PathBuf,
    /// Another authority's.
    pub(crate) other: PathBuf,
    /// The server's.
    pub(crate) certificate: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// For a server of this name (`IP:127.0.0.1`, `DNS:a.example`); none, with a message, without openssl.
    pub(crate) fn new(folder: &Path, name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("skipped: no openssl");
            return None;
        }
        fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name);
        let openssl = |arguments: &str, files: &[(&str, &str)]| {
            let mut command = Command::new("openssl");
            command.args(arguments.split(' '));
            for (option, file) in files {
                command.arg(option).arg(at(file));
            }
            run(&mut command);
        };
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for name in ["ca", "other"] {
            let (key, out) = (format!("{name}.key"), format!("{name}.pem"));
            let arguments = format!("req -x509 {ec} -days 2 -subj /CN={name}");
            openssl(&arguments, &[("-keyout", &key), ("-out", &out)]);
        }
        openssl(
            &format!("req {ec} -subj /CN=server"),
            &[("-keyout", "server.key"), ("-out", "server.csr")],
        );
        fs::write(at("extensions"), format!("subjectAltName={name}\n")).unwrap();
        openssl(
            "x509 -req -days 2 -CAcreateserial",
            &[
                ("-in", "server.csr"),
                ("-CA", "ca.pem"),
                ("-CAkey", "ca.key"),
                ("-extfile", "extensions"),
                ("-out", "server.pem"),
            ],
        );
        Some(Self {
            root: at("ca.pem"),
            other: at("other.pem"),
            certificate: at("server.pem"),
            key: at("server.key"),
        })
    }
}
