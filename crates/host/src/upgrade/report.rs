//! What an upgrade would bring, and what it did.

use crate::diff::{Packages, package_changes};
use crate::live::Beside;
use crate::plan::Plan;
use elea_formats::digest::{Digest, Sha256};
use elea_formats::generation::Generation;
use elea_formats::release::Package;
use elea_net::Offer;
use serde::Serialize;

/// The value of `schema` of a check.
pub(crate) const CHECK_SCHEMA: &str = "elea.upgrade-check/1";
/// The value of `schema` of what was done.
pub(crate) const SCHEMA: &str = "elea.upgrade/1";

/// What an offer is to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Outcome {
    /// It is what runs.
    NothingNewer,
    /// It waits for its first boot.
    Staged {
        /// As this generation.
        number: u64,
    },
    /// It failed here and is not tried again by itself.
    FailedBefore {
        /// As this generation.
        number: u64,
        /// Why.
        reason: String,
    },
    /// It can be fetched and staged.
    Newer {
        /// Its version, if it tells.
        version: Option<String>,
    },
}

/// A release in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Its title.
    pub title: String,
    /// Its version.
    pub version: String,
    /// Its image, if it is known.
    pub image: Option<Digest>,
}

/// Who vouches for an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Found {
    /// Trusted keys.
    Signed {
        /// The id of the first.
        key: Sha256,
        /// The ids of all that count.
        keys: Vec<Sha256>,
        /// What asked for them.
        rule: String,
    },
    /// Nobody; that was allowed.
    Unsigned {
        /// What allows it.
        rule: String,
    },
}

/// What an upgrade would bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// `elea.upgrade-check/1`.
    pub schema: &'static str,
    /// Where it was looked.
    pub reference: String,
    /// What the offer is to this machine.
    pub outcome: Outcome,
    /// What it would follow.
    pub running: Release,
    /// What is offered.
    pub offered: Release,
    /// Who vouches for it.
    pub signed: Found,
    /// The specialisations that it would bring.
    pub specialisations: Vec<String>,
    /// What differs between the packages.
    pub packages: Packages,
    /// Bytes to fetch, at most: of a layer with a table only the files that are missing come.
    pub fetch: u64,
    /// Bytes of the whole image as it is stored there, without its specialisations.
    pub total: u64,
    /// Whether a restart is needed to run it.
    pub reboot: bool,
    /// Why it could not be staged now, if that is known before anything is fetched.
    pub obstacle: Option<String>,
}

/// What an upgrade did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// `elea.upgrade/1`.
    pub schema: &'static str,
    /// What it came to.
    pub outcome: Outcome,
    /// Where it came from.
    pub reference: String,
    /// What runs.
    pub running: Release,
    /// What was staged.
    pub offered: Release,
    /// Who vouches for it.
    pub signed: Found,
    /// The generation that boots next because of it.
    pub number: Option<u64>,
    /// The specialisations that stand beside it in the boot menu because of it.
    pub specialisations: Vec<Beside>,
    /// What differs between the packages.
    pub packages: Packages,
    /// Bytes that were fetched; with `dry_run`, that would be.
    pub fetched: u64,
    /// Layers that were fetched.
    pub layers_fetched: usize,
    /// Layers that the store had.
    pub layers_reused: usize,
    /// Files of `/etc` that this machine and the release both changed; the machine's are kept.
    pub conflicts: Vec<String>,
    /// Whether a restart is needed to run it.
    pub reboot: bool,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
    /// The steps that were done.
    pub plan: Option<Plan>,
}

impl Upgraded {
    pub(super) fn new(check: &Check, dry_run: bool) -> Self {
        Self {
            schema: SCHEMA,
            outcome: check.outcome.clone(),
            reference: check.reference.clone(),
            running: check.running.clone(),
            offered: check.offered.clone(),
            signed: check.signed.clone(),
            number: None,
            specialisations: Vec::new(),
            packages: check.packages.clone(),
            fetched: if dry_run { check.fetch } else { 0 },
            layers_fetched: 0,
            layers_reused: 0,
            conflicts: Vec::new(),
            reboot: check.reboot,
            dry_run,
            plan: None,
        }
    }
}

/// The report on an offer.
pub(super) fn check(
    reference: &str,
    base: &Generation,
    packages: &[Package],
    offer: &Offer,
    beside: &[elea_net::Beside],
    outcome: Outcome,
) -> Check {
    let release = offer.release.as_ref();
    let reboot = matches!(outcome, Outcome::Newer { .. } | Outcome::Staged { .. });
    Check {
        schema: CHECK_SCHEMA,
        reference: reference.to_owned(),
        running: Release {
            title: base.title.clone(),
            version: base.version.clone(),
            image: Some(base.image),
        },
        offered: Release {
            title: release.map_or_else(|| reference.to_owned(), |r| r.title.clone()),
            version: release.map(|r| r.version.clone()).unwrap_or_default(),
            image: offer.image,
        },
        signed: match offer.verdict.keys() {
            [] => Found::Unsigned {
                rule: offer.verdict.rule().into(),
            },
            keys @ [first, ..] => Found::Signed {
                key: *first,
                keys: keys.to_vec(),
                rule: offer.verdict.rule().into(),
            },
        },
        packages: release
            .map(|r| package_changes(packages, &r.packages))
            .unwrap_or_default(),
        specialisations: beside.iter().map(|one| one.name.clone()).collect(),
        fetch: elea_net::missing(beside.iter().map(|one| &one.offer).chain([offer])),
        total: offer.total,
        reboot,
        obstacle: None,
        outcome,
    }
}
