//! What every command has: the global options, the store, the terminal.

use crate::bars::Bars;
use crate::failure::{Code, Failure, Outcome};
use crate::options::Restart;
use crate::text;
use elea_compose::config::{Config, Finding, Findings};
use elea_compose::lock;
use elea_compose::preflight::{Purpose, preflight};
use elea_formats::digest::{Algorithm, Digest};
use elea_host::Machine;
use elea_host::choose::Changed;
use elea_store::Store;
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The options that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The store [default: /elea/store, for an ordinary user ~/.local/share/elea/store]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "ELEA_STORE",
        hide_env = true
    )]
    pub(crate) store: Option<PathBuf>,
    /// Act on the system whose root is here
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(crate) root: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Answer every question with yes
    #[arg(long, short, global = true)]
    pub(crate) yes: bool,
}

/// What a command runs in.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// What was found in the config that was read, for what is printed as JSON.
    warnings: Mutex<Findings>,
}

/// A value, and the warnings of the config that it is about.
#[derive(Serialize)]
struct Warned<'a, T> {
    #[serde(flatten)]
    value: &'a T,
    warnings: &'a [Finding],
}

impl Context {
    pub(crate) fn new(global: Global, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            global,
            cancelled,
            warnings: Mutex::default(),
        }
    }

    /// The store's folder.
    pub(crate) fn store_path(&self) -> PathBuf {
        if let Some(path) = &self.global.store {
            return path.clone();
        }
        if rustix::process::geteuid().is_root() {
            return self.global.root.join("elea/store");
        }
        let data = std::env::var_os("XDG_DATA_HOME").map_or_else(
            || {
                let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
                Path::new(&home).join(".local/share")
            },
            PathBuf::from,
        );
        data.join("elea/store")
    }

    /// The store, which must exist.
    pub(crate) fn store(&self) -> Outcome<Store> {
        let path = self.store_path();
        Store::open(&path).map_err(|e| {
            let failure = Failure::from(e);
            if path.exists() {
                failure
            } else {
                failure.hint("`elea store init` makes one; `--store DIR` names another")
            }
        })
    }

    /// What the store names objects by; SHA-256 if there is none yet.
    pub(crate) fn algorithm(&self) -> Algorithm {
        let store = Store::open(&self.store_path());
        store.map_or_else(|_| Algorithm::default(), |store| store.algorithm())
    }

    /// A listener for long work.
    pub(crate) fn bars(&self) -> Bars {
        Bars::new(self.global.quiet, Arc::clone(&self.cancelled))
    }

    /// Prints a value: as JSON if that was asked for, with the warnings of the config if it has any, else as `text` says it.
    pub(crate) fn show<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Outcome {
        let out = if self.global.json {
            let warnings = self.warnings();
            let mut out = match warnings.warnings() {
                [] => serde_json::to_string_pretty(value)?,
                warnings => serde_json::to_string_pretty(&Warned { value, warnings })?,
            };
            out.push('\n');
            out
        } else {
            text(value)
        };
        print(out.as_bytes())?;
        Ok(Code::Done)
    }

    /// The machine that the root is of. `by` is what its log and those who wait are told.
    pub(crate) fn machine(&self, by: &str) -> Outcome<Machine> {
        Self::need_root(&format!("`{by}`"))?;
        Ok(Machine::open(&self.global.root, by)?)
    }

    /// Prints a change of what boots, and sees to the reboot that it needs.
    pub(crate) fn changed(&self, changed: &Changed, restart: &Restart) -> Outcome {
        self.show(changed, |c| {
            let would = if c.dry_run { "would " } else { "" };
            format!("{would}{}\n", c.what)
        })?;
        self.restart(changed.reboot && !changed.dry_run, restart)
    }

    /// Reboots, or says that it is needed, as was asked for.
    pub(crate) fn restart(&self, needed: bool, restart: &Restart) -> Outcome {
        if !needed {
            return Ok(Code::Done);
        }
        let elsewhere = self.global.root != Path::new("/");
        if elsewhere && !restart.exit_reboot {
            // It is not this machine that would have to reboot.
            self.say("it takes effect when that system boots");
        } else if restart.reboot {
            self.say("rebooting");
            if !elea_host::reboot() {
                return Err(
                    Failure::new(Code::Failed, "systemd did not take the order to reboot")
                        .hint("reboot by hand; everything is ready for it"),
                );
            }
        } else if restart.exit_reboot {
            return Ok(Code::Reboot);
        } else {
            self.say("it takes effect at the next reboot");
        }
        Ok(Code::Done)
    }

    /// A config, with every error of it at once; its warnings are shown.
    pub(crate) fn config(&self, path: &Path) -> Outcome<Config> {
        let config = elea_compose::config::load(path).map_err(|e| self.config_errors(&e))?;
        self.config_warnings(&config.warnings);
        Ok(config)
    }

    /// A config, with everything that is wrong with it and with what goes with it (its units, its lock) at once.
    /// `more` is what the command itself found.
    pub(crate) fn checked_config(
        &self,
        path: &Path,
        purpose: Purpose<'_>,
        more: Findings,
    ) -> Outcome<Config> {
        let cache = lock::Options::cache_beside(&self.store_path());
        let kept = cache.with_file_name("units");
        let purpose = Purpose {
            kept: purpose.builds.then_some(&kept),
            ..purpose
        };
        let found = match preflight(path, purpose) {
            Ok(config) if more.errors().is_empty() => {
                self.config_warnings(&config.warnings);
                return Ok(config);
            }
            Ok(config) => config.warnings,
            Err(found) => found,
        };
        Err(self.config_errors(&found.and(more)))
    }

    /// Warnings of a config: drawn with their lines, or kept for the JSON that comes.
    pub(crate) fn config_warnings(&self, found: &Findings) {
        if !found.warnings().is_empty() && !self.global.json {
            let colours = std::io::stderr().is_terminal();
            self.say(&format!("{}\n", found.render(colours)));
        }
        let mut known = self.warnings();
        *known = std::mem::take(&mut *known).and(found.clone());
    }

    fn warnings(&self) -> MutexGuard<'_, Findings> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Errors of a config: drawn with their lines, or as JSON.
    pub(crate) fn config_errors(&self, errors: &Findings) -> Failure {
        if self.global.json {
            let all = std::mem::take(&mut *self.warnings()).and(errors.clone());
            // Data, which belongs to stdout; a reader that went away changes nothing.
            let _ = print(format!("{}\n", all.to_json()).as_bytes());
        } else {
            let colours = std::io::stderr().is_terminal();
            let _ = writeln!(std::io::stderr(), "{}\n", errors.render(colours));
        }
        let number = text::count(errors.errors().len() as u64, "error");
        Failure::new(
            Code::Config,
            format!("the config has {number}; nothing was done"),
        )
    }

    /// Errors of a lock or a build: those of the config are drawn with their lines.
    pub(crate) fn build_error(&self, error: elea_compose::lock::Error) -> Failure {
        match error {
            elea_compose::lock::Error::Config(errors) => self.config_errors(&errors),
            gone @ elea_compose::lock::Error::Gone { .. } => {
                Failure::new(Code::Config, text::plain(&gone.to_string()))
            }
            other => Failure::from(other),
        }
    }

    /// A line for the person, on stderr.
    pub(crate) fn say(&self, line: &str) {
        if !self.global.quiet {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    /// Whether the store is the one of the machine below the root; a machine's store that is named by
    /// `--store` is refused, since its generations need what no name keeps.
    fn is_machines(&self) -> Outcome<bool> {
        let path = self.store_path();
        if !path.join("../generations").is_dir() {
            return Ok(false);
        }
        if self.global.store.is_none() {
            return Ok(true);
        }
        let text = format!(
            "{} is the store of a machine, whose generations need it",
            path.display()
        );
        Err(Failure::new(Code::Usage, text)
            .hint("leave `--store` out; `--root DIR` names the machine if it is not this one"))
    }

    /// The machine whose store this is, if it is one's.
    pub(crate) fn machine_of_store(&self, by: &str) -> Outcome<Option<Machine>> {
        Ok(if self.is_machines()? {
            Some(self.machine(by)?)
        } else {
            None
        })
    }

    /// The store for a command that changes names. A machine's is written to from a place where it
    /// can be.
    pub(crate) fn store_to_change(&self, by: &str) -> Outcome<Store> {
        Ok(self.store_and_roots(by)?.0)
    }

    /// The store for a command that adds to it, made if it is absent.
    pub(crate) fn store_or_new(&self, by: &str) -> Outcome<Store> {
        if self.is_machines()? {
            return Ok(self.machine(by)?.store()?);
        }
        Ok(Store::open_or_init(&self.store_path())?)
    }

    /// The store for a command that removes from it, and the images that no name keeps but
    /// a machine's generations do.
    pub(crate) fn store_and_roots(&self, by: &str) -> Outcome<(Store, Vec<Digest>)> {
        if !self.is_machines()? {
            return Ok((self.store()?, Vec::new()));
        }
        let machine = self.machine(by)?;
        Ok((machine.store()?, machine.roots()?))
    }

    /// Asks before something that cannot be undone. Without a terminal the answer is no.
    pub(crate) fn confirm(&self, question: &str) -> Outcome<()> {
        if self.global.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(
                Code::Usage,
                format!("{question} There is no terminal to answer on"),
            )
            .hint("add `--yes` to answer yes beforehand"));
        }
        let _ = write!(std::io::stderr(), "{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if matches!(answer.trim(), "y" | "Y" | "yes") {
            Ok(())
        } else {
            Err(Failure::new(
                Code::Failed,
                "not confirmed; nothing was changed",
            ))
        }
    }

    /// Refuses at once where only root can do the work.
    pub(crate) fn need_root(what: &str) -> Outcome<()> {
        if rustix::process::geteuid().is_root() {
            Ok(())
        } else {
            Err(Failure::new(Code::Failed, format!("{what} needs root"))
                .hint("run it again with sudo"))
        }
    }
}

/// Data to stdout. A reader that went away (`| head`) is no error.
pub(crate) fn print(data: &[u8]) -> Outcome<()> {
    let mut out = Stdout::default();
    let written = out.write_all(data);
    if out.left_alone {
        return Ok(());
    }
    Ok(written?)
}

/// Stdout, and whether its reader went away.
#[derive(Debug, Default)]
pub(crate) struct Stdout {
    pub(crate) left_alone: bool,
}

impl std::io::Write for Stdout {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        let written = std::io::stdout().lock().write(data);
        if let Err(e) = &written
            && e.kind() == std::io::ErrorKind::BrokenPipe
        {
            self.left_alone = true;
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stdout().lock().flush()
    }
}
