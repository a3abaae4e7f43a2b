//! Machines that nobody comes into any more.

use super::super::reader::Reader;
use super::super::value::Place;
use super::super::{Config, Firewall, User};

/// Where an ssh server listens if nobody says otherwise.
pub(super) const PORT: u16 = 22;

/// The ssh server's settings.
pub(super) const SETTINGS: &str = "/etc/ssh";

/// The port of the ssh server and the place that says so, if the config has one and tells its port.
pub(super) fn port(config: &Config) -> Option<(u16, Place)> {
    let listens = config.installs("openssh-server") && !config.stops("ssh.service");
    let installed = config.place("packages.install[openssh-server]")?;
    match config.ssh.port.filter(|_| listens) {
        Some(port) => Some((u16::try_from(port).ok()?, config.place("ssh.port")?)),
        None if listens && !config.writes(SETTINGS) => Some((PORT, installed)),
        None => None,
    }
}

/// Looks for them.
pub(super) fn look(reader: &mut Reader, config: &Config) {
    let Some((port, at)) = port(config) else {
        return;
    };
    if let Some(firewall) = config.firewall.as_ref().filter(|f| is_closed(f, port)) {
        let what = format!("the firewall keeps the port of ssh, {port}, closed for everybody");
        let other = config
            .place("firewall")
            .map(|at| (at, "nothing here opens it"));
        let help = match firewall.tcp.texts()[..] {
            [] => format!("add `tcp = [{port}]` to `[firewall]`"),
            _ => format!("add {port} to `firewall.tcp`"),
        };
        reader.warn_of_two(Some(at), what, "listens here", other, help);
    }
    people(reader, config, at);
}

/// Whether a firewall lets nobody to a port. What its own rules do is not known.
fn is_closed(firewall: &Firewall, port: u16) -> bool {
    let opens = |ranges: &super::super::Ports| {
        let mut ranges = ranges.0.iter();
        ranges.any(|(first, last)| (*first..=*last).contains(&port))
    };
    let is_open = firewall.policy == "accept"
        || firewall.rules.is_some()
        || !firewall.trusted.is_empty()
        || opens(&firewall.tcp)
        || firewall
            .from
            .iter()
            .any(|from| opens(&from.tcp) || (from.tcp.0.is_empty() && from.udp.0.is_empty()));
    !is_open
}

fn people(reader: &mut Reader, config: &Config, server: Place) {
    // Other settings may have other keys and other people.
    if config.writes(SETTINGS) {
        return;
    }
    let ssh = &config.ssh;
    for name in &ssh.allow_users {
        if name != "root" && !config.users.contains_key(name) {
            let known: Vec<&str> = config.users.keys().map(String::as_str).collect();
            let help = match super::super::nearest(name, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `[users.{name}]`, or take it out"),
            };
            let at = config.place(&format!("ssh.allow_users[{name}]"));
            let what = format!("`ssh.allow_users` lets in `{name}`, who is no user of the config");
            reader.warn(at, what, "not in `users`", help);
        }
    }
    let may = |(name, user): (&String, &User)| {
        let by_password = ssh.passwords != Some(false)
            && user.password.as_ref().is_some_and(|p| p.starts_with('$'))
            && (name != "root" || ssh.root == Some("yes"));
        let is_root_out = name == "root" && ssh.root == Some("no");
        let is_named = ssh.allow_users.is_empty() || ssh.allow_users.contains(name);
        let in_group = ssh.allow_groups.is_empty()
            || ssh.allow_groups.contains(name)
            || user.groups.iter().any(|g| ssh.allow_groups.contains(g));
        (by_password || !user.ssh_keys.is_empty()) && !is_root_out && is_named && in_group
    };
    if !config.users.iter().any(may) {
        let what = "the ssh server lets nobody in";
        let help = "give a user `ssh_keys`";
        let label = "no user of the config has a key or a password that it takes";
        reader.warn(Some(server), what, label, help);
    }
}
