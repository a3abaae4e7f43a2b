//! The keys of homes.

use super::Kind::{Boolean, Named, Path, Table, Text, Texts};
use super::{Section, key};

/// `[home.NAME]`.
pub(super) const HOME: Section = Section {
    name: "home",
    each: Some("NAME"),
    doc: "The home of a user, which that user applies: `elea home apply` (`docs/homes.md`). No image has anything of it, and a config for homes alone needs no other table.",
    keys: &[
        key("files", Named(&FILES), "none", "its files"),
        key("units", Named(&UNITS), "none", "user units"),
        key(
            "environment",
            Table,
            "none",
            "variables of the session, as they are; written to `.config/environment.d/60-elea.conf` and `.config/elea/environment.sh`",
        ),
        key(
            "packages",
            Texts,
            "[]",
            "names of packages of `[base]`, which are installed for this user alone",
        ),
    ],
};

const FILES: Section = Section {
    name: "home.NAME.files",
    each: Some("\"path\""),
    doc: "One path of the home each, relative to it, with exactly one of `content`, `source` and `symlink`.",
    keys: &[
        key("content", Text, "none", "the file's content"),
        key(
            "source",
            Path,
            "none",
            "a file whose content is copied, or a folder: each file in it comes to its place below this path, links as they are",
        ),
        key("symlink", Text, "none", "the target of a symbolic link"),
        key(
            "mode",
            Text,
            "\"0644\"",
            "octal; without it, a `source` that may be run becomes a file that may be run (`0755`)",
        ),
        key(
            "how",
            Text,
            "\"copy\"",
            "`copy`: a file that programs may write to; `link`: a link to a copy that nobody writes to; `merge`: declared keys are written into the file, all else stays; `seed`: written where nothing is, and never again",
        ),
        key(
            "format",
            Text,
            "by the path's end",
            "of a file that is merged: `json`, `ini` or `toml`",
        ),
    ],
};

const UNITS: Section = Section {
    name: "home.NAME.units",
    each: Some("\"name\""),
    doc: "User units (systemd.unit(5)), with their types; files below `.config/systemd/user`.",
    keys: &[
        key("content", Text, "none", "the unit's text"),
        key("source", Path, "none", "a file that has it"),
        key(
            "enable",
            Boolean,
            "false",
            "whether it is started by what its `[Install]` names",
        ),
    ],
};
