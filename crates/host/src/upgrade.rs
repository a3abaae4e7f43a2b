//! A newer release onto this machine: `elea upgrade`, `elea switch`.
//!
//! Everything is looked at before anything large is fetched, and everything is fetched and
//! checked before anything that boots is touched. The keys that are trusted are those of the running image
//! and of the machine, never those of what is offered.

mod compare;
mod report;
mod specialise;

pub use report::{Check, Found, Outcome, Release, Upgraded};

use crate::apply;
use crate::candidate;
use crate::choose::report as changed;
use crate::entries;
use crate::error::Error;
use crate::install::Bootable;
use crate::machine::{Machine, now};
use crate::plan;
use crate::status::LastCheck;
use crate::view::View;
use compare::Known;
use elea_formats::bls::Entry;
use elea_formats::booted::{Booted, Etc};
use elea_formats::digest::Digest;
use elea_formats::generation::Generation;
use elea_formats::oci::reference::Reference;
use elea_formats::release::{self, Source};
use elea_net::{Beside, Offer, Pulled};
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
    look.keep(machine, &offer);
    let offer = offer?;
    let beside = look.beside(machine, &offer, progress)?;
    progress.finish();
    let mut check = look.report(&view, machine, &offer, &beside)?;
    if let Outcome::Newer { .. } = check.outcome {
        let room = apply::check_room(specialise::payloads(&offer, &beside), machine.boot()?);
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
    let beside = look.beside(machine, &offer, progress)?;
    let check = look.report(&view, machine, &offer, &beside)?;
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
            return look.complete(machine, look.base.number, &offer, &beside, done, progress);
        }
        Outcome::Staged { number } if reference.is_none() => {
            done.number = Some(*number);
            return look.complete(machine, *number, &offer, &beside, done, progress);
        }
        _ => apply::check_room(specialise::payloads(&offer, &beside), machine.boot()?)?,
    }
    if options.dry_run {
        progress.finish();
        return Ok(done);
    }
    let pulled = look.pull(machine, &offer, &mut done, progress)?;
    let named = |release: &Option<release::Release>| {
        let release = release.as_ref();
        release.map(|release| release.specialisations.clone())
    };
    if named(&pulled.image.release) != named(&offer.release) {
        let why = "the image names other specialisations than its config says";
        return Err(Error::Release(why.into()));
    }
    // Their leases last until they are staged.
    let others = look.pull_beside(machine, &beside, &mut done, progress)?;
    let images = specialise::images(&others);
    stage(machine, &look, &pulled.image.image, &images, done, progress)
}

/// Makes the generation of an image that is in the store, and stages it with its specialisations.
fn stage(
    machine: &Machine,
    look: &Look,
    image: &Digest,
    beside: &[(String, Digest)],
    mut done: Upgraded,
    progress: &dyn Progress,
) -> Result<Upgraded, Error> {
    progress.start("staging", None, elea_sys::progress::Unit::Items);
    let contents = Bootable::load(&machine.store()?, image)?;
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
    let locked = machine.lock()?;
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
    drop(locked);
    done.specialisations =
        specialise::put(machine, &generation, &contents.release.arguments, beside)?;
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
fn preview(machine: &Machine, image: &Digest) -> Result<Option<elea_etc::Report>, Error> {
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
        // Who runs a specialisation follows what it stands beside.
        let main = view.stands_beside(number);
        let main = main.filter(|main| view.manifest(*main).is_some());
        let number = main.unwrap_or(number);
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

    fn pull(
        &self,
        machine: &Machine,
        offer: &Offer,
        done: &mut Upgraded,
        progress: &dyn Progress,
    ) -> Result<Pulled, Error> {
        let running = Some(&self.running);
        let store = machine.store()?;
        let pulled = elea_net::pull(offer, &store, &self.net, &self.policy, running, progress)?;
        done.fetched += pulled.fetched;
        done.layers_fetched += pulled.layers_fetched;
        done.layers_reused += pulled.layers_reused;
        Ok(pulled)
    }

    fn report(
        &self,
        view: &View,
        machine: &Machine,
        offer: &Offer,
        beside: &[Beside],
    ) -> Result<Check, Error> {
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
            beside,
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
    if let Some(text) = store.open_image(&base.image)?.read(POLICY, MAX_POLICY)? {
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
