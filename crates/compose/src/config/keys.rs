//! Every key that a config knows, described: for `elea config options`, the JSON Schema and the reference.
//!
//! What stands here is held against what is read: a test gives each key a value of a wrong kind, and another one compares
//! the names and the defaults.

mod apps;
mod home;
mod machine;
mod man;
mod network;
mod schema;
mod secrets;
mod state;
mod storage;
mod units;

pub use man::man;
pub use schema::{module_schema, schema};

use serde::Serialize;
use std::fmt::Write as _;

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A text.
    Text,
    /// A path of the build machine, relative to the folder of the file that has it.
    Path,
    /// A number from the first to the last.
    Number(u64, u64),
    /// True or false.
    Boolean,
    /// A list of texts.
    Texts,
    /// A list of paths of the build machine.
    Paths,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of tables with these keys.
    Tables(&'static [Key]),
    /// A list of ports: numbers, and texts for ranges.
    Ports,
    /// Any number of settings of another program under names of its own; the key's name stands for theirs.
    Setting,
    /// Any number of tables of such settings, in which a list is the setting more than once.
    Settings,
    /// A table of texts, by names that are free.
    Table,
    /// A table of tables.
    Named(&'static Section),
}

/// A key of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds without it: a value, or words for one that is worked out; nothing where it must be given.
    pub default: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// A table of a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What its entries are called by, if it has a table for each: `NAME`, `"/path"`.
    pub each: Option<&'static str>,
    /// What the table is for.
    pub doc: &'static str,
    /// What it, or each of its entries, knows.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        kind,
        default,
        doc,
    }
}

use Kind::{Boolean, Number, Path, Paths, Ports, Setting, Settings, Tables, Text, Texts, Word};

/// All tables that describe a system.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "system",
        each: None,
        doc: "What the system is.",
        keys: &[
            key(
                "name",
                Text,
                "",
                "what the system is called; a machine refuses an upgrade to an image of another name. Lower-case letters, digits, `._-`, at most 63",
            ),
            key(
                "version",
                Text,
                "",
                "ordered by UAPI.10; a machine refuses a lower one. Letters, digits, `.-~^+`, at most 64",
            ),
            key(
                "epoch",
                Number(0, u32::MAX as u64),
                "0",
                "the security epoch; a machine refuses a lower one, whatever the version",
            ),
            key("hostname", Text, "the name", "the host name"),
            key(
                "title",
                Text,
                "name and version",
                "what the boot menu shows",
            ),
            key("locale", Text, "\"C.UTF-8\"", "`LANG` of the system"),
            key(
                "timezone",
                Text,
                "\"Etc/UTC\"",
                "a name below `/usr/share/zoneinfo`",
            ),
        ],
    },
    Section {
        name: "base",
        each: None,
        doc: "The distribution that it is made from.",
        keys: &[
            key("suite", Text, "\"trixie\"", "Debian's suite"),
            key(
                "mirror",
                Text,
                "the build machine's own",
                "the URL of the archive; without it, the build machine's own apt sources are asked for the suite, its updates and its security updates",
            ),
            key(
                "components",
                Texts,
                "[\"main\"]",
                "the archive's components",
            ),
            key(
                "tools",
                Text,
                "the machine's own apt",
                "for the packages of homes, on a machine without apt: an image in a registry, by its digest, that has apt, dpkg and Debian's keys, such as Debian's own (`registry:HOST/NAME@sha256:DIGEST`). Versions are found by its apt; without `mirror`, its sources are asked",
            ),
            key("architecture", Text, "\"amd64\"", "the only one so far"),
        ],
    },
    Section {
        name: "packages",
        each: None,
        doc: "What is installed.",
        keys: &[
            key(
                "install",
                Texts,
                "[]",
                "names of packages, besides what every system has: Debian's essential and required packages, systemd, udev, D-Bus, e2fsprogs, kmod and ca-certificates",
            ),
            key(
                "remove",
                Texts,
                "none",
                "names that another file installs and that are not wanted",
            ),
            key(
                "recommends",
                Boolean,
                "false",
                "whether what packages recommend comes with them",
            ),
        ],
    },
    Section {
        name: "files",
        each: Some("\"/path\""),
        doc: "One path of the image each, with exactly one of `content`, `source`, `symlink` and `directory`. What stands below `/var` becomes part of the factory copy: it is made on a machine where it is absent. Nothing can stand in `/boot`, `/dev`, `/efi`, `/elea`, `/home`, `/proc`, `/root`, `/run`, `/sys`, `/sysroot` and `/tmp`: these are empty in an image.",
        keys: &[
            key("content", Text, "none", "the file's content"),
            key("source", Path, "none", "a file whose content is copied"),
            key("symlink", Text, "none", "the target of a symbolic link"),
            key("directory", Boolean, "none", "a folder"),
            key("mode", Text, "\"0644\", of folders \"0755\"", "octal"),
            key(
                "owner",
                Text,
                "\"root\"",
                "a name that the image has, or a number",
            ),
            key(
                "group",
                Text,
                "\"root\"",
                "a name that the image has, or a number",
            ),
        ],
    },
    Section {
        name: "users",
        each: Some("NAME"),
        doc: "Accounts. A user that packages brought, root for one, is changed instead of made.",
        keys: &[
            key(
                "uid",
                Number(0, 60_000),
                "the next free one",
                "kept by the lock for ever",
            ),
            key(
                "system",
                Boolean,
                "false",
                "no person: the number is taken from those of the system (100–999)",
            ),
            key("groups", Texts, "[]", "groups besides its own"),
            key(
                "ssh_keys",
                Texts,
                "[]",
                "lines of `authorized_keys`; they are in the image, in `/etc/ssh/authorized_keys.d`",
            ),
            key(
                "password",
                Text,
                "locked",
                "a hash as `mkpasswd` or `openssl passwd -6` prints it",
            ),
            key("shell", Text, "/bin/bash", "an absolute path"),
            key(
                "home",
                Text,
                "/home/NAME",
                "an absolute path; made by the machine at its first boot",
            ),
            key("comment", Text, "none", "the person's name"),
            key(
                "sudo",
                Boolean,
                "false",
                "whether it may become root without a password; needs the package `sudo`",
            ),
        ],
    },
    Section {
        name: "groups",
        each: Some("NAME"),
        doc: "Groups.",
        keys: &[key(
            "gid",
            Number(0, 60_000),
            "the next free one",
            "kept by the lock for ever",
        )],
    },
    Section {
        name: "services",
        each: None,
        doc: "Units, with their types. What packages start by themselves needs no entry. Elea turns off apt's timers, the backup of the package database and e2scrub, which have nothing to do on an image, unless `enable` names them. `/usr/lib/systemd/system-preset/00-elea.preset` says the same, so `systemctl preset-all` changes nothing on a machine.",
        keys: &[
            key("enable", Texts, "[]", "units that start: `ssh.service`"),
            key("disable", Texts, "[]", "units that do not"),
            key("mask", Texts, "[]", "units that cannot be started"),
        ],
    },
    Section {
        name: "kernel",
        each: None,
        doc: "The kernel and its initrd.",
        keys: &[
            key(
                "package",
                Text,
                "\"linux-image-amd64\"",
                "the package that brings the kernel",
            ),
            key(
                "arguments",
                Texts,
                "[]",
                "one argument each; `root`, `ro`, `rw`, `init`, `composefs.digest` and `elea.*` are Elea's",
            ),
            key(
                "drivers",
                Texts,
                "[]",
                "modules in the initrd besides the usual ones",
            ),
            key(
                "usual_drivers",
                Boolean,
                "true",
                "virtio, NVMe, AHCI, SCSI, USB, MMC, watchdogs, as far as the kernel has them",
            ),
            key("modules", Texts, "[]", "modules that are loaded at boot"),
            key(
                "blacklist",
                Texts,
                "[]",
                "modules that are not loaded for a device (modprobe.d(5))",
            ),
        ],
    },
    machine::OPTIONS,
    machine::SYSCTL,
    machine::TMPFILES,
    network::LINKS,
    network::FIREWALL,
    storage::MOUNTS,
    storage::SWAP,
    state::STATE,
    state::DIRECTORIES,
    state::FILES,
    storage::SSH,
    secrets::CERTIFICATES,
    secrets::SECRETS,
    secrets::TEMPLATES,
    units::UNITS,
    units::TIMERS,
    Section {
        name: "health",
        each: None,
        doc: "How a boot is judged.",
        keys: &[
            key(
                "units",
                Texts,
                "[]",
                "units that must be active after a boot",
            ),
            key(
                "timeout",
                Number(1, 86_400),
                "300",
                "seconds from the start of user space to the verdict",
            ),
            key(
                "condemn",
                Boolean,
                "false",
                "whether one failed check ends the try for good, instead of using up the three",
            ),
        ],
    },
    Section {
        name: "update",
        each: None,
        doc: "Where machines get upgrades from.",
        keys: &[
            key(
                "reference",
                Text,
                "",
                "`registry:HOST/NAME:TAG`, what machines follow unless they are told otherwise",
            ),
            key(
                "channel",
                Text,
                "none",
                "the tag that they follow, in the place of the one in `reference`: `stable`",
            ),
            key(
                "plain_http",
                Boolean,
                "false",
                "whether plain HTTP may be used",
            ),
            key(
                "automatic",
                Boolean,
                "false",
                "whether machines upgrade by themselves, by `elea-upgrade.timer`",
            ),
            key(
                "window",
                Text,
                "\"daily\"",
                "when they do, up to half an hour later: `Sun 03:00`, as for timers",
            ),
            key(
                "reboot",
                Boolean,
                "false",
                "whether they reboot then, if that is needed; otherwise the release is booted next time",
            ),
        ],
    },
    Section {
        name: "trust",
        each: None,
        doc: "Who may sign what a machine takes.",
        keys: &[
            key(
                "keys",
                Paths,
                "[]",
                "public keys (PEM) that the image trusts for its upgrades",
            ),
            key(
                "policy",
                Path,
                "none",
                "the `trust.toml` of the image: which keys for which place, and how many (`docs/formats/trust.md`)",
            ),
        ],
    },
    Section {
        name: "loader",
        each: None,
        doc: "The boot loader, which comes from a suite of its own.",
        keys: &[
            key(
                "suite",
                Text,
                "\"sid\"",
                "where systemd-boot is taken from: 258 or newer is needed, since older ones hang on a damaged kernel",
            ),
            key(
                "package",
                Text,
                "\"systemd-boot-efi\"",
                "the package that holds its EFI program",
            ),
            key("version", Text, "the newest", "a version of it"),
        ],
    },
    home::HOME,
    apps::APPS,
    apps::BOXES,
];

/// The keys at the top of a file that say how its parts are laid together (`docs/config.md`).
pub const LANGUAGE: &[(&str, &str)] = &[
    ("schema", "the version of the language: 1"),
    ("imports", "files, folders and profiles that are taken in"),
    ("default", "what holds where nobody says anything else"),
    ("force", "what holds, whatever else is said"),
    ("remove", "what others say and is not wanted"),
    ("vars", "values that `${vars.NAME}` stands for"),
    ("use", "modules, each with its parameters"),
    ("when", "what counts on some machines alone"),
    ("specialisation", "the same system in other ways"),
];

impl Kind {
    /// The word for it.
    pub fn word(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Path => "path".into(),
            Self::Number(low, high) => format!("number, {low} to {high}"),
            Self::Boolean => "true/false".into(),
            Self::Texts => "list of texts".into(),
            Self::Paths => "list of paths".into(),
            Self::Word(words) => words.join(", "),
            Self::Ports => "list of ports".into(),
            Self::Tables(_) => "list of tables".into(),
            Self::Setting => "text, number or true/false".into(),
            Self::Settings => "table of settings".into(),
            Self::Table => "table of texts".into(),
            Self::Named(_) => "table, see below".into(),
        }
    }
}

impl Section {
    /// The table of a config that it is in, or is: `network` of `network.links`.
    pub fn top(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }

    /// The dotted name of one of its keys: `users.NAME.uid`.
    pub fn path(&self, key: &Key) -> String {
        match self.each {
            Some(each) => format!("{}.{each}.{}", self.name, key.name),
            None => format!("{}.{}", self.name, key.name),
        }
    }

    /// The tables in it, or in each of its entries.
    pub fn inner(&self) -> impl Iterator<Item = &'static Self> + use<> {
        self.keys.iter().filter_map(|key| match key.kind {
            Kind::Named(section) => Some(section),
            _ => None,
        })
    }

    fn heading(&self) -> String {
        match self.each {
            Some(each) => format!("[{}.{each}]", self.name),
            None => format!("[{}]", self.name),
        }
    }
}

/// All tables, and those in them.
pub fn all() -> impl Iterator<Item = &'static Section> {
    let with_inner = |section: &'static Section| std::iter::once(section).chain(section.inner());
    SECTIONS.iter().flat_map(with_inner)
}

/// The name that a mistyped one is most likely meant to be: of a table or a key.
pub fn near(name: &str) -> Option<String> {
    let mut known: Vec<String> = SECTIONS.iter().map(|s| s.name.to_owned()).collect();
    let paths = all().flat_map(|section| {
        let keys = section.keys.iter();
        keys.map(move |key| section.path(key))
    });
    known.extend(paths);
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    super::nearest(name, &known).map(str::to_owned)
}

/// The reference of all keys, as Markdown: the part of `docs/config.md` under "Keys".
pub fn reference() -> String {
    let mut text = String::new();
    for section in all() {
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "### `{}`\n\n{}\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
            section.heading(),
            section.doc
        );
        for key in section.keys {
            row(&mut text, "", key);
            if let Kind::Tables(keys) = key.kind {
                let of = format!("{}[].", key.name);
                for key in keys {
                    row(&mut text, &of, key);
                }
            }
        }
        text.push('\n');
    }
    text
}

fn row(text: &mut String, of: &str, key: &Key) {
    let default = match key.default {
        "" => "must be given".to_owned(),
        value if is_value(value) => format!("`{value}`"),
        words => words.to_owned(),
    };
    let (name, kind) = (key.name, key.kind.word());
    let _ = writeln!(text, "| `{of}{name}` | {kind} | {default} | {} |", key.doc);
}

/// Whether a default is a value, and not words for one.
fn is_value(default: &str) -> bool {
    default.starts_with(['"', '[', '/'])
        || default.chars().all(|c| c.is_ascii_digit())
        || ["true", "false"].contains(&default)
}
