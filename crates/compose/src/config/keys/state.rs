//! The keys of what a machine keeps.

use super::super::sections::state::{HOW, MODES, ROLLBACK};
use super::{Key, Number, Section, Text, Word, key};

pub(super) const STATE: Section = Section {
    name: "state",
    each: None,
    doc: "What of the machine's own lasts. With `mode = \"ephemeral\"` each boot has a fresh `/etc` and `/var`, as the image makes them; what is declared here stays, and `/var/lib/systemd`, `/var/log/journal`, the machine-id and ssh host keys stay too. `/home`, `/root`, `/srv`, `/opt` and `/usr/local` are the machine's in either mode. Accounts and passwords that are made on the machine do not last in an ephemeral one.",
    keys: &[
        key(
            "mode",
            Word(MODES),
            "\"persistent\"",
            "whether `/etc` and `/var` are as they were left, or fresh at each boot",
        ),
        key(
            "rollback",
            Word(ROLLBACK),
            "\"offer\"",
            "what a rollback does where a `version` goes back: names the snapshot that was made before the upgrade, or restores it before services start",
        ),
    ],
};

const fn kept(path: &'static str, mode: &'static str) -> [Key; 6] {
    [
        key("mode", Text, mode, "octal, for when it is made"),
        key(
            "owner",
            Text,
            "as in the image, or root",
            "a name that the image has, or a number; for when it is made",
        ),
        key(
            "group",
            Text,
            "as in the image, or root",
            "a name that the image has, or a number; for when it is made",
        ),
        key("how", Word(HOW), "\"bind\"", path),
        key(
            "service",
            Text,
            "none",
            "the service that writes it; it is stopped while a snapshot is made or restored",
        ),
        key(
            "version",
            Number(0, 4_294_967_295),
            "none",
            "the version of what is in it: raise it when a release changes the data so that an older one cannot read it. The first boot with another version makes a snapshot before services start",
        ),
    ]
}

pub(super) const DIRECTORIES: Section = Section {
    name: "state.directories",
    each: Some("\"/path\""),
    doc: "Directories below `/etc` or `/var` that are kept, with all that is in them: `[state.directories.\"/var/lib/postgresql\"]`.",
    keys: &kept(
        "whether it is mounted at its path, or a link stands there",
        "as in the image, or \"0755\"",
    ),
};

pub(super) const FILES: Section = Section {
    name: "state.files",
    each: Some("\"/path\""),
    doc: "Files below `/etc` or `/var` that are kept one by one.",
    keys: &kept(
        "whether it is mounted at its path, where it can be written to but not replaced by a rename; or a link stands there, which a program that saves by renaming replaces, so that nothing lasts",
        "as in the image, or \"0644\"",
    ),
};
