//! `[ssh]`: how the ssh server lets people in.

use super::super::reader::{Fields, Reader};
use super::super::{Packages, check};
use super::values;
use serde::Serialize;

/// `[ssh]`. What is not said is left to the server's own settings, and Elea's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ssh {
    /// Where it listens.
    pub port: Option<u64>,
    /// Whether a password lets in.
    pub passwords: Option<bool>,
    /// Whether root may come in: `no`, `keys`, `yes`.
    pub root: Option<&'static str>,
    /// Users that may come in; none lets all.
    pub allow_users: Vec<String>,
    /// Groups whose members may come in; none lets all.
    pub allow_groups: Vec<String>,
}

/// What `root` knows.
pub(crate) const ROOT: &[&str] = &["no", "keys", "yes"];

/// Reads `[ssh]`.
pub(super) fn read(reader: &mut Reader, top: &mut Fields, packages: &Packages) -> Ssh {
    let mut fields = reader.table(top, "ssh");
    let f = &mut fields;
    let port = reader.number(f, "port", 1..=65_535);
    let passwords = reader.boolean(f, "passwords");
    let root = reader.word(f, "root", ROOT);
    let users = reader.checked_list(f, "allow_users", check::account, "an account's name");
    let groups = reader.checked_list(f, "allow_groups", check::account, "a group's name");
    reader.finish(&fields);
    let ssh = Ssh {
        port: port.map(|n| n.value),
        passwords,
        root,
        allow_users: values(users),
        allow_groups: values(groups),
    };
    if ssh != Ssh::default() && !packages.install.iter().any(|name| name == "openssh-server") {
        let help = "add \"openssh-server\" to packages.install".to_owned();
        let what = "`ssh` needs the package `openssh-server`";
        reader.problem(fields.at, what, "asked for here", Some(help));
    }
    ssh
}
