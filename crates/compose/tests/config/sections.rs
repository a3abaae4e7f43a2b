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
            "[units.\"a.service\"]\nreload_on = [\"/etc/a\", \"/var/a\", \"/etc\", \"/etc/\", \"/etc/a b\", \"/etc/a/\", \"/etc/%i\", \"/etc/../var\", \"/etc/*.conf\", \"/etc/a//\"]\n",
            &[
                "elea.toml:2:24: `/var/a` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:34: `/etc` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:42: `/etc/` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:51: `/etc/a b` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:74: `/etc/%i` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:85: `/etc/../var` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:100: `/etc/*.conf` cannot be `units.\"a.service\".reload_on`",
                "elea.toml:2:115: `/etc/a//` cannot be `units.\"a.service\".reload_on`",
            ],
        ),
        (
            "[units.\"a.slice\"]\nrestart_on = [\"/usr/lib/a/\"]\n",
            &[
                "elea.toml:2:15: `a.slice` runs nothing that could read a file [say it of the service that reads it]",
            ],
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

#[test]
fn mistakes_in_the_network() {
    let nft = "[packages]\ninstall = [\"nftables\"]\n";
    check(&[
        (
            "[tmpfiles]\nlines = [\"d run/x\", \"d /run/x\\nR /etc\"]\n",
            &[
                "elea.toml:2:10: this is no line of tmpfiles.d(5): its path is not absolute [type, path, mode, user, group, age and argument, such as \"d /run/web 0755 web web -\"]",
                "elea.toml:2:21: this is no line of tmpfiles.d(5): it is more than one line, or has control characters [type, path, mode, user, group, age and argument, such as \"d /run/web 0755 web web -\"]",
            ],
        ),
        (
            "[network.links.a]\ndhcp = \"maybe\"\naddresses = [\"192.0.2.1\"]\ngateway = [\"x\"]\nmac = \"1:2\"\nmtu = 1\n",
            &[
                "elea.toml:2:8: `maybe` cannot be `network.links.a.dhcp`",
                "elea.toml:3:14: `192.0.2.1` cannot be `network.links.a.addresses`",
                "elea.toml:4:12: `x` cannot be `network.links.a.gateway`",
                "elea.toml:5:7: `1:2` cannot be `network.links.a.mac`",
                "elea.toml:6:7: `network.links.a.mtu` must be a number from 68 to 65535",
            ],
        ),
        (
            "[network.links.\"a\\nb\"]\n",
            &["elea.toml:1:16: `a\\nb` cannot be `network.links`"],
        ),
        (
            "[network.links.a]\nname = \"x\\n[Link]\"\n",
            &["elea.toml:2:8: `x\\n[Link]` cannot be `network.links.a.name`"],
        ),
        (
            "[network.links.a]\ndns = [\"192.0.2.1\"]\n",
            &[
                "elea.toml:1:1: `network.links.a` has name servers or domains, and nothing that asks them [add \"systemd-resolved\" to packages.install]",
            ],
        ),
        (
            "[network.links.v]\nvlan = 5\n[network.links.w]\nvlan = 6\non = \"none\"\n",
            &[
                "elea.toml:1:16: `network.links.v` needs both `vlan` and `on` to be a VLAN",
                "elea.toml:5:6: there is no link `none` [add [network.links.none]]",
            ],
        ),
        (
            "[network.links.a]\nbridge = [\"c\", \"a\"]\n[network.links.b]\nbond = [\"c\"]\n[network.links.c]\ndhcp = \"yes\"\n",
            &[
                "elea.toml:2:11: `c` is a part of `a` and has addresses of its own [give them to `a`]",
                "elea.toml:2:16: `a` is a part of itself",
                "elea.toml:4:9: `c` is a part of `b` and has addresses of its own [give them to `b`]",
                "elea.toml:4:9: `c` is a part of two links",
            ],
        ),
        (
            "[firewall]\n",
            &[
                "elea.toml:1:1: `firewall` needs the package `nftables` [add \"nftables\" to packages.install]",
            ],
        ),
        (
            &format!(
                "{nft}[firewall]\ntcp = [0, \"90-80\", \"ssh\", true]\npolicy = \"allow\"\ntrusted = [\"a b\"]\n"
            ),
            &[
                "elea.toml:4:8: `0` cannot be in `firewall.tcp`",
                "elea.toml:4:11: `90-80` cannot be in `firewall.tcp`",
                "elea.toml:4:20: `ssh` cannot be in `firewall.tcp`",
                "elea.toml:4:27: `firewall.tcp[]` must be a port, not true or false",
                "elea.toml:5:10: `allow` cannot be `firewall.policy`",
                "elea.toml:6:12: `a b` cannot be `firewall.trusted`",
            ],
        ),
        (
            &format!(
                "{nft}[firewall]\nfrom = [{{ tcp = [1] }}, {{ source = \"10.0.0.0/33\", tpc = [1] }}]\n"
            ),
            &[
                "elea.toml:4:9: `firewall.from[0].source` is missing [add `source = \"10.0.0.0/8\"`]",
                "elea.toml:4:35: `10.0.0.0/33` cannot be `firewall.from[1].source`",
                "elea.toml:4:50: unknown key `tpc` in `firewall.from[1]` [did you mean `tcp`?]",
            ],
        ),
    ]);
}

#[test]
fn mistakes_in_mounts_swap_and_ssh() {
    check(&[
        (
            "[mounts.\"/etc/x\"]\nwhat = \"/dev/sdb\"\n[mounts.\"/a/../b\"]\nwhat = \"a\\nb\"\n[mounts.\"/c\"]\n",
            &[
                "elea.toml:1:9: nothing can be mounted at /etc/x",
                "elea.toml:3:9: `/a/../b` cannot be `mounts`",
                "elea.toml:4:8: `a\\nb` cannot be `mounts.\"/a/../b\".what`",
                "elea.toml:5:1: `mounts.\"/c\".what` is missing [add `what = \"/dev/disk/by-label/data\"`]",
            ],
        ),
        (
            "[mounts.\"/c\"]\nwhat = \"/dev/sdb\\\\\"\ntype = \"ext4\\nx\"\noptions = [\"a,b\"]\nidle = \"10min\"\n",
            &[
                "elea.toml:2:8: `/dev/sdb\\\\` cannot be `mounts.\"/c\".what`",
                "elea.toml:3:8: `ext4\\nx` cannot be `mounts.\"/c\".type`",
                "elea.toml:4:12: `a,b` cannot be `mounts.\"/c\".options`",
                "elea.toml:5:8: `mounts.\"/c\".idle` is of what is mounted on use [add `automount = true`]",
            ],
        ),
        (
            "[swap]\nfile = \"/swap\"\nsize = \"2\"\ndevice = \"sdb\"\nzram = 50\n",
            &[
                "elea.toml:2:8: `/swap` cannot be `swap.file`",
                "elea.toml:3:8: `2` cannot be `swap.size`",
                "elea.toml:4:10: `sdb` cannot be `swap.device`",
                "elea.toml:5:8: `swap.zram` needs the package `systemd-zram-generator` [add \"systemd-zram-generator\" to packages.install]",
            ],
        ),
        (
            "[swap]\nfile = \"/var/swap\"\n",
            &["elea.toml:2:8: `swap.size` is missing [add `size = \"2G\"`]"],
        ),
        (
            "[ssh]\npasswords = true\nport = 0\nroot = \"maybe\"\nallow_users = [\"a b\"]\n",
            &[
                "elea.toml:1:1: `ssh` needs the package `openssh-server` [add \"openssh-server\" to packages.install]",
                "elea.toml:3:8: `ssh.port` must be a number from 1 to 65535",
                "elea.toml:4:8: `maybe` cannot be `ssh.root`",
                "elea.toml:5:16: `a b` cannot be `ssh.allow_users`",
            ],
        ),
    ]);
}

/// What `systemd-creds encrypt --with-key=host` writes of the word `hi`.
const CREDENTIAL: &str = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAACeeFk6iy79dJUDSogAAAAA7zbCOwvldDwkrsB\nV2jQ5VtfhtDvsNsA21Aul8bCfutrskBiFIY/Z/eK2RA==\n";

#[test]
fn a_secret_is_a_file_that_is_encrypted() {
    let say = |text: &str| {
        let text = format!("{text}{SMALL}");
        bad(&[
            ("elea.toml", &text),
            ("a.cred", CREDENTIAL),
            ("plain.txt", "hunter2"),
        ])
    };
    let how =
        "on the machine: `systemd-creds encrypt --name=a FILE a.cred`, and `from = \"a.cred\"`";
    assert_eq!(
        say("[secrets.a]\nvalue = \"hunter2\"\n"),
        [format!(
            "elea.toml:2:1: a secret never stands in a config: `secrets.a.value` [{how}]"
        )]
    );
    assert_eq!(
        say("[secrets.a]\nfrom = \"plain.txt\"\n"),
        [format!(
            "elea.toml:2:8: cannot use the secret DIR/plain.txt: it is not encrypted by systemd-creds [{how}]"
        )]
    );
    assert_eq!(
        say("[secrets.a]\nfrom = \"a.cred\"\nunits = [\"a.timer\"]\nform = 1\n"),
        [
            "elea.toml:3:10: `a.timer` cannot be `secrets.a.units`",
            "elea.toml:4:1: unknown key `form` in `secrets.a` [did you mean `from`?]",
        ]
    );
    assert_eq!(
        say("[secrets.\"a/b\"]\nfrom = \"a.cred\"\n"),
        ["elea.toml:1:10: `a/b` cannot be `secrets`"]
    );
    let text = format!("[secrets.a]\nfrom = \"a.cred\"\nunits = [\"web.service\"]\n{SMALL}");
    let config = good(&[("elea.toml", &text), ("a.cred", CREDENTIAL)]);
    assert_eq!(config.secrets["a"].units, ["web.service"]);
}

#[test]
fn secrets_in_clear_are_refused() {
    let help = "make it a secret: [secrets.NAME] with `from`, and read it from $CREDENTIALS_DIRECTORY/NAME";
    let say = |text: &str| {
        let text = format!("{text}{SMALL}");
        let key = "-----BEGIN PRIVATE KEY-----\nx\n";
        bad(&[
            ("elea.toml", &text),
            ("key.pem", key),
            ("in", "password = ${vars.p}\n"),
        ])
    };
    let what = |what: &str, at: &str, place: &str| {
        [format!(
            "elea.toml:{place}: there is {what} in {at}, where everybody could read it [{help}]"
        )]
    };
    assert_eq!(
        say("[files.\"/etc/a\"]\ncontent = \"[db]\\npassword = hunter2\\n\"\n"),
        what("a password", "`files.\"/etc/a\".content`", "2:18")
    );
    assert_eq!(
        say("[files.\"/etc/a\"]\nsource = \"key.pem\"\n"),
        what(
            "a private key",
            "line 1 of `files.\"/etc/a\".source`",
            "2:10"
        )
    );
    assert_eq!(
        say("[vars]\np = \"hunter2\"\n[templates.\"/etc/a\"]\nsource = \"in\"\n"),
        what(
            "a password",
            "line 1 of `templates.\"/etc/a\".source`",
            "4:10"
        )
    );
    assert_eq!(
        say("[units.\"a.service\".Service]\nEnvironment = [\"A=1\", \"DB_PASSWORD=hunter2\"]\n"),
        what(
            "a password",
            "`units.\"a.service\".Service.Environment`",
            "2:15"
        )
    );
    assert_eq!(
        say("[units.\"a.service\"]\ntext = \"[Service]\\nEnvironment=API_TOKEN=abc\"\n"),
        what("a password or token", "`units.\"a.service\".text`", "2:20")
    );
}

#[test]
fn templates_are_filled_in_once() {
    let text = format!(
        "[vars]\nport = 81\nname = \"${{vars.port}}\"\n[templates.\"/etc/app.conf\"]\nsource = \"app.in\"\nmode = \"0600\"\nowner = \"app\"\n{SMALL}"
    );
    let template = "port = ${vars.port}\nname = ${vars.name}\nhome = ${HOME} $${vars.port}\n";
    let config = good(&[("elea.toml", &text), ("app.in", template)]);
    let made = &config.templates["/etc/app.conf"];
    assert_eq!(
        made.text,
        "port = 81\nname = ${vars.port}\nhome = ${HOME} ${vars.port}\n"
    );
    assert_eq!((made.file.mode, made.file.owner.as_str()), (0o600, "app"));
    let bad = |template: &str, head: &str| {
        let text = format!("{head}\n{SMALL}");
        bad(&[("elea.toml", &text), ("app.in", template)])
    };
    let head = "[templates.\"/etc/app.conf\"]\nsource = \"app.in\"";
    assert_eq!(
        bad("${vars.prot}", head),
        ["elea.toml:2:10: there is no `vars.prot`"]
    );
    assert_eq!(
        bad("", "[templates.\"/run/a\"]\nmode = \"rw\""),
        [
            "elea.toml:1:1: `templates.\"/run/a\".source` is missing [add `source = \"app.conf.in\"`]",
            "elea.toml:1:12: an image has nothing in /run/a",
            "elea.toml:2:8: `rw` cannot be a mode",
        ]
    );
    // A template and a file cannot both stand there.
    let twice = format!("{head}\n[files.\"/etc/app.conf\"]\ncontent = \"\"");
    assert_eq!(
        bad("", &twice),
        ["elea.toml:4:11: two parts of the config make /etc/app.conf"]
    );
}

#[test]
fn mistakes_in_automatic_upgrades() {
    let update = "[update]\nreference = \"registry:example.org/a:1\"\n";
    check(&[
        (
            &format!("{update}automatic = true\nwindow = \"sometimes\"\n"),
            &["elea.toml:4:10: `sometimes` cannot be `update.window`"],
        ),
        (
            &format!("{update}window = \"Sun 03:00\"\nreboot = true\n"),
            &[
                "elea.toml:1:1: `update.window` is of automatic upgrades [add `automatic = true`]",
                "elea.toml:1:1: `update.reboot` is of automatic upgrades [add `automatic = true`]",
            ],
        ),
    ]);
}

#[test]
fn authorities_are_certificates() {
    let text = format!("[certificates]\ntrust = [\"a.pem\", \"none.pem\"]\n{SMALL}");
    assert_eq!(
        bad(&[("elea.toml", &text), ("a.pem", "hello")]),
        [
            "elea.toml:2:10: cannot use the certificates of DIR/a.pem: there is no certificate in it (`-----BEGIN CERTIFICATE-----`)",
            "elea.toml:2:19: cannot use the certificates of DIR/none.pem: No such file or directory (os error 2)",
        ]
    );
}

#[test]
fn mistakes_in_state() {
    check(&[
        (
            "[state]\nmode = \"volatile\"\nrollback = 1\nkeep = []\n",
            &[
                "elea.toml:2:8: `volatile` cannot be `state.mode`",
                "elea.toml:3:12: `state.rollback` must be a text, not a number",
                "elea.toml:4:1: unknown key `keep` in `state` [known here: mode, rollback, directories, files]",
            ],
        ),
        (
            "[state.directories.\"/home/ada\"]\n[state.directories.\"/var\"]\n[state.directories.\"/var/lib/dpkg/info\"]\n[state.files.\"/etc/shadow\"]\n[state.files.\"/srv\"]\n",
            &[
                "elea.toml:1:20: `/home/ada` cannot be kept",
                "elea.toml:2:20: `/var` cannot be kept [declare the directories that a service has in /var/lib, and files of /etc]",
                "elea.toml:3:20: `/var/lib/dpkg/info` cannot be kept",
                "elea.toml:4:14: `/etc/shadow` cannot be kept",
                "elea.toml:5:14: `/srv` cannot be kept",
            ],
        ),
        (
            "[state.directories.\"/var/lib/a\"]\nhow = \"copy\"\nversion = -1\nservice = \"a.socket\"\nmode = \"9\"\n[state.files.\"/var/lib/a/b\"]\n[state.directories.\"/var/lib/a b\"]\n",
            &[
                "elea.toml:2:7: `copy` cannot be `state.directories.\"/var/lib/a\".how`",
                "elea.toml:3:11: `state.directories.\"/var/lib/a\".version` must be a number from 0 to 4294967295",
                "elea.toml:4:11: `a.socket` cannot be `state.directories.\"/var/lib/a\".service`",
                "elea.toml:5:8: `9` cannot be a mode",
                "elea.toml:6:14: /var/lib/a/b is kept twice",
            ],
        ),
        (
            "[state]\nmode = \"ephemeral\"\n[swap]\nfile = \"/var/swap/file\"\nsize = \"1G\"\n",
            &[
                "elea.toml:4:8: the swap file /var/swap/file would be made anew at each boot [keep its folder with [state.directories], or use `swap.zram`]",
            ],
        ),
    ]);
    let kept = "[state]\nmode = \"ephemeral\"\n[state.directories.\"/var/swap\"]\n[swap]\nfile = \"/var/swap/file\"\nsize = \"1G\"\n";
    let config = good(&[("elea.toml", &format!("{kept}{SMALL}"))]);
    assert!(config.state.is_ephemeral());
}

#[test]
fn a_channel_is_the_tag_that_machines_follow() {
    let text = |reference: &str, channel: &str| {
        format!(
            "[update]\nreference = \"registry:example.org/a{reference}\"\nchannel = \"{channel}\"\n"
        )
    };
    for reference in ["", ":stable"] {
        let config = good(&[("elea.toml", &(text(reference, "stable") + SMALL))]);
        let update = config.update.clone().unwrap();
        assert_eq!(update.source.reference, "registry:example.org/a:stable");
        // What is shown is a config again.
        let shown = toml::to_string(&config).unwrap();
        let again = good(&[("elea.toml", &shown)]);
        assert_eq!(again.update, config.update, "{shown}");
    }
    let config = good(&[("elea.toml", &(text("", "latest") + SMALL))]);
    let reference = config.update.unwrap().source.reference;
    assert_eq!(reference, "registry:example.org/a:latest");
    let digest = format!("@sha256:{}", "0".repeat(64));
    for reference in [":edge", &digest] {
        check(&[(
            &text(reference, "stable"),
            &[
                "elea.toml:3:11: `update.reference` says itself what machines follow, and not this channel",
            ],
        )]);
    }
    check(&[(
        &text("", "a b"),
        &["elea.toml:3:11: `a b` cannot be `update.channel`"],
    )]);
}

#[test]
fn apps_and_boxes_are_read_and_shown_and_said_to_do_nothing() {
    let text = format!(
        "[apps.editor]\nsource = \"flatpak:org.example.Editor\"\npermissions = [\"network\", \"files:~/Documents\"]\n\
         [apps.db]\nsource = \"registry:example.org/db:1\"\nchannel = \"stable\"\nhold = true\n\
         [boxes.dev]\nimage = \"registry:example.org/debian:13\"\nhome = \"own\"\npackages = [\"gcc\"]\n{SMALL}"
    );
    let config = good(&[("elea.toml", &text)]);
    assert_eq!(config.apps["editor"].permissions.len(), 2);
    assert!(config.apps["db"].hold && !config.apps["editor"].hold);
    assert_eq!(
        (config.boxes["dev"].home, config.boxes["dev"].init),
        ("own", false)
    );
    let warnings: Vec<_> = config
        .warnings
        .warnings()
        .iter()
        .map(|w| w.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "`apps` are read and shown, and this Elea does nothing with them yet",
            "`boxes` are read and shown, and this Elea does nothing with them yet",
        ]
    );
    let shown = toml::to_string(&config).unwrap();
    let again = good(&[("elea.toml", &shown)]);
    assert_eq!(
        (again.apps, again.boxes),
        (config.apps, config.boxes),
        "{shown}"
    );
    for (text, expected) in [
        (
            "[apps.a]\n",
            "elea.toml:1:1: `apps.a.source` is missing [add `source = \"flatpak:org.example.App\"`]",
        ),
        (
            "[apps.a]\nsource = \"flatpack:x\"\n",
            "elea.toml:2:10: `flatpack:x` cannot be `apps.a.source`",
        ),
        (
            "[apps.a]\nsource = \"registry:x\"\n",
            "elea.toml:2:10: `registry:x` cannot be `apps.a.source`",
        ),
        (
            "[apps.A]\nsource = \"snap:x\"\n",
            "elea.toml:1:7: `A` cannot be `apps`",
        ),
        (
            "[apps.a]\nsource = \"snap:x\"\npermissions = [\"camera\"]\n",
            "elea.toml:3:16: `camera` cannot be `apps.a.permissions`",
        ),
        (
            "[boxes.a]\nimage = \"dir:x\"\n",
            "elea.toml:2:9: `dir:x` cannot be `boxes.a.image`",
        ),
        (
            "[boxes.a]\nimage = \"x\"\nhome = \"mine\"\n",
            "elea.toml:3:8: `mine` cannot be `boxes.a.home`",
        ),
    ] {
        check(&[(text, &[expected])]);
    }
}
