//! `elea image export`.

use crate::context::{self, Context};
use crate::failure::{Code, Failure, Outcome};
use crate::{places, text};
use elea_formats::erofs::Version;
use elea_formats::oci::reference::Reference;
use elea_formats::{dump, erofs};
use elea_store::{Store, export};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At, PathError, durable};
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
        Reference::Erofs(path) => match args.format {
            Version::V1 => whole(path.as_deref(), &store.image_bytes(&image)?)?,
            Version::V0 => whole(path.as_deref(), &erofs::write(&tree()?, Version::V0))?,
        },
        Reference::Dump(path) => whole(path.as_deref(), dump::encode(&tree()?).as_bytes())?,
        Reference::Tar(path) => {
            let path = path.as_deref().unwrap_or(Path::new("-"));
            tar(&store, &tree()?, path, &context.bars())?;
        }
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

fn whole(path: Option<&Path>, content: &[u8]) -> Outcome<()> {
    match path {
        None => context::print(content),
        Some(path) => Ok(durable::write(path, content)?),
    }
}

/// A file appears only when it is complete.
pub(crate) fn tar(
    store: &Store,
    tree: &elea_formats::tree::Tree,
    path: &Path,
    progress: &dyn Progress,
) -> Outcome<()> {
    if path == Path::new("-") {
        export::tar(store, tree, &mut std::io::stdout().lock())?;
        return Ok(());
    }
    progress.start("writing the tar file", None, Unit::Items);
    let folder = places::folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder).at("create a file in", folder)?;
    let mut out = BufWriter::new(file.as_file_mut());
    export::tar(store, tree, &mut out)?;
    out.flush().at("write", path)?;
    drop(out);
    places::keep(file, path)?;
    progress.finish();
    Ok::<(), PathError>(()).map_err(Into::into)
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
    let copied = std::io::copy(file.as_file_mut(), &mut std::io::stdout().lock());
    copied.at("write", "stdout")?;
    Ok(())
}
