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
