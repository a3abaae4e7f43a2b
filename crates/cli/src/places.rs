//! Trees and images by what a person writes: a transport and a place.

use crate::context::Context;
use crate::failure::{Code, Failure, Outcome};
use crate::text;
use elea_formats::digest::{Algorithm, Digest};
use elea_formats::oci::reference::{Reference, Target};
use elea_formats::table::{Room, Slab};
use elea_formats::tree::Tree;
use elea_formats::{dump, erofs};
use elea_net::{Beside, Pulled};
use elea_store::trust::{Candidate, Policy, Verdict, judge};
use elea_store::{Lease, Origin, Store};
use elea_sys::progress::Progress;
use elea_sys::{At, durable};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

/// A name for a new reference in the store. A digest is no name.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    match text.parse::<Reference>() {
        Ok(Reference::Store(name)) if name.parse::<Digest>().is_err() => Ok(name),
        Ok(Reference::Store(_)) => Err("a digest cannot be a name".into()),
        Ok(_) => Err("it names a place outside the store".into()),
        Err(e) => Err(e.reason),
    }
}

/// The largest dump or image file that is read, in bytes.
const MAX_DESCRIBED: u64 = 2 << 30;

/// Reads a tree from a dump or an image file, which name contents and need no store to be read;
/// none for other references. One that names objects by another algorithm than is asked for is refused.
pub(crate) fn described(source: &Reference, algorithm: Option<Algorithm>) -> Outcome<Option<Tree>> {
    Ok(Some(match source {
        Reference::Dump(path) => read_dump(source, path.as_deref(), algorithm)?,
        Reference::Erofs(path) => {
            let tree = |algorithm| elea_store::tree_within(&scratch(), algorithm);
            let tree_asked = tree(algorithm.unwrap_or_default());
            let image = whole(path.as_deref(), &**tree_asked.room())?;
            match erofs::read_into(image.bytes(), tree_asked) {
                Err(erofs::ReadError::Algorithm { found, .. }) if algorithm.is_none() => {
                    erofs::read_into(image.bytes(), tree(found))
                }
                read => read,
            }
            .map_err(|e| about(source, &e))?
        }
        _ => return Ok(None),
    }))
}

/// What is wrong with what was read.
fn about(source: &Reference, error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Failed, format!("{source}: {error}"))
}

/// What a person is told of a file, or of standard input.
fn shown(path: Option<&Path>) -> &Path {
    path.unwrap_or(Path::new("standard input"))
}

fn opened(path: Option<&Path>) -> Outcome<Box<dyn Read>> {
    Ok(match path {
        Some(path) => Box::new(File::open(path).at("open", path)?),
        None => Box::new(std::io::stdin().lock()),
    })
}

fn too_large(path: Option<&Path>) -> Failure {
    let limit = text::size(MAX_DESCRIBED);
    let path = shown(path).display();
    let what = format!("{path} is larger than {limit}, which is the most that is read");
    Failure::new(Code::Failed, what)
}

/// Reads a dump, line by line.
fn read_dump(
    source: &Reference,
    path: Option<&Path>,
    algorithm: Option<Algorithm>,
) -> Outcome<Tree> {
    let mut from = BufReader::new(opened(path)?.take(MAX_DESCRIBED + 1));
    let tree = |algorithm| elea_store::tree_within(&scratch(), algorithm);
    let mut parser = match algorithm {
        Some(algorithm) => dump::Parser::new(tree(algorithm)),
        None => dump::Parser::of_any(tree(Algorithm::default())),
    };
    let mut line = Vec::new();
    let mut passed = 0;
    loop {
        line.clear();
        // One byte more than a line may have is enough to refuse it.
        let mut one = (&mut from).take(dump::MAX_LINE as u64 + 1);
        match one.read_until(b'\n', &mut line).at("read", shown(path))? {
            0 => break,
            length => passed += length as u64,
        }
        if passed > MAX_DESCRIBED {
            return Err(too_large(path));
        }
        parser.line(&line).map_err(|e| about(source, &e))?;
    }
    parser.finish().map_err(|e| about(source, &e))
}

/// A file, or standard input, whole.
fn whole(path: Option<&Path>, room: &dyn Room) -> Outcome<Box<dyn Slab>> {
    let scratch = scratch();
    let mut file = tempfile::tempfile_in(&scratch).at("create a file in", &scratch)?;
    let mut from = opened(path)?.take(MAX_DESCRIBED + 1);
    let size = std::io::copy(&mut from, &mut file).at("read", shown(path))?;
    let size = usize::try_from(size).ok().filter(|_| size <= MAX_DESCRIBED);
    let size = size.ok_or_else(|| too_large(path))?;
    let mut bytes = room.slab(size).unwrap_or_else(|| Box::new(vec![0; size]));
    file.rewind().at("read", &scratch)?;
    file.read_exact(bytes.bytes_mut()).at("read", &scratch)?;
    Ok(bytes)
}

/// Reads a directory, tar file, dump or image file as a tree, or an image's tree out of the store.
pub(crate) fn tree(
    store: &Store,
    source: &Reference,
    progress: &dyn Progress,
) -> Outcome<(Tree, Origin)> {
    let tree = match source {
        Reference::Directory(path) => store.import_dir(path, progress)?,
        Reference::Tar(Some(path)) => {
            store.import_tar(File::open(path).at("open", path)?, progress)?
        }
        Reference::Tar(None) => store.import_tar(std::io::stdin().lock(), progress)?,
        Reference::Store(name) => store.tree(&store.resolve(name)?)?,
        other => described(other, Some(store.algorithm()))?.ok_or_else(|| {
            let suitable = "dir:, tar:, dump:, erofs: and names in the store are read";
            unsuitable(other, suitable)
        })?,
    };
    progress.finish();
    let origin = Origin {
        source: source.to_string(),
        ..Origin::default()
    };
    Ok((tree, origin))
}

/// Does something with a store for which nothing has to be kept: the one that a name is looked up in, or
/// one in a temporary folder, with this algorithm, for contents that are needed only while they are digested.
pub(crate) fn digested<T>(
    source: &Reference,
    algorithm: Algorithm,
    context: &Context,
    work: impl FnOnce(&Store) -> Outcome<T>,
) -> Outcome<T> {
    if let Reference::Store(_) = source {
        return work(&context.store()?);
    }
    let scratch = scratch();
    let folder = tempfile::tempdir_in(&scratch).at("create a folder in", &scratch)?;
    work(&Store::init_with(&folder.path().join("store"), algorithm)?)
}

/// A reference of a kind that a command does not take.
pub(crate) fn unsuitable(reference: &Reference, suitable: &str) -> Failure {
    Failure::new(
        Code::Usage,
        format!("`{reference}` does not fit here; {suitable}"),
    )
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Gives a complete temporary file its name, durably.
pub(crate) fn keep(file: tempfile::NamedTempFile, path: &Path) -> Outcome<()> {
    file.as_file().sync_all().at("sync", path)?;
    // Temporary files are private; what a person asked for is not.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file()
        .set_permissions(mode)
        .at("set the mode of", path)?;
    file.persist(path)
        .map_err(|e| e.error)
        .at("rename into place", path)?;
    Ok(durable::sync_folder(folder_of(path))?)
}

/// An image that may be used.
pub(crate) struct Found {
    pub(crate) image: Digest,
    pub(crate) verdict: Verdict,
    /// The specialisations that it names and that the store has now, too.
    pub(crate) beside: Vec<(String, Digest)>,
    /// Keep what was fetched from being collected while it is used.
    _leases: Vec<Lease>,
}

/// An image of the store, or one that is fetched into it with its specialisations, that the policy accepts.
///
/// An image that was made in this store (built, or imported from a folder or tar file) needs
/// no signature; one that came from elsewhere is judged by those it came with.
pub(crate) fn image(
    store: &Store,
    reference: &Reference,
    options: &elea_net::Options,
    policy: &Policy,
    progress: &dyn Progress,
) -> Outcome<Found> {
    let Reference::Store(name) = reference else {
        let offer = elea_net::check(reference, store, options, policy, None, progress)?;
        let pulled = elea_net::pull(&offer, store, options, policy, None, progress)?;
        let found = with_beside(reference, &pulled, store, options, policy, progress)?;
        let beside = found.iter().map(|(name, p)| (name.clone(), p.image.image));
        return Ok(Found {
            image: pulled.image.image,
            verdict: offer.verdict,
            beside: beside.collect(),
            _leases: found
                .into_iter()
                .map(|(_, pulled)| pulled.lease)
                .chain([pulled.lease])
                .collect(),
        });
    };
    let image = store.resolve(name)?;
    let release = store.image(&image)?.release;
    let beside = release.into_iter().flat_map(|r| r.specialisations);
    Ok(Found {
        image,
        verdict: local(store, &image, policy)?,
        beside: beside
            .filter(|(_, image)| store.image(image).is_ok())
            .collect(),
        _leases: Vec::new(),
    })
}

/// Fetches the specialisations that an image names.
pub(crate) fn with_beside(
    reference: &Reference,
    image: &Pulled,
    store: &Store,
    options: &elea_net::Options,
    policy: &Policy,
    progress: &dyn Progress,
) -> Outcome<Vec<(String, Pulled)>> {
    let Some(release) = &image.image.release else {
        return Ok(Vec::new());
    };
    let beside =
        elea_net::check_beside(reference, release, store, options, policy, None, progress)?;
    let pull = |one: Beside| {
        let pulled = elea_net::pull(&one.offer, store, options, policy, None, progress)?;
        Ok((one.name, pulled))
    };
    beside.into_iter().map(pull).collect()
}

/// What vouches for an image, wherever it is.
pub(crate) fn verdict(
    store: &Store,
    reference: &Reference,
    options: &elea_net::Options,
    policy: &Policy,
    progress: &dyn Progress,
) -> Outcome<Verdict> {
    match reference {
        Reference::Store(name) => local(store, &store.resolve(name)?, policy),
        other => Ok(elea_net::check(other, store, options, policy, None, progress)?.verdict),
    }
}

/// What vouches for an image of the store: judged by where it came from.
fn local(store: &Store, image: &Digest, policy: &Policy) -> Outcome<Verdict> {
    let about = store.image(image)?;
    let Some(manifest) = about.oci_manifest else {
        let rule = "this store, where it was made".into();
        return Ok(Verdict::Unsigned { rule });
    };
    let signatures = store.signatures(image)?;
    let candidate = Candidate {
        reference: &about.source.parse()?,
        manifest,
        signatures: &signatures,
    };
    Ok(judge(&candidate, None, policy)?)
}

/// What an image that is fetched is called in the store, if nobody says.
pub(crate) fn name_of(reference: &Reference) -> Option<String> {
    match reference {
        Reference::Registry(location) => match &location.target {
            Target::Tag(tag) => Some(format!("{}:{tag}", location.name)),
            Target::Digest(_) => None,
        },
        Reference::Layout { tag, .. } => parse_name(tag).ok(),
        _ => None,
    }
}

/// Where large temporary files go: `/tmp` is in memory on many machines.
pub(crate) fn scratch() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// This program's file, which goes into images.
pub(crate) fn this_program() -> Outcome<PathBuf> {
    Ok(std::env::current_exe()?)
}

/// `elea-initrd`, the static one: where a package puts it, or where cargo does.
pub(crate) fn initrd_program() -> Outcome<PathBuf> {
    const NAME: &str = "elea-initrd";
    let this = this_program()?;
    let folder = folder_of(&this);
    let profile = folder.file_name().unwrap_or_default();
    let target = format!("../{}-unknown-linux-gnu", std::env::consts::ARCH);
    let places = [
        folder.join(target).join(profile).join(NAME),
        folder.join("../lib/elea").join(NAME),
        folder.join(NAME),
    ];
    places
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::new(
                Code::Failed,
                format!("there is no `{NAME}` beside {}", this.display()),
            )
            .hint("`cargo xtask demo` builds it; `--initrd FILE` names it")
        })
}
