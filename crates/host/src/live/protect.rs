//! Units that are never touched while people work, and what it takes instead.

use elea_formats::unit::{Kind, Name, Unit};
use serde::{Deserialize, Serialize};

/// What a change needs beyond the switch itself, the least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// Nothing.
    #[default]
    Nothing,
    /// The person logs out and in again.
    Relogin,
    /// All programs start anew under the kernel that runs (`systemctl soft-reboot`).
    SoftReboot,
    /// The machine restarts.
    Reboot,
}

impl Need {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }
}

/// Display managers: with them every graphical session ends.
const DISPLAY_MANAGERS: &[&str] = &[
    "display-manager",
    "gdm",
    "gdm3",
    "greetd",
    "lightdm",
    "lxdm",
    "ly",
    "plasmalogin",
    "sddm",
    "slim",
    "xdm",
];

/// What a changed unit needs instead of a restart, and why; nothing if it can be restarted.
/// `aliases` are other names of it, `own` says whether this program runs in it.
pub(super) fn needs(
    name: &Name,
    unit: Option<&Unit>,
    aliases: &[&str],
    own: bool,
) -> Option<(Need, &'static str)> {
    let any = |list: &[&str]| {
        let is = |n: &str| list.contains(&n.split('.').next().unwrap_or(n));
        is(name.as_str()) || aliases.iter().any(|alias| is(alias))
    };
    if any(&["dbus", "dbus-broker"]) {
        return Some((
            Need::SoftReboot,
            "every program that talks over the bus loses it",
        ));
    }
    if name.as_str() == "systemd-logind.service" {
        return Some((Need::SoftReboot, "all sessions hang on it"));
    }
    if name.kind() == Kind::Service && any(DISPLAY_MANAGERS) {
        return Some((Need::SoftReboot, "it would end every graphical session"));
    }
    match name.prefix() {
        "user" | "user-runtime-dir" if name.instance().is_some() => {
            return Some((Need::Relogin, "it would end the sessions of its user"));
        }
        "getty" | "serial-getty" | "console-getty" | "container-getty" | "autovt" => {
            return Some((Need::Relogin, "it would end the session on its console"));
        }
        _ => {}
    }
    if name.kind() == Kind::Mount
        && matches!(
            name.stem(),
            "-" | "usr" | "etc" | "var" | "sysroot" | "run" | "home" | "root"
        )
    {
        return Some((Need::Reboot, "programs use what is mounted there"));
    }
    if own {
        let oneshot = unit.is_some_and(|u| u.value("Service", "Type") == Some("oneshot"));
        return Some(if oneshot {
            (
                Need::Nothing,
                "this very program runs in it; its next start takes the change",
            )
        } else {
            (Need::Relogin, "this very program runs in it")
        });
    }
    None
}

/// Units that a machine talks to others through: they are restarted last, when nothing else can
/// fail any more.
pub(super) fn is_network(name: &str) -> bool {
    const STEMS: &[&str] = &[
        "NetworkManager",
        "connman",
        "dhcpcd",
        "firewalld",
        "ifup",
        "iwd",
        "netplan-wpa",
        "networking",
        "nftables",
        "ssh",
        "sshd",
        "systemd-networkd",
        "systemd-resolved",
        "tailscaled",
        "wg-quick",
        "wicked",
        "wpa_supplicant",
    ];
    let stem = name.split(['.', '@']).next().unwrap_or(name);
    STEMS.contains(&stem)
}
