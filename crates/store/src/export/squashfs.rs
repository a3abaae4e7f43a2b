//! Trees as squashfs images, by `tar2sqfs` of squashfs-tools-ng: it makes one of a tar file, so that no tree is
//! unpacked and no privilege is needed.

use super::tar::{Archive, Names};
use crate::{Error, Store};
use elea_formats::tree::{Node, Tree};
use elea_sys::At as _;
use elea_sys::progress::{Progress, Unit};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "tar2sqfs";
/// What is kept of what the program says, in bytes.
const MAX_SAID: u64 = 4096;
/// The namespaces of attributes that the format has a number for.
const NAMESPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Writes a tree with its contents as a squashfs image (4.0, zstd) into a file, which is replaced. The same
/// tree gives the same bytes by the same version of the program. Sockets are left out, as of tar files, and
/// times are whole seconds; what the format cannot hold is refused.
pub fn squashfs(
    store: &Store,
    tree: &Tree,
    path: &Path,
    progress: &dyn Progress,
) -> Result<(), Error> {
    check(tree)?;
    progress.start("write the squashfs image", None, Unit::Items);
    let mut child = start(path)?;
    let said = child.stderr.take();
    let listener = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut said) = said {
            let _ = said.by_ref().take(MAX_SAID).read_to_end(&mut text);
            // A program whose words nobody hears waits for ever.
            let _ = io::copy(&mut said, &mut io::sink());
        }
        String::from_utf8_lossy(&text).trim().to_owned()
    });
    let fed = feed(store, tree, &mut child, progress);
    if fed.as_ref().is_err_and(|e| !is_hung_up(e)) {
        let _ = child.kill();
    }
    let status = child.wait().at("wait for", Path::new(PROGRAM))?;
    let mut said = listener.join().unwrap_or_default();
    match fed {
        Err(e) if !is_hung_up(&e) => return Err(e),
        _ => {}
    }
    // It goes on where it leaves something out, and only says so.
    if status.success() && said.is_empty() {
        progress.finish();
        return fed;
    }
    if said.is_empty() {
        said = status.to_string();
    }
    Err(Error::Program {
        program: PROGRAM,
        said,
    })
}

fn start(path: &Path) -> Result<Child, Error> {
    let spawned = Command::new(PROGRAM)
        .args(["--quiet", "--force", "--no-skip", "--compressor", "zstd"])
        .arg(path)
        // The image's time is 1970 without it.
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    match spawned {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoProgram {
            program: PROGRAM,
            package: "squashfs-tools-ng",
        }),
        spawned => Ok(spawned.at("start", Path::new(PROGRAM))?),
    }
}

/// Writes the tree to the program as a tar file.
fn feed(
    store: &Store,
    tree: &Tree,
    child: &mut Child,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Some(input) = child.stdin.take() else {
        return Ok(());
    };
    let mut input = BufWriter::with_capacity(1 << 18, input);
    let out: &mut dyn Write = &mut input;
    let mut archive = Archive::new(store, out);
    let mut names = Names::of(tree);
    tree.walk(|path, node| {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        progress.advance(1);
        archive.entry(path, tree, node, &mut names)
    })?;
    archive.finish()?;
    Ok(())
}

/// Whether the program stopped listening: what it said is the reason then.
fn is_hung_up(error: &Error) -> bool {
    matches!(error, Error::Path(e) if e.source.kind() == io::ErrorKind::BrokenPipe)
}

/// Refuses what the format cannot hold, or the program does not take from an archive, and would leave out.
fn check(tree: &Tree) -> Result<(), Error> {
    tree.walk(|path, node| {
        let meta = match node {
            Node::Directory(id) => tree.meta(id),
            Node::Leaf(id) => tree.leaf(id).meta,
        };
        let names = || meta.xattrs.iter().map(|(name, _)| name);
        let is_held = |name: &[u8]| NAMESPACES.iter().any(|space| name.starts_with(space));
        let reason = if !names().all(is_held) {
            "squashfs has no ACLs, and attributes of `user.`, `trusted.` and `security.` alone"
        } else if names().any(|name| name.contains(&b'=') || name.contains(&b'%')) {
            "`tar2sqfs` takes no attribute with `=` or `%` in its name"
        } else if u32::try_from(meta.mtime.seconds).is_err() {
            "squashfs has times from 1970 to 2106 alone"
        } else {
            return Ok(());
        };
        Err(Error::Export {
            path: path.escape_ascii().to_string(),
            reason,
        })
    })
}
