//! `release.json`: what the image says of itself.

use super::Job;
use super::boot::Payload;
use super::tree::Tree;
use crate::debian::control;
use crate::lock::Error;
use elea_formats::release::{PATH, Package, Release, SCHEMA};

/// Writes it.
pub(super) fn write(job: &Job<'_>, tree: &mut Tree<'_>, payload: &Payload) -> Result<(), Error> {
    let system = &job.config.system;
    let status = tree.text("var/lib/dpkg/status")?;
    let release = Release {
        schema: SCHEMA.into(),
        name: system.name.clone(),
        version: system.version.clone(),
        epoch: system.epoch,
        architecture: job.lock.architecture.clone(),
        title: system.title.clone(),
        kernel: payload.kernel.clone(),
        initrds: vec![payload.initrd.clone()],
        loader: payload.loader.into(),
        loader_version: job.lock.loader()?.version.clone(),
        arguments: job.config.kernel.arguments.clone(),
        health: job.config.health.clone(),
        update: job
            .config
            .update
            .as_ref()
            .map(|update| update.source.clone()),
        packages: packages(&status),
        specialisations: job.options.specialisations.clone(),
    };
    let mut text = serde_json::to_string_pretty(&release)
        .map_err(|e| Error::Tree(format!("the release cannot be written: {e}")))?;
    text.push('\n');
    tree.put(PATH, text.as_bytes())
}

/// The installed packages of a dpkg database, sorted.
fn packages(status: &str) -> Vec<Package> {
    let mut list: Vec<Package> = control::parse(status)
        .iter()
        .filter(|s| s.get("Status").is_some_and(|s| s.ends_with(" installed")))
        .filter_map(|s| {
            Some(Package {
                name: s.get("Package")?.to_owned(),
                version: s.get("Version")?.to_owned(),
                architecture: s.get("Architecture")?.to_owned(),
            })
        })
        .collect();
    list.sort();
    list
}
