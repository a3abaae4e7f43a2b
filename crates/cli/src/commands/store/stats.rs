//! `elea store stats`.

use crate::context::{self, Context};
use crate::failure::{Code, Outcome};
use crate::text::{self, Lines};
use crate::treemap::{self, Cell, Colour};
use elea_formats::digest::Digest;
use elea_store::stats::{Cost, Keeper, Shared, Stats, Sum};
use elea_sys::durable;
use std::path::{Path, PathBuf};

/// Show what each image costs, alone and shared, and what would be freed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Draw it too, as an SVG treemap (`-` is stdout, without the table)
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    let (store, roots) = context.store_and_roots("elea store stats")?;
    let stats = store.stats(&roots, &context.bars())?;
    match args.plot.as_deref() {
        Some(path) if path == Path::new("-") => {
            context::print(drawn(&stats).as_bytes())?;
            return Ok(Code::Done);
        }
        Some(path) => durable::write(path, drawn(&stats).as_bytes())?,
        None => {}
    }
    context.show(&stats, told)
}

fn told(stats: &Stats) -> String {
    let mut out = String::new();
    if !stats.images.is_empty() {
        let head = [
            "NAME", "IMAGE", "VERSION", "TOTAL", "ALONE", "SHARED", "WITH",
        ];
        let rows = stats.images.iter().map(|cost| {
            vec![
                called(cost),
                cost.image.short(),
                cost.version.clone().unwrap_or_default(),
                text::size(cost.total.bytes),
                text::size(cost.alone.bytes),
                text::size(cost.shared.bytes),
                match cost.shared_with {
                    0 => String::new(),
                    with => text::count(with, "image"),
                },
            ]
        });
        out.push_str(&text::table(&head, rows.collect()));
        out.line("");
    }
    let images = text::count(stats.free.images, "image");
    let free = format!("{}, {images}", counted(stats.free.objects, "object"));
    let some = |sum: Sum, one: &str| (sum.count > 0).then(|| counted(sum, one));
    let mut facts = vec![
        ("store", Some(stats.store.display().to_string())),
        ("objects", Some(counted(stats.objects, "object"))),
        (
            "without sharing",
            (stats.apparent.bytes > stats.objects.bytes).then(|| text::size(stats.apparent.bytes)),
        ),
        ("gc would free", Some(free)),
        (
            "missing",
            (stats.missing > 0).then(|| {
                let missing = text::count(stats.missing, "object");
                format!("{missing}; `elea store fsck` names them")
            }),
        ),
    ];
    facts.extend(
        stats
            .beside
            .named()
            .map(|(name, sum)| (name, some(sum, "file"))),
    );
    facts.push((
        "at work",
        (stats.leases > 0).then(|| text::count(stats.leases as u64, "command")),
    ));
    facts.push(("total", Some(text::size(stats.total))));
    out.push_str(&text::facts(&facts));
    out
}

fn counted(sum: Sum, one: &str) -> String {
    format!("{}, {}", text::size(sum.bytes), text::count(sum.count, one))
}

/// An image's names, or what else keeps it.
fn called(cost: &Cost) -> String {
    if !cost.names.is_empty() {
        return cost.names.join(", ");
    }
    let kept = cost.kept_by.first();
    match kept {
        Some(Keeper::Generation) => "(a generation)".into(),
        Some(_) => "(a command at work)".into(),
        None => "(gc removes it)".into(),
    }
}

fn drawn(stats: &Stats) -> String {
    let mut cells: Vec<Cell> = stats.sets.iter().map(|set| cell(stats, set)).collect();
    if stats.smaller_sets.count > 0 {
        cells.push(Cell {
            title: "smaller sets".into(),
            text: counted(stats.smaller_sets, "object"),
            bytes: stats.smaller_sets.bytes,
            colour: Colour::Grey,
        });
    }
    cells.extend(stats.beside.named().map(|(name, sum)| Cell {
        title: name.into(),
        text: counted(sum, "file"),
        bytes: sum.bytes,
        colour: Colour::Grey,
    }));
    let title = format!(
        "{}: {} in {}",
        stats.store.display(),
        text::size(stats.total),
        text::count(stats.images.len() as u64, "image")
    );
    let legend = [
        (Colour::Blue, "one image alone"),
        (Colour::Green, "shared by images"),
        (Colour::Orange, "gc would free"),
        (Colour::Grey, "beside the objects"),
    ];
    treemap::draw(&title, &cells, &legend)
}

fn cell(stats: &Stats, set: &Shared) -> Cell {
    let label = |image: &Digest| {
        let mut costs = stats.images.iter();
        let cost = costs.find(|cost| cost.image == *image);
        match cost.map(|cost| cost.names.as_slice()) {
            Some([name, ..]) => name.clone(),
            _ => image.short(),
        }
    };
    let names: Vec<String> = set.images.iter().map(label).collect();
    let title = match names.len() {
        0 if set.kept => "a command at work".to_owned(),
        0 => "no image".to_owned(),
        1 | 2 => names.join(" + "),
        number => format!("{number} images: {}", names.join(", ")),
    };
    let colour = match names.len() {
        _ if !set.kept => Colour::Orange,
        0 => Colour::Grey,
        1 => Colour::Blue,
        _ => Colour::Green,
    };
    Cell {
        title,
        text: counted(set.objects, "object"),
        bytes: set.objects.bytes,
        colour,
    }
}
