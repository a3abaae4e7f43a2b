//! `/etc` and the drop-ins below `/usr/lib`: the system's own, then the config's files.

use super::Job;
use super::accounts::Numbers;
use super::tree::{ROOT, Tree};
use crate::config::{Content, Trust};
use crate::lock::Error;
use crate::render;
use elea_sys::At as _;

/// Files that every system has, and why.
const FILES: [(&str, &str); 6] = [
    // The root is mounted by the initrd; a line for `/` would only ask for a remount.
    (
        "etc/fstab",
        "# Elea mounts the root and the state; add other file systems here.\n",
    ),
    // No boot is a first boot for systemd. Where Elea booted the image, the machine's keys are
    // made by `elea agent boot`; elsewhere, in a container, they are made where sshd looks.
    (
        "usr/lib/systemd/system/sshd-keygen.service.d/10-elea.conf",
        "[Unit]\nConditionFirstBoot=\nConditionPathExists=!/run/elea/booted\n",
    ),
    // What these make is in the image; what they mark would be an edit of it.
    (
        "usr/lib/systemd/system/systemd-update-done.service.d/10-elea.conf",
        NOT_HERE,
    ),
    (
        "usr/lib/systemd/system/systemd-journal-catalog-update.service.d/10-elea.conf",
        NOT_HERE,
    ),
    (
        "usr/lib/systemd/system/ldconfig.service.d/10-elea.conf",
        NOT_HERE,
    ),
    ("etc/.updated", ""),
];

const NOT_HERE: &str = "[Unit]\nConditionPathExists=!/usr/lib/elea/release.json\n";

/// The files of the system itself.
pub(super) fn system(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let system = &job.config.system;
    for (path, text) in FILES {
        tree.put(path, text.as_bytes())?;
    }
    tree.put_as("etc/.pwd.lock", b"", 0o600, ROOT)?;
    // Empty, not `uninitialized`: no boot is a first boot.
    tree.put_as("etc/machine-id", b"", 0o444, ROOT)?;
    tree.put("etc/hostname", format!("{}\n", system.hostname).as_bytes())?;
    let hosts = format!(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{}\n\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        system.hostname
    );
    tree.put("etc/hosts", hosts.as_bytes())?;
    locale(job, tree)?;
    if tree.has("usr/lib/systemd/system/systemd-resolved.service") {
        tree.link("../run/systemd/resolve/stub-resolv.conf", "etc/resolv.conf")?;
    }
    trust(&job.config.trust, tree)
}

fn locale(job: &Job<'_>, tree: &mut Tree<'_>) -> Result<(), Error> {
    let system = &job.config.system;
    tree.put(
        "etc/locale.conf",
        format!("LANG={}\n", system.locale).as_bytes(),
    )?;
    tree.link("../locale.conf", "etc/default/locale")?;
    let zone = format!("usr/share/zoneinfo/{}", system.timezone);
    if tree.leads(&zone) {
        tree.link(&format!("../{zone}"), "etc/localtime")?;
        if tree.has("etc/timezone") {
            tree.put("etc/timezone", format!("{}\n", system.timezone).as_bytes())?;
        }
    } else if job.config.origin("system.timezone").is_some() {
        let what = format!(
            "the image does not know the time zone `{}`",
            system.timezone
        );
        let help = "check the name, and add \"tzdata\" to packages.install".to_owned();
        let wrong = vec![("system.timezone".into(), what, Some(help))];
        return Err(Error::Config(job.config.errors(wrong)));
    }
    Ok(())
}

/// Whom the image trusts.
pub(super) fn trust(trust: &Trust, tree: &mut Tree<'_>) -> Result<(), Error> {
    tree.folder("usr/lib/elea/trust.d", 0o755, ROOT)?;
    for path in &trust.keys {
        let pem = std::fs::read(path).at("read", path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let digest = elea_formats::digest::Sha256::of(&pem);
        let name = format!(
            "usr/lib/elea/trust.d/{stem}-{}.pub",
            &digest.to_string()[..8]
        );
        tree.put(&name, &pem)?;
    }
    if let Some(path) = &trust.policy {
        tree.put(
            "usr/lib/elea/trust.toml",
            &std::fs::read(path).at("read", path)?,
        )?;
    }
    Ok(())
}

/// The config's files.
pub(super) fn files(
    job: &Job<'_>,
    tree: &mut Tree<'_>,
    numbers: &Numbers<'_>,
) -> Result<(), Error> {
    let mut wrong = Vec::new();
    let rendered = render::render(job.config).files;
    let own = job
        .config
        .files
        .iter()
        .map(|(path, file)| (path, file, format!("files.{path:?}")));
    let made = rendered
        .iter()
        .map(|(path, made)| (path, &made.file, made.key.clone()));
    for (path, file, section) in own.chain(made) {
        let (user, group) = (numbers.user(&file.owner), numbers.group(&file.group));
        let (Some(user), Some(group)) = (user, group) else {
            let (key, kind, name) = if user.is_none() {
                ("owner", "user", &file.owner)
            } else {
                ("group", "group", &file.group)
            };
            let key = format!("{section}.{key}");
            wrong.push((key, format!("the image has no {kind} `{name}`"), None));
            continue;
        };
        let owner = (user, group);
        match &file.content {
            Content::Text(text) => tree.put_as(path, text.as_bytes(), file.mode, owner)?,
            Content::Copy(source) => {
                let content = std::fs::read(source).at("read", source)?;
                tree.put_as(path, &content, file.mode, owner)?;
            }
            Content::Link(target) => tree.link(target, path)?,
            Content::Folder => tree.folder(path, file.mode, owner)?,
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::Config(job.config.errors(wrong)))
    }
}
