//! Options that several commands take.

use crate::context::Context;
use crate::failure::Outcome;
use crate::places;
use elea_compose::lock;
use elea_compose::preflight::Purpose;
use elea_host::choose;
use elea_net::{Options, Registries};
use elea_store::export::Compression;
use elea_store::trust::{Keys, Places, Policy, PublicKey, Rules};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The config where none is named.
pub(crate) const CONFIG: &str = "elea.toml";

/// How to talk to a registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Network {
    /// Use plain HTTP for a host that is not this machine
    #[arg(long)]
    pub(crate) plain_http: bool,
    /// Trust the certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Read credentials here instead of where podman and docker keep them
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
}

impl Network {
    pub(crate) fn options(&self) -> Outcome<Options> {
        Ok(Options {
            plain_http: self.plain_http,
            ca_file: self.ca_file.clone(),
            auth_file: self.auth_file.clone(),
            registries: Registries::of_user()?,
            ..Options::default()
        })
    }
}

/// How an image is written for others.
#[derive(Debug, clap::Args)]
pub(crate) struct Packing {
    /// How layers are packed: gzip, zstd or zstd:chunked [default: zstd:chunked for a registry, gzip for oci:]
    #[arg(long, value_name = "HOW", value_parser = parse_compression)]
    pub(crate) compression: Option<Compression>,
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    let found = Compression::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, how)| *how).ok_or_else(|| {
        let names = Compression::NAMES.map(|(name, _)| name).join(", ");
        format!("`{text}` is none of {names}")
    })
}

/// Whose images are taken.
#[derive(Debug, clap::Args)]
pub(crate) struct Trust {
    /// Trust this public key too (beside /etc/elea/trust.d)
    #[arg(long = "key", value_name = "PUB")]
    pub(crate) keys: Vec<PathBuf>,
    /// Take an image that no trusted key signed
    #[arg(long)]
    pub(crate) allow_unsigned: bool,
    /// Take a lower version or security epoch
    #[arg(long)]
    pub(crate) allow_downgrade: bool,
}

impl Trust {
    /// The keys of the command line alone.
    pub(crate) fn named(&self) -> Outcome<Vec<PublicKey>> {
        let keys = Keys::load(&[], &self.keys)?;
        Ok(keys.iter().map(|(_, key)| key.clone()).collect())
    }

    /// What the system below `root` trusts, and the keys of the command line.
    pub(crate) fn policy(&self, root: &Path) -> Outcome<Policy> {
        Ok(Policy {
            rules: Rules::of_system(&Places::below(root), &self.keys)?,
            allow_unsigned: self.allow_unsigned,
            allow_downgrade: self.allow_downgrade,
        })
    }
}

/// The size of a disk file that a build writes, in bytes; the root grows at the first boot.
pub(crate) const DISK: u64 = 8 << 30;

/// What a build takes beside its config.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Inputs {
    /// Take this specialisation of the config instead of the system itself
    #[arg(long, value_name = "NAME")]
    pub(crate) specialisation: Option<String>,
    /// Fetch and resolve nothing: the lock and the packages that are kept must do
    #[arg(long)]
    locked: bool,
    /// Take newer versions where the archives have them: of these packages and what they then need, or of all
    #[arg(long, value_name = "PKG", num_args = 0.., conflicts_with = "locked", value_parser = parse_package)]
    update: Option<Vec<String>>,
    /// Where fetched packages are kept [default: cache/packages beside the store]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Where the work is done, in some gigabytes [default: $TMPDIR or /var/tmp]
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// The program `elea` that goes into the image [default: this one]
    #[arg(long, value_name = "FILE")]
    elea: Option<PathBuf>,
    /// The static program `elea-initrd` [default: looked for beside this one]
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
}

impl Inputs {
    /// What is going to be done with the config.
    pub(crate) fn purpose(&self, builds: bool) -> Purpose<'_> {
        Purpose {
            special: self.specialisation.as_deref(),
            locked: self.locked,
            resolves: !self.locked,
            builds,
            room: None,
            kept: None,
        }
    }

    pub(crate) fn options(&self, context: &Context) -> Outcome<lock::Options> {
        let given = |path: &Option<PathBuf>, other: fn() -> Outcome<PathBuf>| match path {
            Some(path) => Ok(path.clone()),
            None => other(),
        };
        Ok(lock::Options {
            cache: self
                .cache
                .clone()
                .unwrap_or_else(|| lock::Options::cache_beside(&context.store_path())),
            work: self.work.clone().unwrap_or_else(places::scratch),
            locked: self.locked,
            update: match self.update.as_deref() {
                None => lock::Update::Keep,
                Some([]) => lock::Update::All,
                Some(names) => lock::Update::Only(names.to_vec()),
            },
            fresh: false,
            clock_ahead: std::time::Duration::ZERO,
            tools: None,
            elea: given(&self.elea, places::this_program)?,
            initrd: given(&self.initrd, places::initrd_program)?,
            specialisations: BTreeMap::new(),
        })
    }
}

/// The name of a package (Debian Policy 5.6.1).
pub(crate) fn parse_package(text: &str) -> Result<String, String> {
    let is_file = Path::new(text)
        .extension()
        .is_some_and(|e| e == "toml" || e == "json");
    if text.contains('/') || is_file {
        return Err(format!(
            "`{text}` is no package; the config's file goes before `--update`"
        ));
    }
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(inner)
    {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{text}` is no name of a package: small letters, digits, `+`, `-` and `.`"
    ))
}

/// How this machine is changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// Say what would be done and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    wait: Wait,
}

/// What is done while another command is at work.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// If another elea is at work, wait for it, at most this many seconds (without a number: an hour)
    #[arg(long = "wait", value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600")]
    seconds: Option<u64>,
}

impl Wait {
    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(0))
    }
}

impl Change {
    pub(crate) fn options(&self) -> choose::Options {
        choose::Options {
            dry_run: self.dry_run,
            wait: self.wait(),
        }
    }

    pub(crate) fn wait(&self) -> Duration {
        self.wait.time()
    }
}

/// What is done about the reboot that a change needs.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Restart {
    /// Reboot afterwards, if that is needed
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Exit with code 100 if a reboot is needed
    #[arg(long, conflicts_with = "reboot")]
    pub(crate) exit_reboot: bool,
}

/// A size in bytes: a number, with K, M, G or T behind it for powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size; write a number of bytes, or 512M, 8G, 1T");
    let plain = text
        .strip_suffix("iB")
        .or(text.strip_suffix('B'))
        .unwrap_or(text);
    let (digits, shift) = match plain.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&plain[..at], 10),
        Some((at, 'M' | 'm')) => (&plain[..at], 20),
        Some((at, 'G' | 'g')) => (&plain[..at], 30),
        Some((at, 'T' | 't')) => (&plain[..at], 40),
        _ => (plain, 0),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .filter(|&n| n > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_nonsense_is_not() {
        for (text, bytes) in [
            ("4096", 4096),
            ("512M", 512 << 20),
            ("8G", 8 << 30),
            ("8GiB", 8 << 30),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "G", "8X", "-1", "0", "1.5G", "99999999T", "8 G", "8GG"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
