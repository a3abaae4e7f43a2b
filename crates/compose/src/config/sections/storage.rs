//! `[mounts."/path"]` and `[swap]`.

use super::super::reader::{Fields, Located, Reader};
use super::super::{Packages, check};
use super::{units, values};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// `[mounts."/path"]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// What is mounted: a device, `UUID=…`, `LABEL=…`, `HOST:/path`.
    pub what: String,
    /// The file system; none lets the kernel find out.
    pub r#type: Option<String>,
    /// Options of mount(8).
    pub options: Vec<String>,
    /// Whether it is mounted when it is first used.
    pub automount: bool,
    /// How long it stays mounted unused, if it is mounted on use.
    pub idle: Option<String>,
    /// Whether a boot without it has failed.
    pub required: bool,
}

/// `[swap]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swap {
    /// A file that is made where it is absent.
    pub file: Option<String>,
    /// Its size: `2G`.
    pub size: Option<String>,
    /// A device that is there.
    pub device: Option<String>,
    /// Compressed memory, in percent of the machine's.
    pub zram: Option<u64>,
}

/// Where Elea mounts, or the system itself is, with all that is below; and where alone.
const TAKEN: [&str; 9] = [
    "/boot", "/dev", "/efi", "/elea", "/etc", "/proc", "/sys", "/sysroot", "/usr",
];

/// Reads `[mounts]`.
pub(super) fn mounts(reader: &mut Reader, top: &mut Fields) -> BTreeMap<String, Mount> {
    let mut out = BTreeMap::new();
    for (path, mut fields) in reader.tables(top, "mounts") {
        let mount = mount(reader, &mut fields);
        reader.finish(&fields);
        let at = path.at;
        let fits: fn(&str) -> bool = |text| check::path(text) && units::value(text);
        let rule = "an absolute path without `.` and `..`";
        let Some(Located { value: path, .. }) = reader.check("mounts", path, fits, rule) else {
            continue;
        };
        let below = |folder: &str| Path::new(&path).starts_with(folder);
        if TAKEN.iter().any(|folder| below(folder)) || path == "/var" {
            let what = format!("nothing can be mounted at {path}");
            reader.problem(Some(at), what, "the system itself is there", None);
        } else if let Some(mount) = mount {
            out.insert(path, mount);
        }
    }
    out
}

fn mount(reader: &mut Reader, f: &mut Fields) -> Option<Mount> {
    let fits: fn(&str) -> bool =
        |text| !text.is_empty() && check::line(text) && units::value(text) && text.trim() == text;
    let what = reader.checked(f, "what", fits, "a device, UUID=…, LABEL=… or HOST:/path");
    let what = reader.needed(what, f, "what", "\"/dev/disk/by-label/data\"");
    let word: fn(&str) -> bool = |text| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !text.is_empty() && text.len() <= 64 && text.chars().all(good)
    };
    let kind = reader.checked(f, "type", word, "a file system such as ext4");
    let option: fn(&str) -> bool = |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "\\\"',".contains(c);
        !text.is_empty() && text.len() <= 1024 && !text.contains(bad)
    };
    let options = reader.checked_list(f, "options", option, "one option of mount(8)");
    let automount = reader.boolean(f, "automount").unwrap_or(false);
    let idle = reader.checked(
        f,
        "idle",
        check::times::span,
        "a span of time, such as 10min",
    );
    if let Some(idle) = idle.as_ref().filter(|_| !automount) {
        let what = format!("`{}` is of what is mounted on use", f.full("idle"));
        let help = "add `automount = true`".to_owned();
        reader.problem(Some(idle.at), what, "means nothing here", Some(help));
    }
    let required = reader.boolean(f, "required").unwrap_or(false);
    Some(Mount {
        what: what?.value,
        r#type: kind.map(|l| l.value),
        options: values(options),
        automount,
        idle: idle.map(|l| l.value),
        required,
    })
}

/// Reads `[swap]`.
pub(super) fn swap(reader: &mut Reader, top: &mut Fields, packages: &Packages) -> Swap {
    let mut fields = reader.table(top, "swap");
    let f = &mut fields;
    let file: fn(&str) -> bool = |text| {
        let good = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        check::path(text) && text.starts_with("/var/") && text.chars().all(good)
    };
    let file = reader.checked(
        f,
        "file",
        file,
        "a path below /var of letters, digits and `/._-`",
    );
    let size: fn(&str) -> bool = |text| {
        let number = text.strip_suffix(['M', 'G', 'T']).unwrap_or_default();
        let digits = number.chars().all(|c| c.is_ascii_digit());
        digits && !number.starts_with('0') && (1..=6).contains(&number.len())
    };
    let size = reader.checked(f, "size", size, "such as 512M or 2G");
    match (&file, &size) {
        (Some(l), None) if !f.was_there("size") => {
            let help = "add `size = \"2G\"`".to_owned();
            reader.problem(
                Some(l.at),
                "`swap.size` is missing",
                "of this file",
                Some(help),
            );
        }
        (None, Some(l)) if !f.was_there("file") => {
            let help = "add `file = \"/var/swapfile\"`".to_owned();
            reader.problem(
                Some(l.at),
                "`swap.file` is missing",
                "of this size",
                Some(help),
            );
        }
        _ => {}
    }
    let device: fn(&str) -> bool =
        |text| check::path(text) && units::value(text) && text.starts_with("/dev/");
    let device = reader.checked(f, "device", device, "a path below /dev");
    let zram = reader.number(f, "zram", 1..=400);
    let package = "systemd-zram-generator";
    if let Some(zram) = zram
        .as_ref()
        .filter(|_| !packages.install.iter().any(|p| p == package))
    {
        let what = format!("`swap.zram` needs the package `{package}`");
        let help = format!("add \"{package}\" to packages.install");
        reader.problem(Some(zram.at), what, "asked for here", Some(help));
    }
    reader.finish(&fields);
    Swap {
        file: file.map(|l| l.value),
        size: size.map(|l| l.value),
        device: device.map(|l| l.value),
        zram: zram.map(|n| n.value),
    }
}
