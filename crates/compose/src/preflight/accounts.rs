//! Owners of files, and others that are named, as far as it is known before packages bring their accounts.
//!
//! A lock that fits has the names of all accounts that its build found: what is not among them is an error. Without one
//! a name may be a package's, and only one that is nearly a known one is warned of.

use crate::config::{Config, Found, nearest, quoted};
use crate::lock::Lock;
use std::collections::BTreeSet;

/// Users of Debian's `base-passwd` and of what every system has.
const USERS: [&str; 23] = [
    "_apt",
    "backup",
    "bin",
    "daemon",
    "games",
    "irc",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "news",
    "nobody",
    "proxy",
    "root",
    "sshd",
    "sync",
    "sys",
    "systemd-network",
    "systemd-resolve",
    "systemd-timesync",
    "uucp",
    "www-data",
];
/// Groups of the same.
const GROUPS: [&str; 43] = [
    "adm",
    "audio",
    "backup",
    "bin",
    "cdrom",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "fax",
    "floppy",
    "games",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "netdev",
    "news",
    "nogroup",
    "operator",
    "plugdev",
    "proxy",
    "render",
    "root",
    "sasl",
    "shadow",
    "src",
    "staff",
    "sudo",
    "sys",
    "systemd-journal",
    "systemd-network",
    "tape",
    "tty",
    "users",
    "utmp",
    "www-data",
];

/// A name, and the value that has it.
type Named = (String, String);

/// Looks at every name.
pub(super) fn look(config: &Config, lock: Option<&Lock>, found: &mut Vec<Found>) {
    let (users, groups) = named(config);
    let of_config: Vec<&str> = config.users.keys().map(String::as_str).collect();
    // A user has a group of its own name.
    let mut groups_of_config: Vec<&str> = config.groups.keys().map(String::as_str).collect();
    groups_of_config.extend(&of_config);
    // A lock that no build has completed has no names yet.
    let locked = lock.filter(|lock| !lock.users.is_empty());
    for (kind, names, of_config, usual, locked) in [
        (
            "user",
            users,
            of_config,
            &USERS[..],
            locked.map(|lock| &lock.users),
        ),
        (
            "group",
            groups,
            groups_of_config,
            &GROUPS[..],
            locked.map(|lock| &lock.groups),
        ),
    ] {
        let mut known: BTreeSet<&str> = of_config.into_iter().collect();
        match locked {
            Some(locked) => known.extend(locked.keys().map(String::as_str)),
            None => known.extend(usual),
        }
        let known: Vec<&str> = known.into_iter().collect();
        for (key, name) in names {
            if known.contains(&name.as_str()) || name.parse::<u32>().is_ok() {
                continue;
            }
            let near = nearest(&name, &known).map(|near| format!("did you mean `{near}`?"));
            if near.is_none() && locked.is_none() {
                continue;
            }
            found.push(Found {
                is_error: locked.is_some(),
                keys: vec![key],
                what: match locked {
                    Some(_) => format!("the image has no {kind} `{name}`"),
                    None => format!(
                        "`{name}` is no {kind} of the config, and none that every system has"
                    ),
                },
                label: format!("this {kind}"),
                help: near.or_else(|| {
                    Some(format!(
                        "add `[{kind}s.{name}]`, or the package that brings it"
                    ))
                }),
                ..Found::default()
            });
        }
    }
}

/// The users and the groups that a config names.
fn named(config: &Config) -> (Vec<Named>, Vec<Named>) {
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    let files = config
        .files
        .iter()
        .map(|(path, file)| ("files", path, file));
    let templates = config.templates.iter();
    let templates = templates.map(|(path, template)| ("templates", path, &template.file));
    for (section, path, file) in files.chain(templates) {
        let key = format!("{section}.{}", quoted(path));
        users.push((format!("{key}.owner"), file.owner.clone()));
        groups.push((format!("{key}.group"), file.group.clone()));
    }
    for (name, timer) in &config.timers {
        users.push((format!("timers.{}.user", quoted(name)), timer.user.clone()));
    }
    for (name, user) in &config.users {
        let key = |group: &String| format!("users.{}.groups[{group}]", quoted(name));
        groups.extend(user.groups.iter().map(|group| (key(group), group.clone())));
    }
    (users, groups)
}
