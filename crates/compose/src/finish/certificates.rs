//! The authorities of `[certificates]`, taken in by the distribution's own program: its bundle, and the links that OpenSSL
//! looks for.

use super::Job;
use super::tree::Tree;
use crate::lock::Error;
use crate::render::AUTHORITIES;
use std::fmt::Write as _;

/// What the program takes from `/usr/share/ca-certificates` (update-ca-certificates(8)).
const LIST: &str = "etc/ca-certificates.conf";

/// Takes them in, if there are any; their files are there already.
pub(super) fn settle(job: &Job<'_>, tree: &Tree) -> Result<(), Error> {
    let pem = &job.config.certificates.pem;
    if pem.is_empty() {
        return Ok(());
    }
    let mut list = tree.text(LIST)?;
    for name in pem.keys() {
        // Writing to a string does not fail.
        let _ = writeln!(list, "{AUTHORITIES}/{name}");
    }
    tree.put(LIST, list.as_bytes())?;
    job.run_inside(&["TMPDIR=/tmp", "/usr/sbin/update-ca-certificates"])?;
    Ok(())
}
