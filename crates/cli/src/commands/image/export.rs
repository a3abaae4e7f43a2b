//! `elea image export`.

use crate::context::{self, Context};
use crate::failure::{Code, Outcome};
use crate::{places, text};
use elea_formats::dump;
use elea_formats::oci::reference::Reference;
use elea_store::{Store, export};
use elea_sys::progress::{Progress, Unit};
use elea_sys::{At, PathError, durable};
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Write an image as something that other programs read
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A name, a digest, or the beginning of one
    image: String,
    /// tar:FILE, erofs:FILE or dump:FILE (`-` is stdout)
    #[arg(value_name = "TO")]
    target: Target,
    /// Say what would be done and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone)]
enum Target {
    Erofs(PathBuf),
    Dump(PathBuf),
    Tar(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, path) = match self {
            Self::Erofs(path) => ("erofs", path),
            Self::Dump(path) => ("dump", path),
            Self::Tar(path) => ("tar", path),
        };
        write!(f, "{kind}:{}", path.display())
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("erofs", place)) if !place.is_empty() => Ok(Self::Erofs(place.into())),
            Some(("dump", place)) if !place.is_empty() => Ok(Self::Dump(place.into())),
            _ => match text.parse() {
                Ok(Reference::Tar(path)) => Ok(Self::Tar(path.unwrap_or_else(|| "-".into()))),
                _ => Err("write tar:FILE, erofs:FILE or dump:FILE".into()),
            },
        }
    }
}

pub(crate) fn run(args: &Args, context: &Context) -> Outcome {
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
    match &args.target {
        Target::Erofs(path) => whole(path, &store.image_bytes(&image)?)?,
        Target::Dump(path) => whole(path, dump::encode(&store.tree(&image)?).as_bytes())?,
        Target::Tar(path) => tar(&store, &store.tree(&image)?, path, &context.bars())?,
    }
    Ok(Code::Done)
}

fn whole(path: &Path, content: &[u8]) -> Outcome<()> {
    if path == Path::new("-") {
        context::print(content)
    } else {
        Ok(durable::write(path, content)?)
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
