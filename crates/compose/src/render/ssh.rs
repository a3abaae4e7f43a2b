//! `[ssh]`: a file of `sshd_config(5)`.

use super::Rendered;
use crate::config::Config;
use std::fmt::Write as _;

pub(super) fn render(config: &Config, out: &mut Rendered) {
    let ssh = &config.ssh;
    let mut lines = String::new();
    let mut add = |name: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{name} {value}");
    };
    if let Some(port) = ssh.port {
        add("Port", &port.to_string());
    }
    if let Some(passwords) = ssh.passwords {
        let word = if passwords { "yes" } else { "no" };
        add("PasswordAuthentication", word);
        add("KbdInteractiveAuthentication", word);
    }
    if let Some(root) = ssh.root {
        let word = if root == "keys" {
            "prohibit-password"
        } else {
            root
        };
        add("PermitRootLogin", word);
    }
    for (name, list) in [
        ("AllowUsers", &ssh.allow_users),
        ("AllowGroups", &ssh.allow_groups),
    ] {
        if !list.is_empty() {
            add(name, &list.join(" "));
        }
    }
    if !lines.is_empty() {
        // Of what is said twice the server takes the first: before Elea's own 50.
        let text = format!("# From [ssh] of the config.\n{lines}");
        out.text("ssh", "/etc/ssh/sshd_config.d/40-config.conf", text);
    }
}
