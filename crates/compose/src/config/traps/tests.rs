use super::super::{Config, load};
use std::fs;

/// Warnings as `line:column: message (line of the other place: what is there)`.
fn warnings(text: &str) -> Vec<String> {
    let list = loaded(text).warnings.warnings().to_vec();
    list.into_iter()
        .map(|w| {
            let other = w.other.map(|o| format!(" ({}: {})", o.line, o.label));
            let other = other.unwrap_or_default();
            format!("{}:{}: {}{other}", w.line, w.column, w.message)
        })
        .collect()
}

fn loaded(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elea.toml");
    fs::write(
        &path,
        format!("{text}\n[system]\nname = \"a\"\nversion = \"1\"\n"),
    )
    .unwrap();
    load(&path).unwrap_or_else(|e| panic!("{e}"))
}

/// An ssh server that one person comes into.
const SSH: &str = "users.ada.ssh_keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGAbcdefghijklmnopqrstuvwxyz0123456789abcd ada\"]\npackages.install = [\"openssh-server\", \"nftables\"]\n";

fn socket(name: &str, settings: &str) -> String {
    format!(
        "[units.\"{name}.socket\"]\nenable = true\n[units.\"{name}.socket\".Socket]\n{settings}\n"
    )
}

#[test]
fn two_at_one_port_are_seen() {
    for (first, second, meet) in [
        ("ListenStream = 80", "ListenStream = 80", true),
        ("ListenStream = 80", "ListenStream = \"192.0.2.1:80\"", true),
        (
            "ListenStream = \"[::]:80\"",
            "ListenStream = [\"/run/x\", \"80\"]",
            true,
        ),
        (
            "ListenStream = \"0.0.0.0:80\"",
            "ListenStream = \"192.0.2.1:80\"",
            true,
        ),
        (
            "ListenDatagram = 53",
            "ListenDatagram = \"[2001:db8::1]:53\"",
            true,
        ),
        ("ListenStream = 80", "ListenStream = 81", false),
        ("ListenStream = 80", "ListenDatagram = 80", false),
        (
            "ListenStream = \"192.0.2.1:80\"",
            "ListenStream = \"192.0.2.2:80\"",
            false,
        ),
        (
            "ListenStream = \"0.0.0.0:80\"",
            "ListenStream = \"[2001:db8::1]:80\"",
            false,
        ),
        (
            "ListenStream = 80\nBindIPv6Only = \"ipv6-only\"",
            "ListenStream = \"0.0.0.0:80\"",
            false,
        ),
        (
            "ListenStream = 80\nReusePort = true",
            "ListenStream = 80\nReusePort = true",
            false,
        ),
        (
            "ListenStream = 80\nBindToDevice = \"a\"",
            "ListenStream = 80\nBindToDevice = \"b\"",
            false,
        ),
        ("ListenStream = \"/run/x\"", "ListenStream = \"@x\"", false),
        ("ListenStream = \"vsock:2:80\"", "ListenStream = 80", false),
    ] {
        let text = socket("a", first) + &socket("b", second);
        let found = warnings(&text);
        assert_eq!(found.len(), usize::from(meet), "{text}: {found:?}");
    }
    let text = socket("a", "ListenStream = 80") + &socket("b", "ListenStream = 80");
    assert_eq!(
        warnings(&text),
        ["8:16: `a.socket` and `b.socket` both listen at the TCP port 80 (4: and here)"]
    );
    // What does not start listens to nothing.
    assert!(warnings(&text.replacen("true", "false", 1)).is_empty());
    let text = format!("{text}[services]\ndisable = [\"a.socket\"]\n");
    assert!(config_is_wrong(&text));
    // A unit that is text has its line.
    let text = "[units.\"a.socket\"]\nenable = true\ntext = '''\n[Socket]\nListenStream=80\nListenStream=0.0.0.0:80\n[Install]\nWantedBy=sockets.target\n'''\n";
    assert_eq!(
        warnings(text),
        ["6:1: `a.socket` listens twice at the TCP port 80 (5: and here)"]
    );
}

fn config_is_wrong(text: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elea.toml");
    fs::write(
        &path,
        format!("{text}\n[system]\nname = \"a\"\nversion = \"1\"\n"),
    )
    .unwrap();
    load(&path).is_err()
}

#[test]
fn servers_of_packages_meet_unless_they_are_told_otherwise() {
    let text = "packages.install = [\"apache2\", \"nginx\"]\n";
    assert_eq!(
        warnings(text),
        ["1:32: `apache2` and `nginx` both listen at the TCP port 80 (1: and here)"]
    );
    for more in [
        "services.disable = [\"nginx.service\"]\n",
        "files.\"/etc/apache2/ports.conf\".content = \"Listen 81\"\n",
    ] {
        assert!(warnings(&format!("{text}{more}")).is_empty(), "{more}");
    }
    let text = SSH.to_owned() + &socket("x", "ListenStream = 22");
    assert_eq!(
        warnings(&text),
        ["6:16: the ssh server and `x.socket` both listen at the TCP port 22 (2: and here)"]
    );
    assert!(warnings(&format!("ssh.port = 2222\n{text}")).is_empty());
}

#[test]
fn an_ssh_port_behind_the_firewall_is_seen() {
    for (firewall, closed) in [
        ("tcp = [80]", true),
        ("tcp = [\"20-30\"]", false),
        ("tcp = [2222]", true),
        ("policy = \"accept\"", false),
        ("trusted = [\"lan\"]", false),
        ("from = [{ source = \"10.0.0.0/8\", tcp = [22] }]", false),
        ("from = [{ source = \"10.0.0.0/8\" }]", false),
        ("from = [{ source = \"10.0.0.0/8\", udp = [22] }]", true),
        ("rules = \"# mine\"", false),
    ] {
        let found = warnings(&format!("{SSH}[firewall]\n{firewall}\n"));
        assert_eq!(found.len(), usize::from(closed), "{firewall}: {found:?}");
    }
    let text = format!("{SSH}[ssh]\nport = 2222\n[firewall]\ntcp = [22]\n");
    assert_eq!(
        warnings(&text),
        [
            "4:8: the firewall keeps the port of ssh, 2222, closed for everybody (6: nothing here opens it)"
        ]
    );
    // Files of the server's own may say anything.
    let text =
        format!("{SSH}files.\"/etc/ssh/sshd_config.d/x.conf\".content = \"Port 80\"\n[firewall]\n");
    assert!(warnings(&text).is_empty());
}

#[test]
fn who_can_come_in_is_looked_at() {
    let hash = "$6$salt$0123456789abcdefghijklmnopqrstuvwxyz";
    let install = "packages.install = [\"openssh-server\"]\n";
    let nobody = "1:21: the ssh server lets nobody in";
    for (text, expected) in [
        (String::new(), vec![nobody]),
        (format!("users.ada.password = \"{hash}\"\n"), vec![]),
        (
            format!("users.ada.password = \"{hash}\"\nssh.passwords = false\n"),
            vec![nobody],
        ),
        (format!("users.root.password = \"{hash}\"\n"), vec![nobody]),
        (
            format!("users.root.password = \"{hash}\"\nssh.root = \"yes\"\n"),
            vec![],
        ),
        (
            format!("users.ada.password = \"{hash}\"\nssh.allow_groups = [\"adm\"]\n"),
            vec![nobody],
        ),
        (
            format!("users.ada.password = \"{hash}\"\nssh.allow_users = [\"adda\"]\n"),
            vec![
                nobody,
                "3:20: `ssh.allow_users` lets in `adda`, who is no user of the config",
            ],
        ),
    ] {
        assert_eq!(warnings(&format!("{install}{text}")), expected, "{text}");
    }
}

#[test]
fn other_traps_are_seen() {
    for (text, expected) in [
        (
            "update.reference = \"registry:host/a:1\"",
            "1:20: machines follow `update.reference` and trust nobody who could sign it",
        ),
        (
            "health.units = [\"a.service\"]\nservices.disable = [\"a.service\"]",
            "1:17: `a.service` must be active after a boot, and is disabled (2: disabled)",
        ),
        (
            "mounts.\"/srv\".what = \"/dev/sdb1\"",
            "1:22: `/dev/sdb1` may be another device at the next boot",
        ),
        (
            "files.\"/usr/bin/x\".content = \"#!/bin/sh\"\n[timers.x]\ncalendar = \"daily\"\ncommand = [\"/usr/bin/x\", \"a\"]",
            "1:30: /usr/bin/x is started by `timers.x`, and nobody may run it (3: started here)",
        ),
    ] {
        assert_eq!(warnings(text), [expected], "{text}");
    }
    for text in [
        "update.reference = \"registry:host/a:1\"\nfiles.\"/etc/elea/trust.d/a.pub\".content = \"a\"",
        "mounts.\"/srv\".what = \"/dev/disk/by-label/x\"",
        "mounts.\"/srv\".what = \"LABEL=x\"",
        "files.\"/usr/bin/x\" = { content = \"#!/bin/sh\", mode = \"0755\" }\n[units.\"x.service\".Service]\nExecStart = \"-/usr/bin/x a\"",
    ] {
        assert!(warnings(text).is_empty(), "{text}");
    }
}
