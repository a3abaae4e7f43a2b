//! `elea image export`.

use crate::context::{self, Context};
use crate::failure::{Code, Failure, Outcome};
use crate::{places, text};
use elea_formats::erofs::Version;
use elea_formats::oci::reference::Reference;
use elea_formats::{dump, erofs};
use elea_store::{Store, export};
use elea_sys::At;
use elea_sys::progress::{Progress, Unit};
use std::io::{BufWriter, Write};
use std::path::Path;

/// Write an image as something that other programs read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// tar:FILE, squashfs:FILE, erofs:FILE or dump:FILE (`-` is stdout)
    #[arg(value_name = "TO")]
    target: Reference,
    /// The format of erofs:FILE: v1, or v0 for composefs before 1.0.3
    #[arg(long, default_value_t)]
    format: Version,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
    check(args)?;
    let store = context.store()?;
    let image = store.resolve(&args.image)?;
    if args.dry_run {
        let size = text::size(store.image(&image)?.bytes);
        context.say(&format!(
            "would write {} ({size}) to {}",
            args.image, args.target
        ));
        return Ok(Code::Done);
    }
    let tree = || store.tree(&image);
    match &args.target {
        Reference::Erofs(path) => complete(path.as_deref(), |out| {
            if args.format == Version::V1 {
                return Ok(store.copy_image(&image, out)?);
            }
            let written = erofs::write_to(&tree()?, args.format, |piece| out.write_all(piece));
            Ok(written.at("write", "the image")?)
        })?,
        Reference::Dump(path) => {
            let tree = tree()?;
            complete(path.as_deref(), |out| {
                let written = dump::encode_to(&tree, |line| out.write_all(line.as_bytes()));
                Ok(written.at("write", "the dump")?)
            })?;
        }
        Reference::Tar(path) => tar(&store, &tree()?, path.as_deref(), &context.bars())?,
        Reference::Squashfs(path) => {
            squashfs(&store, &tree()?, path.as_deref(), &context.bars())?;
        }
        _ => {}
    }
    Ok(Code::Done)
}

/// Refuses what cannot be written.
fn check(args: &Args) -> Outcome<()> {
    match &args.target {
        Reference::Erofs(_) => Ok(()),
        Reference::Dump(_) | Reference::Tar(_) | Reference::Squashfs(_) => {
            if args.format == Version::V1 {
                return Ok(());
            }
            let text = "`--format v0` is for erofs:FILE alone";
            Err(Failure::new(Code::Usage, text))
        }
        other => Err(places::unsuitable(
            other,
            "write tar:FILE, squashfs:FILE, erofs:FILE or dump:FILE",
        )),
    }
}

/// Writes a file, or to stdout. A file appears only when it is complete.
fn complete(path: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> Outcome<()>) -> Outcome<()> {
    let Some(path) = path else {
        let mut out = BufWriter::new(context::Stdout::default());
        let written = write(&mut out).and_then(|()| Ok(out.flush()?));
        return if out.get_ref().left_alone {
            Ok(())
        } else {
            written
        };
    };
    let folder = places::folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).map_err(|failure| failure.about(path))?;
    out.flush().at("write", path)?;
    drop(out);
    places::keep(file, path)
}

/// Writes a tree as a tar file.
pub(crate) fn tar(
    store: &Store,
    tree: &elea_formats::tree::Tree,
    path: Option<&Path>,
    progress: &dyn Progress,
) -> Outcome<()> {
    progress.start("writing the tar file", None, Unit::Items);
    complete(path, |mut out| Ok(export::tar(store, tree, &mut out)?))?;
    progress.finish();
    Ok(())
}

/// A file appears only when it is complete. The program that writes it goes back and forth in it, so for
/// stdout it is made elsewhere first.
fn squashfs(
    store: &Store,
    tree: &elea_formats::tree::Tree,
    path: Option<&Path>,
    progress: &dyn Progress,
) -> Outcome<()> {
    let scratch = places::scratch();
    let folder = path.map_or(scratch.as_path(), places::folder_of);
    let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    export::squashfs(store, tree, file.path(), progress)?;
    if let Some(path) = path {
        return places::keep(file, path);
    }
    complete(None, |out| {
        std::io::copy(file.as_file_mut(), out).at("write", "stdout")?;
        Ok(())
    })
}
