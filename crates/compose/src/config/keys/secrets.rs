//! The keys of secrets and templates.

use super::{Path, Paths, Section, Text, Texts, key};

pub(super) const SECRETS: Section = Section {
    name: "secrets",
    each: Some("NAME"),
    doc: "What services get to know and readers of the image do not: credentials of systemd, encrypted for a machine by `systemd-creds encrypt --name=NAME FILE NAME.cred`. They are in `/etc/credstore.encrypted`, and a unit finds its own in `$CREDENTIALS_DIRECTORY/NAME`. \
        A secret never stands in a config: private keys, tokens of known shapes, passwords and URLs with one are refused in `files`, `templates`, `tmpfiles`, units with their variables and commands, timers, kernel arguments and `base.mirror`; what only has the name of a secret, or is the hash of a password, is a warning.",
    keys: &[
        key("from", Path, "", "the encrypted file"),
        key(
            "units",
            Texts,
            "[]",
            "services, sockets, mounts and swaps that get it",
        ),
    ],
};

pub(super) const CERTIFICATES: Section = Section {
    name: "certificates",
    each: None,
    doc: "Authorities that the system trusts besides those of the distribution: in its bundle, and where OpenSSL looks for them.",
    keys: &[key(
        "trust",
        Paths,
        "[]",
        "files with certificates (PEM), one or several in each",
    )],
};

pub(super) const TEMPLATES: Section = Section {
    name: "templates",
    each: Some("\"/path\""),
    doc: "Files of the image in which `${vars.NAME}` is replaced, as in texts of the config.",
    keys: &[
        key("source", Path, "", "the template"),
        key("mode", Text, "\"0644\"", "octal"),
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
};
