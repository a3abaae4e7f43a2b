//! The packages of a home: which ones exactly, and the profile of them.

use crate::bars::Bars;
use crate::context::Context;
use crate::failure::Outcome;
use crate::{options, places};
use elea_compose::config::home::OneHome;
use elea_compose::lock::{self, Lock};
use elea_compose::profile;
use elea_formats::digest::Sha256;
use elea_host::home::{Error, Home};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which versions of packages are taken.
#[derive(Debug, clap::Args)]
pub(super) struct Locking {
    /// Fetch and resolve nothing: the lock and the packages that are kept must do
    #[arg(long)]
    locked: bool,
    /// Take newer versions where the archives have them: of these packages and what they then need, or of all
    #[arg(long, value_name = "PKG", num_args = 0.., conflicts_with = "locked", value_parser = options::parse_package)]
    update: Option<Vec<String>>,
    /// Where fetched packages are kept [default: with the generations, until none has them]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// What they are made from.
pub(super) struct Packages<'a> {
    one: &'a OneHome,
    lock: PathBuf,
    options: lock::Options,
    bars: Bars,
    home: &'a Home,
    locking: &'a Locking,
    context: &'a Context,
}

impl<'a> Packages<'a> {
    pub(super) fn new(
        one: &'a OneHome,
        config: &Path,
        own: &Path,
        locking: &'a Locking,
        home: &'a Home,
        context: &'a Context,
    ) -> Outcome<Self> {
        Ok(Self {
            one,
            lock: profile::lock_path(config, &one.user, own),
            options: lock::Options {
                cache: PathBuf::new(),
                work: places::scratch(),
                locked: locking.locked,
                update: match locking.update.as_deref() {
                    None => lock::Update::Keep,
                    Some([]) => lock::Update::All,
                    Some(names) => lock::Update::Only(names.to_vec()),
                },
                fresh: false,
                clock_ahead: std::time::Duration::ZERO,
                tools: None,
                elea: places::this_program()?,
                initrd: PathBuf::new(),
                specialisations: BTreeMap::new(),
            },
            bars: context.bars(),
            home,
            locking,
            context,
        })
    }

    /// The profile that the lock means, if there is a lock and nothing is to move.
    pub(super) fn current(&self) -> Outcome<Option<Sha256>> {
        if self.options.update != lock::Update::Keep {
            return Ok(None);
        }
        let lock = profile::current(self.one, &self.lock)?;
        Ok(lock.map(|lock| self.key(&lock)))
    }

    pub(super) fn key(&self, lock: &Lock) -> Sha256 {
        profile::key(self.one, lock)
    }

    /// Asks archives if need be, and writes the lock.
    pub(super) fn resolve(&self) -> Outcome<Lock> {
        let options = self.options()?;
        let kept = self.home.tools();
        let lock = profile::resolve(self.one, &self.lock, &kept, &options, &self.bars);
        let lock = lock.map_err(|e| self.context.build_error(e))?;
        profile::save(&self.lock, &lock)?;
        Ok(lock)
    }

    /// Makes the profile.
    pub(super) fn make(&self, lock: &Lock, folder: &Path) -> Result<(), Error> {
        let options = self.options()?;
        let kept = self.home.tools();
        profile::make(self.one, lock, folder, &kept, &options, &self.bars)
            .map_err(|e| Error::Packages(Box::new(e)))
    }

    fn options(&self) -> Result<lock::Options, Error> {
        Ok(lock::Options {
            cache: match &self.locking.cache {
                Some(folder) => folder.clone(),
                None => self.home.packages()?,
            },
            ..self.options.clone()
        })
    }
}
