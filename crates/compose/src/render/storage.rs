//! `[mounts]` and `[swap]`: units of systemd.

use super::Rendered;
use super::units::{FOLDER, command};
use crate::config::{Config, Content, Mount};
use std::fmt::Write as _;
use std::path::Path;

/// File systems over the network (systemd.mount(5)): they are mounted when it is there.
const REMOTE: [&str; 8] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "sshfs",
    "fuse.sshfs",
    "ceph",
    "9p",
];
/// Folders with the machine's state, or that are empty at each boot: systemd makes what is missing there.
const STATE: [&str; 7] = ["/var", "/home", "/root", "/srv", "/opt", "/run", "/tmp"];

pub(super) fn render(config: &Config, out: &mut Rendered) {
    for (path, mount) in &config.mounts {
        let key = format!("mounts.{path:?}");
        let name = escape(path);
        out.text(
            &key,
            format!("{FOLDER}/{name}.mount"),
            unit(&key, path, mount),
        );
        let starts = if mount.automount {
            "automount"
        } else {
            "mount"
        };
        if mount.automount {
            let mut text = format!(
                "# From [{key}] of the config.\n\n[Unit]\nDescription={} when it is used\n\n[Automount]\nWhere={}\n",
                plain(path),
                plain(path)
            );
            // Writing to a string does not fail.
            if let Some(idle) = &mount.idle {
                let _ = writeln!(text, "TimeoutIdleSec={idle}");
            }
            text += &install(mount);
            out.text(&key, format!("{FOLDER}/{name}.automount"), text);
        }
        out.start(&key, format!("{name}.{starts}"));
        let below = |folder: &str| Path::new(path).starts_with(folder);
        // `[files]` may say more of it.
        if !STATE.iter().any(|folder| below(folder)) && !config.files.contains_key(path) {
            out.content(&key, path, Content::Folder, 0o755);
        }
    }
    swap(config, out);
}

/// A value in which systemd replaces nothing.
fn plain(text: &str) -> String {
    text.replace('%', "%%")
}

fn unit(key: &str, path: &str, mount: &Mount) -> String {
    let mut text = format!(
        "# From [{key}] of the config.\n\n[Unit]\nDescription={}\n\n[Mount]\nWhat={}\nWhere={}\n",
        plain(path),
        plain(&mount.what),
        plain(path)
    );
    if let Some(kind) = &mount.r#type {
        let _ = writeln!(text, "Type={kind}");
    }
    if !mount.options.is_empty() {
        let _ = writeln!(text, "Options={}", plain(&mount.options.join(",")));
    }
    if !mount.automount {
        text += &install(mount);
    }
    text
}

fn install(mount: &Mount) -> String {
    let kind = mount.r#type.as_deref().unwrap_or_default();
    let remote = REMOTE.contains(&kind) || mount.options.iter().any(|option| option == "_netdev");
    let target = if remote && !mount.automount {
        "remote-fs.target"
    } else {
        "local-fs.target"
    };
    let how = if mount.required {
        "RequiredBy"
    } else {
        "WantedBy"
    };
    format!("\n[Install]\n{how}={target}\n")
}

/// A path as the name of a unit (systemd.unit(5), "String Escaping for Inclusion in Unit Names").
fn escape(path: &str) -> String {
    let mut name = String::new();
    for (number, byte) in path.trim_matches('/').bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if number == 0 => name.push_str("\\x2e"),
            b':' | b'_' | b'.' => name.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => name.push(char::from(byte)),
            byte => {
                let _ = write!(name, "\\x{byte:02x}");
            }
        }
    }
    name
}

fn swap(config: &Config, out: &mut Rendered) {
    let swap = &config.swap;
    if let (Some(file), Some(size)) = (&swap.file, &swap.size) {
        let key = "swap.file";
        let new = format!("{file}.new");
        // It gets its name when it is whole. On btrfs a swap file must not be copied on write.
        let steps: [&[&str]; 6] = [
            &["rm", "-f", &new],
            &["install", "-D", "-m", "600", "/dev/null", &new],
            &["chattr", "+C", &new],
            &["fallocate", "-l", size, &new],
            &["mkswap", &new],
            &["mv", &new, file],
        ];
        let mut text = format!(
            "# From [swap] of the config.\n\n[Unit]\nDescription=Make the swap file\nDefaultDependencies=no\nRequiresMountsFor={path}\nConditionPathExists=!{path}\nConflicts=shutdown.target\nBefore=shutdown.target\n\n[Service]\nType=oneshot\n",
            path = plain(file)
        );
        for step in steps {
            let words: Vec<String> = step.iter().map(|word| (*word).to_owned()).collect();
            let may_fail = if step[0] == "chattr" { "-" } else { "" };
            let _ = writeln!(text, "ExecStart={may_fail}{}", command(&words));
        }
        out.text(key, format!("{FOLDER}/elea-swapfile.service"), text);
        let after = "[Unit]\nRequires=elea-swapfile.service\nAfter=elea-swapfile.service\n\n";
        swap_unit(out, key, file, after);
    }
    if let Some(device) = &swap.device {
        swap_unit(out, "swap.device", device, "");
    }
    if let Some(percent) = swap.zram {
        let text =
            format!("# From [swap] of the config.\n[zram0]\nzram-size = ram * {percent} / 100\n");
        out.text("swap.zram", "/etc/systemd/zram-generator.conf", text);
    }
}

fn swap_unit(out: &mut Rendered, key: &str, path: &str, head: &str) {
    let name = escape(path);
    let text = format!(
        "# From [swap] of the config.\n\n{head}[Swap]\nWhat={}\n\n[Install]\nWantedBy=swap.target\n",
        plain(path)
    );
    out.text(key, format!("{FOLDER}/{name}.swap"), text);
    out.start(key, format!("{name}.swap"));
}

#[cfg(test)]
mod tests {
    use super::super::tests::oracle;
    use super::escape;

    #[test]
    fn paths_are_escaped_as_systemd_does() {
        for path in [
            "/srv/a b/ü-x",
            "/.x/y.z_A:b",
            "/data",
            "/a/.b",
            "/-",
            "/a%b\\c",
        ] {
            let Some(output) = oracle("systemd-escape", &["--path", "--", path]) else {
                return;
            };
            let expected = String::from_utf8(output.stdout).unwrap();
            assert_eq!(escape(path), expected.trim_end(), "{path}");
        }
    }
}
