//! The sections that become files and units: what is wrong in them, each with its place.

use super::{SMALL, bad, good};

/// Each before a good config, and what is said of it.
fn check(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        let text = format!("{text}{SMALL}");
        assert_eq!(bad(&[("elea.toml", &text)]), *expected, "{text}");
    }
}

#[test]
fn mistakes_in_units() {
    check(&[
        (
            "[units.web]\ntext = \"\"\n",
            &[
                "elea.toml:1:8: `web` cannot be a unit [a name with its type: .service, .socket, .timer, .path, .mount, .automount, .swap, .target, .slice]",
            ],
        ),
        (
            "[units.\"../a.service\"]\ntext = \"\"\n",
            &[
                "elea.toml:1:8: `../a.service` cannot be a unit [a name with its type: .service, .socket, .timer, .path, .mount, .automount, .swap, .target, .slice]",
            ],
        ),
        (
            "[units.\"a.service\"]\n",
            &[
                "elea.toml:1:8: `units.\"a.service\"` says nothing of what it is [add a section such as [units.\"a.service\".Service], `text` or `source`]",
            ],
        ),
        (
            "[units.\"a.service\"]\nenable = true\n",
            &[
                "elea.toml:1:8: `units.\"a.service\"` says nothing of what it is [a unit that packages bring is started by `services.enable`]",
            ],
        ),
        (
            "[units.\"a.service\"]\nenabel = true\nService.Nice = 1\n",
            &[
                "elea.toml:2:1: unknown key `enabel` in `units.\"a.service\"` [did you mean `enable`?]",
            ],
        ),
        (
            "[units.\"a.service\"]\nSocket.Nice = 1\nService.Nice = 1\n",
            &[
                "elea.toml:2:1: units of this type have no section `Socket` [known here: Unit, Install, Service]",
            ],
        ),
        (
            "[units.\"a.service\"]\ntext = \"[Service]\"\nService.Nice = 1\n",
            &["elea.toml:1:8: `units.\"a.service\"` says in more than one way what it is"],
        ),
        (
            "[units.\"a.service\"]\nenable = true\ntext = \"[Service]\"\n",
            &[
                "elea.toml:3:8: `a.service` has no section `[Install]`, so nothing would start it [add one, such as:\n[Install]\nWantedBy=multi-user.target]",
            ],
        ),
        (
            "[units.\"a@.service\"]\nenable = true\nService.Nice = 1\n",
            &[
                "elea.toml:1:8: `a@.service` is a template, which itself does not start [start its instances: services.enable = [\"a@1.service\"]]",
            ],
        ),
        (
            "[units.\"a.service\".Service]\nExecStart = \"/bin/x\\nUser=root\"\n",
            &[
                "elea.toml:2:13: `/bin/x\\nUser=root` cannot be `units.\"a.service\".Service.ExecStart`",
            ],
        ),
        (
            "[units.\"a.service\".Service]\nExecStart = [\"/bin/x\", \"/bin/y \\\\\"]\n",
            &["elea.toml:2:24: `/bin/y \\\\` cannot be `units.\"a.service\".Service.ExecStart[1]`"],
        ),
        (
            "[units.\"a.service\".Service]\n\"A=b\\nC\" = 1\n",
            &["elea.toml:2:1: `A=b\\nC` cannot be a name in `units.\"a.service\".Service`"],
        ),
        (
            "[units.\"a.service\".Service]\nNice = 1.5\nUser = {}\n",
            &[
                "elea.toml:2:8: `units.\"a.service\".Service.Nice` must be a text, a number or true or false, not a fraction",
                "elea.toml:3:8: `units.\"a.service\".Service.User` must be a text, a number or true or false, not a table",
            ],
        ),
    ]);
}

#[test]
fn mistakes_in_timers_and_of_the_kernel() {
    check(&[
        (
            "[timers.a]\ncalendar = \"noon\"\ncommand = [\"/bin/true\"]\n",
            &["elea.toml:2:12: `noon` cannot be `timers.a.calendar`"],
        ),
        (
            "[timers.a]\ncalendar = \"daily\"\ncommand = [\"./x\", \"a\\nb\"]\ndelay = \"soon\"\n",
            &[
                "elea.toml:3:12: `./x` cannot be `timers.a.command`",
                "elea.toml:3:19: `a\\nb` cannot be `timers.a.command`",
                "elea.toml:4:9: `soon` cannot be `timers.a.delay`",
            ],
        ),
        (
            "[timers.\"a@b\"]\ncalendar = \"daily\"\ncommand = [\"/bin/true\"]\n",
            &["elea.toml:1:9: `a@b` cannot be `timers`"],
        ),
        (
            "[sysctl]\n\"a.b\" = \"1\\nc.d = 2\"\n\"a = b\" = 1\nx.y = 1\n",
            &[
                "elea.toml:2:9: `1\\nc.d = 2` cannot be `sysctl.\"a.b\"`",
                "elea.toml:3:1: `a = b` cannot be a name in `sysctl`",
                "elea.toml:4:1: `sysctl.x` must be a text, a number or true or false, not a table",
                "elea.toml:4:1: `x` cannot be a name in `sysctl`",
            ],
        ),
        (
            "[kernel.options.kvm]\nnested = \"1 x=2\"\n",
            &["elea.toml:2:10: `1 x=2` cannot be `kernel.options.kvm.nested`"],
        ),
        (
            "[kernel]\nmodules = [\"../x\"]\n",
            &["elea.toml:2:12: `../x` cannot be `kernel.modules`"],
        ),
    ]);
}

#[test]
fn a_path_is_made_once_and_what_is_off_does_not_start() {
    let timer = "[timers.a]\ncalendar = \"daily\"\ncommand = [\"/bin/true\"]\n";
    check(&[
        (
            &format!("{timer}[files.\"/etc/systemd/system/a.timer\"]\ncontent = \"\"\n"),
            &["elea.toml:5:11: two parts of the config make /etc/systemd/system/a.timer"],
        ),
        (
            &format!("{timer}[units.\"a.service\"]\nService.Nice = 1\n"),
            &["elea.toml:2:12: two parts of the config make /etc/systemd/system/a.service"],
        ),
        (
            &format!("{timer}[services]\nmask = [\"a.timer\"]\n"),
            &["elea.toml:5:9: `a.timer` starts by `timers.a` and is in `services.mask`"],
        ),
    ]);
    let text = format!("{timer}{SMALL}");
    assert_eq!(good(&[("elea.toml", &text)]).timers["a"].user, "root");
}
