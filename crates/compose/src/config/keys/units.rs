//! The keys of units.

use super::{Boolean, Path, Section, Settings, Text, Texts, key};

pub(super) const UNITS: Section = Section {
    name: "units",
    each: Some("\"NAME.TYPE\""),
    doc: "Units of systemd that the config writes itself, in `/etc/systemd/system`: services, sockets, timers, paths, mounts, automounts, swaps, targets and slices. What a unit is stands in sections as in its file (`[units.\"web.service\".Service]`), \
        whole in `text` or in a file (`source`). Names of settings are systemd's own and not looked at; their values are text, number, true/false or a list, which is the setting once for each. They are written as they stand: `%` is systemd's, \
        and a value goes on in the next line only behind a backslash. Settings are in the order of their names. A unit with the name of one of a package replaces it; with `override` it changes it, as `systemctl edit` does. `reload_on` and `restart_on` are for every unit, and may stand alone for one of a package: `[units.\"nginx.service\"] reload_on = [\"/etc/nginx\"]`. They are the drop-in `NAME.d/60-elea-files.conf`, and links are not followed.",
    keys: &[
        key(
            "enable",
            Boolean,
            "false",
            "whether it starts; without an `[Install]` it is wanted by `multi-user.target`, of sockets, timers, paths and swaps by their own target, of mounts by `local-fs.target`",
        ),
        key(
            "override",
            Boolean,
            "false",
            "whether it is laid over the unit of that name, as the drop-in `NAME.d/50-elea.conf`",
        ),
        key("text", Text, "none", "the whole file"),
        key("source", Path, "none", "a file that is the unit"),
        key(
            "reload_on",
            Texts,
            "[]",
            "files and folders below `/etc` or `/usr` that it reads: when one of them, or anything in one of them, is another after `elea apply`, the unit is reloaded, or restarted if it cannot reload",
        ),
        key(
            "restart_on",
            Texts,
            "[]",
            "the same, of which it is restarted",
        ),
        key(
            "SECTION",
            Settings,
            "none",
            "`Unit`, `Install`, the type's own (`Service`) and any `X-…`",
        ),
    ],
};

pub(super) const TIMERS: Section = Section {
    name: "timers",
    each: Some("NAME"),
    doc: "Commands that run at set times: `NAME.timer` starts `NAME.service`.",
    keys: &[
        key(
            "calendar",
            Text,
            "",
            "when, as `systemd-analyze calendar` takes it: `daily`, `Mon..Fri 03:00`, `*-*-01 04:30 Europe/Vienna`",
        ),
        key(
            "command",
            Texts,
            "",
            "the program (an absolute path or a plain name) and its arguments, each as it is; there is no shell",
        ),
        key("user", Text, "\"root\"", "who runs it"),
        key(
            "persistent",
            Boolean,
            "false",
            "whether a run that was missed while the machine was off is made up for at the next boot",
        ),
        key(
            "delay",
            Text,
            "none",
            "it starts by chance up to so much later, such as `15min`",
        ),
    ],
};
