//! A folder with everything that a demo or a scenario needs: keys, a store, releases, a registry.

use crate::programs::Programs;
use crate::{Result, packages, programs, show, talk, workspace};
use elea_testkit::key::{self, KeyPair};
use elea_testkit::registry::Registry;
use elea_testkit::{Error, free_port, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the third release is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// A check says no.
    Health,
    /// The kernel panics.
    Panic,
    /// The start never ends.
    Hang,
}

impl Break {
    /// The three of them.
    pub(crate) const ALL: [Self; 3] = [Self::Health, Self::Panic, Self::Hang];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Panic => "panic",
            Self::Hang => "hang",
        }
    }

    /// By its name.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::other(format!("`{name}` is none of health, panic, hang")))
    }
}

/// A release of the example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// 1.0, good.
    First,
    /// 2.0, good: a package, a file and a service more.
    Second,
    /// 3.0, bad.
    Third(Break),
    /// 4.0, good: `/etc` and `/var` are fresh at each boot.
    Ephemeral,
}

impl Release {
    /// The version that it has.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::First => "1.0",
            Self::Second => "2.0",
            Self::Third(_) => "3.0",
            Self::Ephemeral => "4.0",
        }
    }

    /// Its name in the store.
    pub(crate) fn name(self) -> String {
        format!("hello:{}", self.tag())
    }

    /// Its tag in the registry.
    pub(crate) fn tag(self) -> String {
        match self {
            Self::Third(kind) => format!("3.0-{}", kind.name()),
            Self::Ephemeral => "ephemeral".to_owned(),
            _ => self.version().to_owned(),
        }
    }

    /// Its config, from the workspace's folder.
    fn config(self) -> String {
        match self {
            Self::First => "examples/hello/elea.toml".to_owned(),
            _ => format!("examples/hello/{}.toml", self.tag()),
        }
    }
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Works {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// The programs.
    pub(crate) programs: Programs,
    /// The key pair that signs.
    pub(crate) signer: KeyPair,
    /// The key pair that logs in.
    pub(crate) login: KeyPair,
    /// The running registry.
    pub(crate) registry: Registry,
}

impl Works {
    /// Installs what is missing, builds the programs, makes the keys, starts the registry.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        packages::install(&[packages::DEMO])?;
        talk::note("building elea and elea-initrd");
        let programs = programs::build()?;
        fs::create_dir_all(folder)
            .map_err(|e| Error::other(format!("cannot create {}: {e}", folder.display())))?;
        let folder = folder
            .canonicalize()
            .map_err(|e| Error::other(format!("cannot enter {}: {e}", folder.display())))?;
        let signer = KeyPair {
            private: folder.join("signer.key"),
            public: folder.join("signer.pub"),
        };
        if !signer.public.exists() {
            let mut make = Command::new(&programs.elea);
            run(make.args(["image", "keygen"]).arg(folder.join("signer")))?;
        }
        Ok(Self {
            login: key::login(&folder.join("login"))?,
            registry: Registry::start(&folder.join("registry"), port(&folder)?)?,
            signer,
            programs,
            folder,
        })
    }

    /// The store that the releases are built in.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// `elea` with our store, in the workspace's folder.
    pub(crate) fn elea(&self, words: &[&str]) -> Command {
        self.elea_in(&self.store(), words)
    }

    fn elea_in(&self, store: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.elea);
        command.current_dir(workspace());
        command.arg("--store").arg(store).args(words);
        command
    }

    /// Shows an `elea` command and runs it with its progress.
    pub(crate) fn show_elea(&self, words: &[&str]) -> Result<()> {
        talk::prompt("$", &format!("elea {}", words.join(" ")));
        show(&mut self.elea(words))
    }

    /// What machines follow: one tag that each new release is pushed to.
    pub(crate) fn followed(&self) -> String {
        format!("registry:{}/hello:stable", self.registry.guest_host())
    }

    /// Whether a release is in the store.
    pub(crate) fn has(&self, release: Release) -> bool {
        run(&mut self.elea(&["image", "show", &release.name()])).is_ok()
    }

    /// Builds a release under its own name.
    pub(crate) fn build(&self, release: Release) -> Result<()> {
        let words = self.build_words(release)?;
        talk::prompt("$", &format!("cat {}", words[1]));
        talk::output(&fs::read_to_string(&words[1]).unwrap_or_default());
        self.show_elea(&words.each_ref().map(String::as_str))
    }

    /// The same, not run.
    pub(crate) fn build_command(&self, release: Release) -> Result<Command> {
        let words = self.build_words(release)?;
        Ok(self.elea(&words.each_ref().map(String::as_str)))
    }

    /// The config is the example's, with the key that was made here: a machine trusts the
    /// keys that its running image brings.
    fn build_words(&self, release: Release) -> Result<[String; 6]> {
        let path = self.folder.join(format!("hello-{}.toml", release.tag()));
        let text = format!(
            "imports = [\"{}\"]\n\n[trust]\nkeys = [\"{}\"]\n",
            workspace().join(release.config()).display(),
            self.signer.public.display()
        );
        fs::write(&path, text)
            .map_err(|e| Error::other(format!("cannot write {}: {e}", path.display())))?;
        Ok([
            "build".into(),
            path.display().to_string(),
            "--name".into(),
            release.name(),
            "--initrd".into(),
            self.programs.initrd.display().to_string(),
        ])
    }

    /// Pushes a release, signed, under its own tag and as what machines follow.
    pub(crate) fn publish(&self, release: Release) -> Result<()> {
        self.push(release, &release.tag())?;
        self.follow(release)
    }

    /// Makes a release the one that machines follow.
    pub(crate) fn follow(&self, release: Release) -> Result<()> {
        self.push(release, "stable")
    }

    fn push(&self, release: Release, tag: &str) -> Result<()> {
        let name = release.name();
        let key = self.signer.private.display().to_string();
        let place = format!("registry:{}/hello:{tag}", self.registry.host());
        self.show_elea(&["image", "push", &name, &place, "--sign", &key])
    }

    /// Installs a release to a disk file, by a store of its own: whoever installs has only
    /// what the registry gives.
    pub(crate) fn install(&self, release: Release, disk: &Path, more: &[&str]) -> Result<()> {
        let _ = fs::remove_file(disk);
        let image = format!("registry:{}/hello:{}", self.registry.host(), release.tag());
        let (disk, key) = (
            disk.display().to_string(),
            self.signer.public.display().to_string(),
        );
        let followed = self.followed();
        let mut words = vec![
            "install", "--image", &image, "--disk", &disk, "--size", "8G",
        ];
        words.extend(["--key", &key, "--follow", &followed, "--plain-http"]);
        words.extend(more);
        talk::prompt("$", &format!("elea {}", words.join(" ")));
        show(&mut self.elea_in(&self.installer(), &words))
    }

    /// The store of the machine that installs.
    pub(crate) fn installer(&self) -> PathBuf {
        self.folder.join("installer")
    }
}

/// The registry's port: machines that were installed before follow it, so it stays.
fn port(folder: &Path) -> Result<u16> {
    let file = folder.join("port");
    if let Some(port) = fs::read_to_string(&file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
    {
        return Ok(port);
    }
    let port = free_port()?;
    fs::write(&file, format!("{port}\n"))
        .map_err(|e| Error::other(format!("cannot write {}: {e}", file.display())))?;
    Ok(port)
}
