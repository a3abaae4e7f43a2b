//! `elea image show`.

use crate::context::Context;
use crate::failure::Outcome;
use crate::text;
use elea_formats::digest::Digest;
use elea_formats::release::{ImageManifest, Release};
use elea_formats::sbom;
use elea_store::Store;
use serde::Serialize;
use std::collections::BTreeMap;

/// Show what is known of an image
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// List the packages too
    #[arg(long)]
    packages: bool,
    /// Print what it is made of, instead: every package with version, licence and source
    #[arg(long, value_name = "FORMAT", conflicts_with = "packages")]
    sbom: Option<Sbom>,
}

/// A format of bills that other programs read.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Sbom {
    /// SPDX 2.3
    Spdx,
    // What a person reads has no marks of code.
    #[value(help = "CycloneDX 1.6")]
    Cyclonedx,
}

#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) manifest: ImageManifest,
    pub(super) names: Vec<String>,
    pub(super) signatures: usize,
}

impl Shown {
    pub(super) fn load(store: &Store, manifest: ImageManifest) -> Outcome<Self> {
        let refs = store.refs()?;
        let names = refs.into_iter().filter(|(_, d)| *d == manifest.image);
        Ok(Self {
            names: names.map(|(name, _)| name).collect(),
            signatures: store.signatures(&manifest.image)?.len(),
            manifest,
        })
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let store = context.store()?;
    let image = store.resolve(&args.image)?;
    if let Some(format) = args.sbom {
        let bill = store.bill(&image, env!("CARGO_PKG_VERSION"))?;
        let document = match format {
            Sbom::Spdx => sbom::spdx::encode(&bill),
            Sbom::Cyclonedx => sbom::cyclonedx::encode(&bill),
        };
        // It is JSON, asked for or not.
        return context.show(&document, |document| format!("{document:#}\n"));
    }
    let manifest = store.image(&image)?;
    let shown = Shown::load(&store, manifest)?;
    context.show(&shown, |shown| facts(shown, args.packages))
}

fn facts(shown: &Shown, packages: bool) -> String {
    let m = &shown.manifest;
    let release = m.release.as_ref();
    let some = |text: String| (!text.is_empty()).then_some(text);
    let mut out = text::facts(&[
        ("image", Some(m.image.to_string())),
        ("names", some(shown.names.join(", "))),
        ("form", Some(m.form.clone())),
        ("source", Some(m.source.clone())),
        (
            "imported",
            Some(format!("{} ({})", text::ago(&m.imported), m.imported)),
        ),
        ("files", Some(m.files.to_string())),
        ("content", Some(text::size(m.bytes))),
        (
            "OCI manifest",
            m.oci_manifest.map(|d| format!("sha256:{d}")),
        ),
        ("signatures", Some(shown.signatures.to_string())),
        ("release", release.map(title)),
        ("kernel", release.map(|r| r.kernel.clone())),
        ("loader", release.map(|r| r.loader_version.clone())),
        (
            "arguments",
            release.and_then(|r| some(r.arguments.join(" "))),
        ),
        ("health", release.map(health)),
        (
            "follows",
            release.and_then(|r| Some(r.update.as_ref()?.reference.clone())),
        ),
        (
            "beside it",
            release.and_then(|r| some(specialisations(&r.specialisations))),
        ),
        ("packages", release.map(|r| r.packages.len().to_string())),
    ]);
    if let Some(release) = release.filter(|_| packages) {
        let rows = release.packages.iter();
        let rows = rows.map(|p| vec![p.name.clone(), p.version.clone(), p.architecture.clone()]);
        out.push('\n');
        out.push_str(&text::table(
            &["PACKAGE", "VERSION", "ARCH"],
            rows.collect(),
        ));
    }
    out
}

fn title(release: &Release) -> String {
    format!(
        "{} {}, epoch {}, {} (“{}”)",
        release.name, release.version, release.epoch, release.architecture, release.title
    )
}

/// The specialisations that stand in the boot menu beside it, a line for each.
fn specialisations(all: &BTreeMap<String, Digest>) -> String {
    let lines = all.iter().map(|(name, image)| format!("{name} {image}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn health(release: &Release) -> String {
    let health = &release.health;
    let units = if health.units.is_empty() {
        "no units".to_owned()
    } else {
        health.units.join(", ")
    };
    format!("{units}; {} s", health.timeout)
}
