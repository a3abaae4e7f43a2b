//! The keys of what the running kernel is told.

use super::{Section, Setting, Texts, key};

pub(super) const OPTIONS: Section = Section {
    name: "kernel.options",
    each: Some("NAME"),
    doc: "Parameters of kernel modules, for when they are loaded (modprobe.d(5)): `[kernel.options.snd_hda_intel]`.",
    keys: &[key(
        "PARAMETER",
        Setting,
        "none",
        "a value without blanks; true and false are 1 and 0",
    )],
};

pub(super) const SYSCTL: Section = Section {
    name: "sysctl",
    each: None,
    doc: "Settings of the running kernel by the names that sysctl(8) has for them: `\"net.ipv4.ip_forward\" = true`. They are in `/etc/sysctl.d/60-elea.conf`.",
    keys: &[key(
        "\"GROUP.NAME\"",
        Setting,
        "none",
        "one line; true and false are 1 and 0",
    )],
};

pub(super) const TMPFILES: Section = Section {
    name: "tmpfiles",
    each: None,
    doc: "What is made, cleaned and removed at each boot and in time. It is in `/etc/tmpfiles.d/60-elea.conf`.",
    keys: &[key(
        "lines",
        Texts,
        "[]",
        "lines of tmpfiles.d(5): `d /run/web 0755 web web -`",
    )],
};
