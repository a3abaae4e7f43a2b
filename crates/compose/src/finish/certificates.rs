//! The authorities of `[certificates]`, taken in by the distribution's own program: its bundle, and the links that OpenSSL
//! looks for.

use super::boot::fingerprint;
use super::tree::Tree;
use super::{Job, inside};
use crate::lock::Error;
use crate::render::AUTHORITIES;
use crate::steps::Kind;
use elea_formats::tree::DirId;
use std::fmt::Write as _;

/// What the program takes from `/usr/share/ca-certificates` (update-ca-certificates(8)).
const LIST: &str = "etc/ca-certificates.conf";

/// What the program makes anew.
const MADE: &str = "etc/ssl/certs";

const STEP: Kind = Kind {
    word: "certificates",
    version: 2,
    most: 4,
};

/// Takes them in, if there are any; their files are there already.
pub(super) fn settle(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
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
    let read = [
        MADE,
        "usr/share/ca-certificates",
        "usr/local/share/ca-certificates",
    ];
    let inputs = serde_json::json!({
        "packages": job.packages,
        "list": list,
        "folders": read.map(|folder| fingerprint(tree.nodes(), folder).to_string()),
    });
    let made = job.steps.take(STEP, &inputs, || {
        let program = ["TMPDIR=/tmp", "/usr/sbin/update-ca-certificates"];
        inside::run(job, tree.nodes(), &program, MADE)
    })?;
    tree.graft(MADE, &made.tree, DirId::ROOT)?;
    job.parts.borrow_mut().push(made.part());
    Ok(())
}
