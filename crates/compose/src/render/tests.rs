//! Whole configs, rendered; other programs judge what came out where they are there.

use super::{Rendered, render};
use crate::config::{self, Content};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SYSTEM: &str = "[system]\nname = \"a\"\nversion = \"1\"\n";

pub(super) fn rendered(text: &str) -> Rendered {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("elea.toml");
    fs::write(&path, format!("{text}{SYSTEM}")).unwrap();
    let config = config::load(&path).unwrap_or_else(|e| panic!("{e}"));
    // What is shown of it is a config again, which makes the same.
    let shown = toml::to_string(&config).unwrap();
    fs::write(&path, &shown).unwrap();
    let again = config::load(&path).unwrap_or_else(|e| panic!("{shown}\n{e}"));
    let (first, again) = (render(&config), render(&again));
    assert_eq!(first.files, again.files, "{shown}");
    first
}

pub(super) fn text(rendered: &Rendered, path: &str) -> String {
    match rendered.files.get(path).map(|made| &made.file.content) {
        Some(Content::Text(text)) => text.clone(),
        other => panic!("{path}: {other:?} in {:?}", rendered.files.keys()),
    }
}

/// Runs another program; none where there is none.
pub(super) fn oracle(program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(arguments).output().ok();
    if output.is_none() {
        println!("skipped: no {program}");
    }
    output
}

/// Lays texts into a folder.
pub(super) fn lay(rendered: &Rendered, folder: &Path) {
    for (path, made) in &rendered.files {
        let path = folder.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if let Content::Text(text) = &made.file.content {
            fs::write(path, text).unwrap();
        }
    }
}

/// Has systemd look at every unit that was rendered.
pub(super) fn verify(rendered: &Rendered) {
    let dir = tempfile::tempdir().unwrap();
    lay(rendered, dir.path());
    let folder = dir.path().join("etc/systemd/system");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let shown = path.display().to_string();
        let Some(output) = oracle("systemd-analyze", &["verify", "--man=no", &shown]) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        let of_ours: Vec<&str> = said
            .lines()
            .filter(|line| line.contains(&dir.path().display().to_string()))
            .collect();
        let text = fs::read_to_string(&path).unwrap();
        assert!(output.status.success(), "{said}\n{text}");
        assert!(of_ours.is_empty(), "{of_ours:?}\n{text}");
    }
}

const UNITS: &str = r#"
[units."web.service"]
enable = true
[units."web.service".Service]
ExecStart = "/bin/echo \\\n  --port 80"
ExecStartPre = ["/bin/true", "-/bin/false %n"]
Environment = ["A=1", "\"B=two words\""]
Restart = "on-failure"
RestartSec = 5
PrivateTmp = true
[units."web.service".Unit]
Description = "The web"
X-Mine = "x"
[units."web.socket".Socket]
ListenStream = 8080
[units."web.socket".Install]
WantedBy = "sockets.target"
[units."ssh.service"]
override = true
Service.Nice = 5
[units."late.path"]
enable = true
Path.PathExists = "/run/x"
Path.Unit = "web.service"
[units."all.target".Unit]
Wants = "web.service"
[units."a-b.slice".Slice]
MemoryMax = "1G"
[units."whole.service"]
enable = true
text = """
[Service]
ExecStart=/bin/true
[Install]
WantedBy=multi-user.target
"""
"#;

#[test]
fn units_are_as_systemd_reads_them() {
    let made = rendered(UNITS);
    assert_eq!(
        text(&made, "/etc/systemd/system/web.service"),
        "# From [units.\"web.service\"] of the config.

[Unit]
Description=The web
X-Mine=x

[Service]
Environment=A=1
Environment=\"B=two words\"
ExecStart=/bin/echo \\
  --port 80
ExecStartPre=/bin/true
ExecStartPre=-/bin/false %n
PrivateTmp=true
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"
    );
    let over = text(&made, "/etc/systemd/system/ssh.service.d/50-elea.conf");
    assert!(over.ends_with("\n[Service]\nNice=5\n"), "{over}");
    let path = text(&made, "/etc/systemd/system/late.path");
    assert!(
        path.ends_with("\n[Install]\nWantedBy=paths.target\n"),
        "{path}"
    );
    let units: Vec<&String> = made.units.keys().collect();
    assert_eq!(units, ["late.path", "web.service", "whole.service"]);
    verify(&made);
}

#[test]
fn what_units_read_is_a_drop_in_that_stays_the_same() {
    let made = rendered(
        "files.\"/etc/hello.conf\".content = \"1\"\n\
         [units.\"web.service\"]\nreload_on = [\"/etc/hello.conf\", \"/etc/hello.d/\"]\nrestart_on = [\"/etc/keys\"]\nService.ExecStart = \"/bin/true\"\n\
         [units.\"ssh.service\"]\nenable = true\nreload_on = [\"/etc/ssh\"]\n\
         [units.\"t@.service\"]\nenable = true\nrestart_on = [\"/etc/t\"]\n\
         [units.\"over.service\"]\noverride = true\nreload_on = [\"/etc/over\"]\nService.Nice = 5\n",
    );
    let read = |unit: &str| {
        text(
            &made,
            &format!("/etc/systemd/system/{unit}.d/60-elea-files.conf"),
        )
    };
    assert_eq!(
        read("web.service"),
        "# From [units.\"web.service\"] of the config.

[Unit]
X-Reload-On=/etc/hello.conf
X-Reload-On=/etc/hello.d/
X-Restart-On=/etc/keys
"
    );
    assert!(read("ssh.service").ends_with("[Unit]\nX-Reload-On=/etc/ssh\n"));
    assert!(read("over.service").ends_with("[Unit]\nX-Reload-On=/etc/over\n"));
    let over = text(&made, "/etc/systemd/system/over.service.d/50-elea.conf");
    assert!(over.ends_with("\n[Service]\nNice=5\n"), "{over}");
    // Of those of packages nothing else is written.
    let paths = ["t@.service", "ssh.service", "ssh.service.d/50-elea.conf"];
    for path in paths.map(|path| format!("/etc/systemd/system/{path}")) {
        assert!(!made.files.contains_key(&path), "{path}");
    }
    let units: Vec<&String> = made.units.keys().collect();
    assert_eq!(units, ["ssh.service", "t@.service"]);
    verify(&made);
}

#[test]
fn timers_are_a_service_and_a_timer() {
    let made = rendered(
        "[timers.tidy]\ncalendar = \"Sun 03:00\"\ncommand = [\"/bin/echo\", \"100%\", \"$HOME\", \"a b\"]\nuser = \"daemon\"\npersistent = true\ndelay = \"15min\"\n",
    );
    let service = text(&made, "/etc/systemd/system/tidy.service");
    assert!(
        service.ends_with("[Service]\nType=oneshot\nUser=daemon\nExecStart=\"/bin/echo\" \"100%%\" \"$$HOME\" \"a b\"\n"),
        "{service}"
    );
    let timer = text(&made, "/etc/systemd/system/tidy.timer");
    assert!(
        timer.ends_with("[Timer]\nOnCalendar=Sun 03:00\nPersistent=true\nRandomizedDelaySec=15min\n\n[Install]\nWantedBy=timers.target\n"),
        "{timer}"
    );
    assert_eq!(made.units.keys().collect::<Vec<_>>(), ["tidy.timer"]);
    verify(&made);
}

#[test]
fn the_kernel_is_told() {
    let made = rendered(
        "[sysctl]\n\"net.ipv4.ip_forward\" = true\n\"vm.swappiness\" = 10\n\"kernel.core_pattern\" = \"|/bin/false\"\n[kernel]\nmodules = [\"br_netfilter\"]\nblacklist = [\"pcspkr\"]\n[kernel.options.snd_hda_intel]\npower_save = 1\nmodel = \"auto\"\n",
    );
    let of = |path: &str| {
        let text = text(&made, path);
        text.split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(
        of("/etc/sysctl.d/60-elea.conf"),
        "kernel.core_pattern = |/bin/false\nnet.ipv4.ip_forward = 1\nvm.swappiness = 10\n"
    );
    assert_eq!(of("/etc/modules-load.d/60-elea.conf"), "br_netfilter\n");
    assert_eq!(
        of("/etc/modprobe.d/60-elea.conf"),
        "blacklist pcspkr\noptions snd_hda_intel model=auto power_save=1\n"
    );
    // kmod itself reads it.
    let dir = tempfile::tempdir().unwrap();
    lay(&made, dir.path());
    let folder = dir.path().join("etc/modprobe.d").display().to_string();
    if let Some(output) = oracle("modprobe", &["-C", &folder, "--showconfig"]) {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("blacklist pcspkr\n"), "{said}");
        assert!(
            said.contains("options snd_hda_intel model=auto power_save=1\n"),
            "{said}"
        );
    }
}

#[test]
fn tmpfiles_are_lines() {
    let made =
        rendered("[tmpfiles]\nlines = [\"d /run/web 0755 root root -\", \"L /run/l - - - - x\"]\n");
    let text = text(&made, "/etc/tmpfiles.d/60-elea.conf");
    assert_eq!(
        text,
        "# From [tmpfiles] of the config.\nd /run/web 0755 root root -\nL /run/l - - - - x\n"
    );
}

const NETWORK: &str = r#"
[packages]
install = ["systemd-resolved"]
[network.links.lan]
name = "en*"
addresses = ["192.0.2.5/24", "2001:db8::5/64"]
gateway = ["192.0.2.1"]
dns = ["192.0.2.1"]
domains = ["example.org", "~."]
mtu = 9000
routes = [{ destination = "198.51.100.0/24", gateway = "192.0.2.7", metric = 5 }]
[network.links.guests]
vlan = 10
on = "lan"
dhcp = "ipv4"
[network.links.br0]
bridge = ["port1"]
dhcp = "yes"
[network.links.port1]
mac = "52:54:00:12:34:56"
required = false
[network.links.bond0]
bond = ["enp7s0"]
bond_mode = "802.3ad"
[network.links.enp7s0]
"#;

#[test]
fn links_are_networkds() {
    let made = rendered(NETWORK);
    let of = |name: &str| {
        let text = text(&made, &format!("/etc/systemd/network/50-{name}"));
        text.split_once("\n\n").unwrap().1.to_owned()
    };
    assert_eq!(
        of("lan.network"),
        "[Match]
Name=en*

[Link]
MTUBytes=9000

[Network]
DHCP=no
Address=192.0.2.5/24
Address=2001:db8::5/64
Gateway=192.0.2.1
DNS=192.0.2.1
Domains=example.org ~.
VLAN=guests

[Route]
Destination=198.51.100.0/24
Gateway=192.0.2.7
Metric=5
"
    );
    assert_eq!(
        of("guests.netdev"),
        "[NetDev]\nName=guests\nKind=vlan\n\n[VLAN]\nId=10\n"
    );
    assert_eq!(
        of("guests.network"),
        "[Match]\nName=guests\n\n[Network]\nDHCP=ipv4\n"
    );
    assert_eq!(of("br0.netdev"), "[NetDev]\nName=br0\nKind=bridge\n");
    assert_eq!(
        of("port1.network"),
        "[Match]\nMACAddress=52:54:00:12:34:56\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=no\nBridge=br0\nLinkLocalAddressing=no\n"
    );
    assert_eq!(
        of("bond0.netdev"),
        "[NetDev]\nName=bond0\nKind=bond\n\n[Bond]\nMode=802.3ad\n"
    );
    assert!(of("enp7s0.network").contains("\nBond=bond0\n"));
    let units: Vec<&String> = made.units.keys().collect();
    assert_eq!(
        units,
        ["systemd-networkd.service", "systemd-resolved.service"]
    );
}

const FIREWALL: &str = r#"
[packages]
install = ["nftables"]
[firewall]
tcp = [22, "80-90", 85, "91", 443]
udp = ["5353"]
allow_ping = false
trusted = ["lo", "wg*"]
from = [{ source = "10.0.0.0/8", tcp = [5432] }, { source = "2001:db8::1" }]
rules = "table inet elea {\n\tchain input {\n\t\ttcp dport 9100 accept\n\t}\n}"
"#;

#[test]
fn a_firewall_is_a_ruleset() {
    let made = rendered(FIREWALL);
    let file = &made.files["/etc/nftables.conf"].file;
    let text = text(&made, "/etc/nftables.conf");
    assert_eq!(file.mode, 0o755);
    for rule in [
        "\ttcp dport { 22, 80-91, 443 } accept\n",
        "\tudp dport { 5353 } accept\n",
        "\tiifname \"wg*\" accept\n",
        "\tip saddr 10.0.0.0/8 tcp dport { 5432 } accept\n",
        "\tip6 saddr 2001:db8::1 accept\n",
        "priority filter; policy drop;",
    ] {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    assert!(!text.contains("echo-request"), "{text}");
    assert_eq!(made.units.keys().collect::<Vec<_>>(), ["nftables.service"]);
    let dir = tempfile::tempdir().unwrap();
    lay(&made, dir.path());
    let file = dir.path().join("etc/nftables.conf").display().to_string();
    if let Some(output) = oracle("nft", &["--check", "--file", &file]) {
        let said = String::from_utf8_lossy(&output.stderr);
        // It asks the kernel what is there.
        if said.contains("Operation not permitted") || said.contains("cache initialization failed")
        {
            println!("skipped: nft may not ask the kernel");
            return;
        }
        assert!(output.status.success(), "{said}\n{text}");
    }
}

const STORAGE: &str = r#"
[packages]
install = ["systemd-zram-generator"]
[mounts."/data/a b"]
what = "UUID=1234-5678"
type = "ext4"
options = ["noatime", "nodev"]
required = true
[mounts."/var/lib/share"]
what = "files.example.org:/srv/100%"
type = "nfs"
[mounts."/srv/slow"]
what = "/dev/disk/by-label/slow"
automount = true
idle = "10min"
[swap]
file = "/var/swap/file"
size = "2G"
device = "/dev/disk/by-label/swap"
zram = 50
"#;

#[test]
fn file_systems_are_units() {
    let made = rendered(STORAGE);
    let of = |name: &str| {
        let text = text(&made, &format!("/etc/systemd/system/{name}"));
        text.split_once("\n\n").unwrap().1.to_owned()
    };
    assert_eq!(
        of("data-a\\x20b.mount"),
        "[Unit]\nDescription=/data/a b\n\n[Mount]\nWhat=UUID=1234-5678\nWhere=/data/a b\nType=ext4\nOptions=noatime,nodev\n\n[Install]\nRequiredBy=local-fs.target\n"
    );
    let share = of("var-lib-share.mount");
    assert!(
        share.contains("What=files.example.org:/srv/100%%\n"),
        "{share}"
    );
    assert!(
        share.ends_with("\n[Install]\nWantedBy=remote-fs.target\n"),
        "{share}"
    );
    assert!(!of("srv-slow.mount").contains("[Install]"));
    let slow = of("srv-slow.automount");
    assert!(
        slow.contains("\nWhere=/srv/slow\nTimeoutIdleSec=10min\n"),
        "{slow}"
    );
    assert!(of("var-swap-file.swap").contains("\nAfter=elea-swapfile.service\n"));
    let folders: Vec<&String> = made
        .files
        .iter()
        .filter(|(_, made)| made.file.content == Content::Folder)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(folders, ["/data/a b"], "elsewhere systemd makes them");
    let units: Vec<&String> = made.units.keys().collect();
    let expected = [
        "data-a\\x20b.mount",
        "dev-disk-by\\x2dlabel-swap.swap",
        "srv-slow.automount",
        "var-lib-share.mount",
        "var-swap-file.swap",
    ];
    assert_eq!(units, expected);
    let said = rendered(
        "[mounts.\"/data\"]\nwhat = \"LABEL=x\"\n[files.\"/data\"]\ndirectory = true\nmode = \"0700\"\n",
    );
    assert!(!said.files.contains_key("/data"), "what `files` says of it");
    let zram = text(&made, "/etc/systemd/zram-generator.conf");
    assert!(
        zram.ends_with("[zram0]\nzram-size = ram * 50 / 100\n"),
        "{zram}"
    );
    verify(&made);
}

#[test]
fn the_ssh_server_is_told() {
    let made = rendered(
        "[packages]\ninstall = [\"openssh-server\"]\n[ssh]\nport = 2222\npasswords = false\nroot = \"keys\"\nallow_users = [\"ada\", \"bob\"]\n",
    );
    let said = text(&made, "/etc/ssh/sshd_config.d/40-config.conf");
    assert_eq!(
        said.split_once('\n').unwrap().1,
        "Port 2222\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nAllowUsers ada bob\n"
    );
    // The server wants a key of its own before it looks at the rest.
    let dir = tempfile::tempdir().unwrap();
    lay(&made, dir.path());
    let key = dir.path().join("key").display().to_string();
    oracle("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    let check = "mkdir /run/sshd && exec /usr/sbin/sshd -T -h /mnt/key -f /mnt/etc/ssh/sshd_config.d/40-config.conf";
    let root = elea_testkit::debian::root().filter(|root| root.join("usr/sbin/sshd").exists());
    if root.is_none() || !rustix::process::geteuid().is_root() {
        println!("skipped: no sshd of Debian 13, or not root");
    } else if let Some(root) = root {
        let mut command = elea_testkit::debian::enter(&root, dir.path());
        let output = command.args(["sh", "-c", check]).output().unwrap();
        let (said, errors) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(said);
        assert!(output.status.success(), "{errors}");
        for line in [
            "port 2222\n",
            "permitrootlogin without-password\n",
            "allowusers ada\n",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }
}

#[test]
fn upgrades_come_by_a_timer() {
    let update = "[update]\nreference = \"registry:example.org/a:1\"\n";
    assert!(rendered(update).files.is_empty());
    let made = rendered(&format!(
        "{update}automatic = true\nwindow = \"Sun 03:00\"\nreboot = true\n"
    ));
    let service = text(&made, "/etc/systemd/system/elea-upgrade.service");
    assert!(
        service.contains("\nExecStart=/usr/bin/elea upgrade --reboot\n"),
        "{service}"
    );
    let timer = text(&made, "/etc/systemd/system/elea-upgrade.timer");
    assert!(timer.contains("\nOnCalendar=Sun 03:00\n"), "{timer}");
    assert_eq!(
        made.units.keys().collect::<Vec<_>>(),
        ["elea-upgrade.timer"]
    );
}

#[test]
fn secrets_are_handed_to_their_units() {
    let dir = tempfile::tempdir().unwrap();
    let cred = "Whxqht+dQJax1aZeCGLxmiAAAAABAAAADAAAABAAAACeeFk6iy79dJUDSogAAAAA7zbCOwvldDwkrsBV2jQ5VtfhtDvsNsA21Aul8bCfutrskBiFIY/Z/eK2RA==";
    let file = dir.path().join("a.cred");
    fs::write(&file, cred).unwrap();
    let file = file.display();
    let made = rendered(&format!(
        "[secrets.a]\nfrom = \"{file}\"\nunits = [\"web.service\", \"web.socket\"]\n[secrets.b]\nfrom = \"{file}\"\nunits = [\"web.service\"]\n[units.\"web.service\"]\nService.ExecStart = \"/bin/true\"\n[units.\"web.socket\"]\nSocket.ListenStream = 80\n"
    ));
    let over = |unit: &str| {
        let path = format!("/etc/systemd/system/{unit}.d/60-elea-secrets.conf");
        text(&made, &path).split_once('\n').unwrap().1.to_owned()
    };
    assert_eq!(
        over("web.service"),
        "[Service]\nLoadCredentialEncrypted=a:/etc/credstore.encrypted/a\nLoadCredentialEncrypted=b:/etc/credstore.encrypted/b\n"
    );
    assert!(over("web.socket").starts_with("[Socket]\n"));
    let modes = ["", "/a", "/b"].map(|name| {
        let made = &made.files[&format!("/etc/credstore.encrypted{name}")];
        made.file.mode
    });
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    verify(&made);
}

#[test]
fn versions_of_state_are_looked_at_before_services_start() {
    let plain =
        "[state]\nmode = \"ephemeral\"\n[state.directories.\"/var/lib/a\"]\nmode = \"0700\"\n";
    assert!(rendered(plain).files.is_empty());
    let with = rendered(&format!(
        "{plain}[state.files.\"/etc/a\"]\nversion = 1\nhow = \"symlink\"\n"
    ));
    let path = "/etc/systemd/system/elea-state.service";
    let unit = text(&with, path);
    assert!(unit.contains("Before=sysinit.target\n"), "{unit}");
    assert_eq!(with.units["elea-state.service"], "state");
    // The program is not on the machine that builds: systemd would miss it.
    let mut judged = with;
    if let Some(made) = judged.files.get_mut(path) {
        made.file.content = Content::Text(unit.replace("/usr/bin/elea", "/bin/true"));
    }
    verify(&judged);
}
