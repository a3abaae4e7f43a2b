//! What a name, a version or a path may look like.

pub(super) mod times;
pub(super) mod tmpfiles;

use std::net::IpAddr;

/// A system's name: as registries, file names and boot menus all bear it.
pub(super) fn system_name(text: &str) -> bool {
    bounded(text, 63)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
}

/// A version (UAPI.10): letters, digits and `.-~^+`.
pub(super) fn version(text: &str) -> bool {
    bounded(text, 64)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-~^+".contains(c))
}

/// A host name (hostname(7)): labels of letters, digits and dashes, 64 bytes in all.
pub(super) fn hostname(text: &str) -> bool {
    bounded(text, 64) && text.split('.').all(label)
}

/// A part of a host's or a domain's name between two dots.
pub(super) fn label(label: &str) -> bool {
    bounded(label, 63)
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

/// An IP address.
pub(super) fn address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An IP address with the length of its prefix.
pub(super) fn prefixed(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.len() <= 3
            && length.chars().all(|c| c.is_ascii_digit())
            && length.parse::<u8>().is_ok_and(|length| length <= most)
    })
}

/// A package's name (Debian policy 5.6.1).
pub(super) fn package(text: &str) -> bool {
    text.len() >= 2
        && bounded(text, 128)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c))
}

/// A package's version (Debian policy 5.6.12).
pub(super) fn package_version(text: &str) -> bool {
    bounded(text, 128)
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c))
}

/// A suite or component, as it stands in a sources list.
pub(super) fn suite(text: &str) -> bool {
    bounded(text, 64)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".-_/".contains(c))
        && !text.contains("..")
}

/// An account's name (useradd(8)).
pub(super) fn account(text: &str) -> bool {
    bounded(text, 32)
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// The types of units (systemd.unit(5)) that can be enabled.
const UNIT_TYPES: [&str; 8] = [
    ".service",
    ".socket",
    ".target",
    ".timer",
    ".path",
    ".mount",
    ".automount",
    ".swap",
];

/// A unit's name with its type.
pub(super) fn unit(text: &str) -> bool {
    let name = UNIT_TYPES.iter().find_map(|end| text.strip_suffix(end));
    bounded(text, 255) && name.is_some_and(unit_stem)
}

/// A unit's name before its type.
pub(super) fn unit_stem(name: &str) -> bool {
    bounded(name, 255)
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c))
}

/// What a config of another program takes as one line.
pub(super) fn line(text: &str) -> bool {
    text.len() <= 64 << 10 && !text.chars().any(|c| c.is_control() && c != '\t')
}

/// The text of a file of lines.
pub(super) fn text(text: &str) -> bool {
    text.split('\n').all(line)
}

/// A path in the image: absolute, without `.`, `..`, empty names or control characters.
pub(super) fn path(text: &str) -> bool {
    text.len() > 1
        && text.len() <= 4095
        && text.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|name| {
                !matches!(name, "" | "." | "..")
                    && name.len() <= 255
                    && !name.chars().any(char::is_control)
            })
        })
}

/// Folders whose content an image does not have, and why.
pub(super) fn outside(path: &str) -> Option<&'static str> {
    const REASONS: [(&str, &str); 11] = [
        ("/boot", "boot files are made from the kernel"),
        ("/dev", "the kernel fills it at each boot"),
        ("/efi", "the EFI system partition is mounted there"),
        ("/elea", "Elea's store is there"),
        ("/home", "it is the machine's state, not part of a release"),
        ("/proc", "the kernel fills it at each boot"),
        ("/root", "it is the machine's state, not part of a release"),
        ("/run", "it is empty at each boot; see tmpfiles.d(5)"),
        ("/sys", "the kernel fills it at each boot"),
        ("/sysroot", "the physical root is mounted there"),
        ("/tmp", "it is empty at each boot; see tmpfiles.d(5)"),
    ];
    REASONS
        .iter()
        .find(|(folder, _)| {
            path.strip_prefix(folder)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .map(|(_, why)| *why)
}

/// A mode in octal: `0644`.
pub(super) fn mode(text: &str) -> Option<u32> {
    let octal = (3..=5).contains(&text.len()) && text.chars().all(|c| ('0'..='7').contains(&c));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| octal && *mode <= 0o7777)
}

/// A line of `authorized_keys` without options (sshd(8)): type, key, comment.
pub(super) fn ssh_key(text: &str) -> bool {
    const TYPES: [&str; 8] = [
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-dss",
    ];
    let mut words = text.split(' ');
    let kind = words.next().is_some_and(|kind| TYPES.contains(&kind));
    let key = words.next().is_some_and(|key| {
        key.len() >= 40
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
    });
    kind && key && text.len() <= 16_384 && !text.chars().any(char::is_control)
}

/// A password's hash (crypt(5)), or a mark that no password fits.
pub(super) fn password(text: &str) -> bool {
    let hash = text.starts_with('$') && text.matches('$').count() >= 3 && text.len() > 20;
    (hash || matches!(text, "!" | "*" | "!*"))
        && !text.contains(':')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn bounded(text: &str, most: usize) -> bool {
    !text.is_empty() && text.len() <= most
}
