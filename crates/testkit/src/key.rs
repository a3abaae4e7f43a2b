//! Key pairs: one to sign images with, one to log in with.

use crate::{Result, run};
use elea_sys::At as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The private key.
    pub private: PathBuf,
    /// The public key.
    pub public: PathBuf,
}

/// A key pair to sign images with (ECDSA P-256 in PEM), made by `openssl`; kept if it is there.
pub fn signing(folder: &Path, name: &str) -> Result<KeyPair> {
    let pair = KeyPair {
        private: folder.join(format!("{name}.key")),
        public: folder.join(format!("{name}.pub")),
    };
    if pair.public.exists() {
        return Ok(pair);
    }
    fs::create_dir_all(folder).at("create", folder)?;
    let options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let mut make = Command::new("openssl");
    make.arg("genpkey").args(options).arg("-out");
    run(make.arg(&pair.private))?;
    let mut show = Command::new("openssl");
    show.args(["pkey", "-pubout", "-in"]).arg(&pair.private);
    run(show.arg("-out").arg(&pair.public))?;
    Ok(pair)
}

/// A key pair to log in with (Ed25519), made by `ssh-keygen`; kept if it is there.
pub fn login(folder: &Path) -> Result<KeyPair> {
    let private = folder.join("login");
    let pair = KeyPair {
        public: private.with_extension("pub"),
        private,
    };
    if pair.public.exists() {
        return Ok(pair);
    }
    fs::create_dir_all(folder).at("create", folder)?;
    let mut make = Command::new("ssh-keygen");
    make.args(["-q", "-t", "ed25519", "-N", "", "-C", "elea", "-f"]);
    run(make.arg(&pair.private))?;
    Ok(pair)
}
