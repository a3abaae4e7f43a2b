//! A newer release onto this machine: `elea upgrade`, `elea switch`.
//!
//! Everything is looked at before anything large is fetched, and everything is fetched and
//! checked before anything that boots is touched. The keys that are trusted are those of the running image
//! and of the machine, never those of what is offered.

mod compare;
mod report;

pub use report::{Check, Found, Outcome, Release, Upgraded};

use crate::apply;
use crate::candidate;
use crate::choose::report as changed;
use crate::entries;
use crate::error::Error;
use crate::install::Contents;
use crate::machine::{Machine, now};
use crate::plan;
use crate::status::LastCheck;
use crate::view::View;
use compare::Known;
use elea_formats::bls::Entry;
use elea_formats::booted::{Booted, Etc};
use elea_formats::generation::Generation;
use elea_formats::oci::reference::Reference;
use elea_formats::release::{self, Source};
use elea_net::Offer;
use elea_store::trust::{Places, Policy, Rules, Running};
use elea_sys::disk::Disk;
use elea_sys::progress::Progress;
use elea_sys::{At as _, durable};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Where the last look for an upgrade is kept, below `/elea`.
pub(crate) const LAST_CHECK: &str = "state/last-check.json";
/// The keys that whoever installed the machine named, below `/elea`.
pub(crate) const TRUSTED: &str = "state/trust.d";
/// The rules that an image may have.
const POLICY: &str = "usr/lib/elea/trust.toml";
/// More than is read of them, in bytes.
const MAX_POLICY: u64 = 1 << 20;
/// The largest `release.json` that is read.
const MAX_RELEASE: u64 = 16 << 20;

/// How an upgrade is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Looks and says what would be fetched and staged.
    pub dry_run: bool,
    /// How long to wait while another command is at work.
    pub wait: Duration,
    /// Accepts an image that no trusted key signed.
    pub allow_unsigned: bool,
    /// Accepts a lower version or security epoch.
    pub allow_downgrade: bool,
    /// Public keys that are trusted besides the machine's.
    pub keys: Vec<PathBuf>,
    /// How to talk to the registry.
    pub net: elea_net::Options,
}

/// Says what an upgrade would bring, from `reference` or from what the machine follows.
pub fn check(
    machine: &Machine,
    reference: Option<&str>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Check, Error> {
    let view = machine.view()?;
    let look = Look::new(machine, &view, reference, options)?;
    let offer = look.offer(machine, progress);
    progress.finish();
    look.keep(machine, &offer);
    let offer = offer?;
    let mut check = look.report(&view, machine, &offer)?;
    if let Outcome::Newer { .. } = check.outcome {
        let room = apply::check_room(&offer.config.payloads, machine.boot()?);
        check.obstacle = room.err().map(|e| e.to_string());
    }
    Ok(check)
}

/// Fetches and stages what the machine follows.
pub fn upgrade(
    machine: &Machine,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Upgraded, Error> {
    bring(machine, None, options, progress)
}

/// Fetches and stages what `reference` names, and follows it from then on.
pub fn switch(
    machine: &Machine,
    reference: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Upgraded, Error> {
    bring(machine, Some(reference), options, progress)
}

fn bring(
    machine: &Machine,
    reference: Option<&str>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Upgraded, Error> {
    let claimed = (!options.dry_run).then(|| machine.claim(options.wait));
    let _claimed = claimed.transpose()?;
    let view = machine.view()?;
    let look = Look::new(machine, &view, reference, options)?;
    let offer = look.offer(machine, progress);
    look.keep(machine, &offer);
    let offer = offer?;
    let check = look.report(&view, machine, &offer)?;
    let mut done = Upgraded::new(&check, options.dry_run);
    match &check.outcome {
        Outcome::FailedBefore { number, reason } => {
            progress.finish();
            return Err(Error::FailedBefore {
                version: check.offered.version.clone(),
                number: *number,
                reason: reason.clone(),
            });
        }
        Outcome::NothingNewer if reference.is_none() => {
            progress.finish();
            return Ok(done);
        }
        Outcome::Staged { number } if reference.is_none() => {
            progress.finish();
            done.number = Some(*number);
            return Ok(done);
        }
        _ => apply::check_room(&offer.config.payloads, machine.boot()?)?,
    }
    if options.dry_run {
        progress.finish();
        return Ok(done);
    }
    let store = machine.store()?;
    let pulled = elea_net::pull(
        &offer,
        &store,
        &look.net,
        &look.policy,
        Some(&look.running),
        progress,
    )?;
    done.fetched = pulled.fetched;
    done.layers_fetched = pulled.layers_fetched;
    done.layers_reused = pulled.layers_reused;
    stage(machine, &look, &pulled.image.image, done, progress)
}

/// Makes the generation of an image that is in the store, and stages it.
fn stage(
    machine: &Machine,
    look: &Look,
    image: &elea_formats::digest::Digest,
    mut done: Upgraded,
    progress: &dyn Progress,
) -> Result<Upgraded, Error> {
    progress.start("staging", None, elea_sys::progress::Unit::Items);
    let contents = Contents::load(&machine.store()?, image)?;
    match preview(machine, image) {
        Ok(Some(report)) if !report.clashes.is_empty() => {
            progress.finish();
            return Err(Error::Clash(report.clashes));
        }
        Ok(Some(report)) => done.conflicts = report.conflicts,
        Ok(None) => {}
        Err(e) => progress.note(&format!("the edits of /etc were not compared: {e}")),
    }
    if progress.cancelled() {
        return Err(Error::Cancelled);
    }
    let _locked = machine.lock()?;
    let view = machine.view()?;
    let generation = candidate::generation(
        &view,
        &look.base,
        &look.base_arguments,
        &contents,
        Some(look.follow.clone()),
    )?;
    let plan = plan::stage(&view, &generation, true, machine.number())?;
    machine.apply(&plan, &contents)?;
    progress.finish();
    let changed = changed(plan, false);
    done.number = changed.number;
    done.outcome = Outcome::Staged {
        number: generation.number,
    };
    done.plan = Some(changed.plan);
    done.reboot = true;
    Ok(done)
}

/// What the machine's edits of `/etc` would meet in another image. None for a system that
/// does not run.
fn preview(
    machine: &Machine,
    image: &elea_formats::digest::Digest,
) -> Result<Option<elea_etc::Report>, Error> {
    // Of an ephemeral `/etc` nothing is carried.
    let is_carried = |booted: &Booted| booted.etc != Etc::Ephemeral;
    if !machine.booted().is_some_and(is_carried) {
        return Ok(None);
    }
    let Some(number) = machine.etc_number() else {
        return Ok(None);
    };
    let (upper, lower) = crate::live::etc_layers(machine, number)?;
    let sides = elea_etc::Sides {
        upper: &upper,
        lower: &lower,
    };
    machine.with_image(image, |root| {
        let plan = elea_etc::plan(&sides, &root.join("etc"))?;
        Ok(Some(plan.report))
    })
}

/// What is asked for, by whom it is judged, and what it would follow.
struct Look {
    follow: Source,
    place: Reference,
    policy: Policy,
    net: elea_net::Options,
    base: Generation,
    base_arguments: Vec<String>,
    base_packages: Vec<release::Package>,
    running: Running,
}

impl Look {
    fn new(
        machine: &Machine,
        view: &View,
        reference: Option<&str>,
        options: &Options,
    ) -> Result<Self, Error> {
        let number = machine.number().or_else(|| view.entries.good().next_back());
        let number = number.ok_or(Error::NotBooted)?;
        let base = view.manifest(number).ok_or(Error::Unknown(number))?.clone();
        let release = release_of(machine, &base)?;
        let follow = match reference {
            Some(text) => Source {
                reference: text.to_owned(),
                plain_http: options.net.plain_http,
            },
            None => followed(view, &base).ok_or(Error::NoSource)?,
        };
        let mut net = options.net.clone();
        net.plain_http |= follow.plain_http;
        Ok(Self {
            place: follow.reference.parse()?,
            follow,
            policy: Policy {
                rules: rules(machine, &base, &options.keys)?,
                allow_unsigned: options.allow_unsigned,
                allow_downgrade: options.allow_downgrade,
            },
            net,
            running: Running {
                name: base.name.clone(),
                version: base.version.clone(),
                epoch: base.epoch,
            },
            base,
            base_arguments: release.arguments,
            base_packages: release.packages,
        })
    }

    fn offer(&self, machine: &Machine, progress: &dyn Progress) -> Result<Offer, Error> {
        let store = machine.store()?;
        Ok(elea_net::check(
            &self.place,
            &store,
            &self.net,
            &self.policy,
            Some(&self.running),
            progress,
        )?)
    }

    fn report(&self, view: &View, machine: &Machine, offer: &Offer) -> Result<Check, Error> {
        let known = Known {
            manifest: offer.manifest,
            image: offer.image,
            version: offer.release.as_ref().map(|r| r.version.as_str()),
        };
        let mut outcome = compare::outcome(view, &self.base, machine.number(), &known);
        if let Outcome::Staged { number } = outcome
            && !can_boot(view, number, machine.boot()?)?
        {
            let version = known.version.map(str::to_owned);
            outcome = Outcome::Newer { version };
        }
        Ok(report::check(
            &self.follow.reference,
            &self.base,
            &self.base_packages,
            offer,
            outcome,
        ))
    }

    /// Remembers for `status` when it was last looked, and what was there.
    fn keep(&self, machine: &Machine, offer: &Result<Offer, Error>) {
        let found = offer.as_ref().ok();
        let newer = found.filter(|o| {
            o.image != Some(self.base.image) && Some(o.manifest) != self.base.oci_manifest
        });
        let version = |o: &Offer| {
            let release = o.release.as_ref().map(|r| r.version.clone());
            release.unwrap_or_else(|| "an image without a version".into())
        };
        let last = LastCheck {
            schema: "elea.last-check/1".into(),
            time: now(),
            reference: self.follow.reference.clone(),
            offered: newer.map(version),
            error: offer.as_ref().err().map(ToString::to_string),
        };
        // That it is not kept harms nobody.
        if let Ok(text) = serde_json::to_vec_pretty(&last) {
            let _ = durable::write(&machine.state().root().join(LAST_CHECK), &text);
        }
    }
}

/// Whether what a staged generation's entry names is on `$BOOT`: one that lost its kernel is
/// passed over by the loader for ever, and must be staged again.
fn can_boot(view: &View, number: u64, boot: &dyn Disk) -> Result<bool, Error> {
    let entry = view.entries.generation(number);
    let entry = entry.and_then(|own| Entry::parse(&own.text).ok());
    match entry {
        Some(entry) => Ok(entries::missing(boot, &entry)?.is_none()),
        None => Ok(false),
    }
}

/// What upgrades follow: what the last decision said, be it staged or running.
pub(crate) fn followed(view: &View, running: &Generation) -> Option<Source> {
    let next = crate::generations::next(view).and_then(|n| view.manifest(n));
    let next = next.filter(|n| n.number > running.number);
    next.and_then(|n| n.source.clone())
        .or_else(|| running.source.clone())
}

/// The registries (`HOST:PORT`) that this machine's generations follow by plain HTTP: somebody has said so of each.
pub fn plain_hosts(view: &View) -> BTreeSet<String> {
    let manifests = view.generations.keys().filter_map(|n| view.manifest(*n));
    let sources = manifests.filter_map(|manifest| manifest.source.as_ref());
    let host = |source: &Source| match source.reference.parse() {
        Ok(Reference::Registry(location)) if source.plain_http => Some(location.host),
        _ => None,
    };
    sources.filter_map(host).collect()
}

/// What is trusted: by the running image (by the newest good one, where none runs), and by
/// the machine.
fn rules(machine: &Machine, base: &Generation, files: &[PathBuf]) -> Result<Rules, Error> {
    let mut places = Places {
        root: machine.root().to_owned(),
        image: machine.root().to_owned(),
        state: machine.state().root().join("state"),
    };
    if machine.booted().is_some() {
        machine.lower()?.clone_into(&mut places.image);
        return Ok(Rules::of_system(&places, files)?);
    }
    // Nothing of that image is mounted; the rules that it has are copied out of it.
    let copy = tempfile::tempdir().at("create a folder in", std::env::temp_dir())?;
    copy.path().clone_into(&mut places.image);
    let store = machine.store()?;
    let tree = store.tree(&base.image)?;
    if let Some(text) = store.read_file(&tree, POLICY, MAX_POLICY)? {
        let path = copy.path().join(POLICY);
        let folder = path.parent().unwrap_or(copy.path());
        fs::create_dir_all(folder).at("create", folder)?;
        fs::write(&path, text).at("write", &path)?;
    }
    Ok(Rules::of_system(&places, files)?)
}

/// What the release of a generation says of itself: from the running image, or the store.
pub(crate) fn release_of(
    machine: &Machine,
    generation: &Generation,
) -> Result<release::Release, Error> {
    if machine.booted().map(|b| b.image) == Some(generation.image) {
        let path = machine.lower()?.join(release::PATH);
        let size = fs::metadata(&path).at("look at", &path)?.len();
        if size > MAX_RELEASE {
            return Err(Error::Release(format!("it has {size} bytes")));
        }
        let text = fs::read(&path).at("read", &path)?;
        return serde_json::from_slice(&text).map_err(|e| Error::Release(e.to_string()));
    }
    let image = machine.store()?.image(&generation.image)?;
    image
        .release
        .ok_or_else(|| Error::Release(format!("the image {} holds no system", generation.image)))
}
