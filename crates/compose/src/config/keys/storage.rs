//! The keys of mounts and swap, and of the ssh server.

use super::super::sections::ssh::ROOT;
use super::{Boolean, Number, Section, Text, Texts, Word, key};

pub(super) const MOUNTS: Section = Section {
    name: "mounts",
    each: Some("\"/path\""),
    doc: "Further file systems, mounted where their names say; folders for them are in the image. They are mounted in the system, not by the initrd: what a boot needs early cannot be there.",
    keys: &[
        key(
            "what",
            Text,
            "",
            "a device, `UUID=…`, `LABEL=…` or `HOST:/path`",
        ),
        key("type", Text, "found out", "the file system: `ext4`, `nfs`"),
        key("options", Texts, "[]", "options of mount(8), one each"),
        key(
            "automount",
            Boolean,
            "false",
            "whether it is mounted when it is first used",
        ),
        key(
            "idle",
            Text,
            "for ever",
            "how long it stays mounted unused, with `automount`: `10min`",
        ),
        key(
            "required",
            Boolean,
            "false",
            "whether a boot without it has failed",
        ),
    ],
};

pub(super) const SWAP: Section = Section {
    name: "swap",
    each: None,
    doc: "Where memory goes that is not in use.",
    keys: &[
        key(
            "file",
            Text,
            "none",
            "a file below `/var`, made at the boot that finds none",
        ),
        key(
            "size",
            Text,
            "none",
            "the file's size when it is made: `2G`",
        ),
        key(
            "device",
            Text,
            "none",
            "a swap device that is there, below `/dev`",
        ),
        key(
            "zram",
            Number(1, 400),
            "none",
            "compressed memory, in percent of the machine's; needs the package `systemd-zram-generator`",
        ),
    ],
};

pub(super) const SSH: Section = Section {
    name: "ssh",
    each: None,
    doc: "How the ssh server lets people in, in `/etc/ssh/sshd_config.d`; needs the package `openssh-server`. What is not said here is as in the image otherwise.",
    keys: &[
        key("port", Number(1, 65_535), "22", "where it listens"),
        key(
            "passwords",
            Boolean,
            "left alone",
            "whether a password lets in",
        ),
        key(
            "root",
            Word(ROOT),
            "left alone",
            "whether root may come in, or by a key alone",
        ),
        key(
            "allow_users",
            Texts,
            "[]",
            "users that may come in; without any, all",
        ),
        key(
            "allow_groups",
            Texts,
            "[]",
            "groups whose members may come in; without any, all",
        ),
    ],
};
