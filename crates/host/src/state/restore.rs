//! `elea state restore`: what is kept becomes again what a snapshot has.

use super::copy::copy;
use super::snapshot::{self, About, Snapshot, data, remove_all};
use super::versions::Versions;
use super::{Error, Kept, Services, stopped};
use elea_formats::state::{Keep, Kind};
use elea_sys::{At as _, durable};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown, fchown};
use std::path::Path;

/// The value of `schema`.
pub const SCHEMA: &str = "elea.state-restore/1";
/// The value of `schema` in the mark of one that is at work.
const MARK_SCHEMA: &str = "elea.state-restoring/1";
/// The mark, below `/elea/state`.
const MARK: &str = "restoring.json";
/// Where things stand meanwhile, below `/elea/state`.
const STAGE: &str = ".restoring";
/// The largest mark.
const LARGEST: u64 = 4 << 20;

/// What was restored, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The snapshot.
    pub snapshot: u64,
    /// The paths.
    pub paths: Vec<String>,
    /// The snapshot of what was there before.
    pub before: Option<u64>,
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
}

/// A restore at work.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    schema: String,
    snapshot: u64,
    paths: Vec<String>,
}

/// The snapshot, and the paths that it has of those that are asked for.
pub fn plan(
    kept: &Kept<'_>,
    number: u64,
    paths: &[String],
) -> Result<(Snapshot, Vec<String>), Error> {
    let all = snapshot::load(kept.folder);
    let found = all.into_iter().find(|one| one.number == number);
    let found = found.ok_or(Error::NoSnapshot(number))?;
    // What this release does not keep is nobody's to write.
    let placed = kept.placed(paths)?;
    let mut chosen = Vec::new();
    for one in placed {
        match found.entry(&one.path) {
            Some(entry) if entry.kind == one.kind => chosen.push(one.path.clone()),
            _ if paths.is_empty() => {}
            _ => {
                return Err(Error::NotIn {
                    number,
                    path: one.path.clone(),
                });
            }
        }
    }
    if chosen.is_empty() {
        return Err(Error::Nothing);
    }
    Ok((found, chosen))
}

/// Restores, after a snapshot of what is there.
pub fn restore(
    kept: &Kept<'_>,
    number: u64,
    paths: &[String],
    about: About,
    services: &dyn Services,
) -> Result<Restored, Error> {
    let (snapshot, paths) = plan(kept, number, paths)?;
    let before = match snapshot::take(kept, &paths, about, services) {
        Ok(before) => Some(before.number),
        // There is nothing yet that could be lost.
        Err(Error::Nothing) => None,
        Err(e) => return Err(e),
    };
    write(kept, &snapshot, &paths, services)?;
    Ok(Restored {
        schema: SCHEMA,
        snapshot: number,
        paths,
        before,
        dry_run: false,
    })
}

/// Takes up a restore that was cut short; its number.
pub fn resume(kept: &Kept<'_>, services: &dyn Services) -> Result<Option<u64>, Error> {
    let path = kept.folder.join(MARK);
    let Some(mark) = super::versions::record::<Mark>(&path, LARGEST)? else {
        return Ok(None);
    };
    let known = |path: &&String| kept.list.keep.iter().any(|one| one.path == **path);
    let paths: Vec<String> = mark.paths.iter().filter(known).cloned().collect();
    let (snapshot, paths) = plan(kept, mark.snapshot, &paths)?;
    write(kept, &snapshot, &paths, services)?;
    Ok(Some(mark.snapshot))
}

fn write(
    kept: &Kept<'_>,
    snapshot: &Snapshot,
    paths: &[String],
    services: &dyn Services,
) -> Result<(), Error> {
    let entries: Vec<&Keep> = {
        let chosen = |keep: &&Keep| paths.contains(&keep.path);
        kept.list.keep.iter().filter(chosen).collect()
    };
    stopped(&entries, services, || {
        let mark = Mark {
            schema: MARK_SCHEMA.to_owned(),
            snapshot: snapshot.number,
            paths: paths.to_vec(),
        };
        let path = kept.folder.join(MARK);
        durable::write_private(&path, &serde_json::to_vec(&mark).unwrap_or_default())?;
        let stage = kept.folder.join(STAGE);
        for one in &entries {
            remove_all(&stage)?;
            fs::DirBuilder::new()
                .mode(0o700)
                .create(&stage)
                .at("create", &stage)?;
            let from = data(kept.folder, snapshot.number).join(&one.path[1..]);
            match one.kind {
                Kind::Directory => directory(kept, one, &from, &stage)?,
                Kind::File => file(kept, one, &from)?,
            }
        }
        durable::sync_filesystem(kept.folder)?;
        let mut versions = Versions::load(kept.folder)?;
        for path in paths {
            if let Some(version) = snapshot.entry(path).and_then(|entry| entry.version) {
                versions.set(path, version);
            }
        }
        versions.save(kept.folder)?;
        fs::remove_file(&path).at("remove", &path)?;
        durable::sync_folder(kept.folder)?;
        remove_all(&stage)
    })
}

/// Changes what is in a directory, which may be mounted and so must stay itself.
fn directory(kept: &Kept<'_>, one: &Keep, from: &Path, stage: &Path) -> Result<(), Error> {
    let (new, old) = (stage.join("new"), stage.join("old"));
    copy(from, &new)?;
    durable::sync_filesystem(&new)?;
    fs::create_dir(&old).at("create", &old)?;
    let (root, inside) = kept.root(&one.path)?;
    root.create_dir_all(inside, 0o755)?;
    let (_held, target) = root.folder(inside)?;
    let like = fs::metadata(&new).at("look at", &new)?;
    for (from, to) in [(&target, &old), (&new, &target)] {
        for entry in fs::read_dir(from).at("list", from)? {
            let entry = entry.at("list", from)?;
            let to = to.join(entry.file_name());
            fs::rename(entry.path(), &to).at("rename", entry.path())?;
        }
    }
    chown(&target, Some(like.uid()), Some(like.gid())).at("own", &one.path)?;
    Ok(fs::set_permissions(&target, like.permissions()).at("set", &one.path)?)
}

/// Changes the content of a file, which may be mounted and so must stay itself.
fn file(kept: &Kept<'_>, one: &Keep, from: &Path) -> Result<(), Error> {
    let (root, inside) = kept.root(&one.path)?;
    if !root.exists(inside) {
        root.create_dir_all(inside.parent().unwrap_or(Path::new("")), 0o755)?;
        root.create(inside, b"", 0o600)?;
    }
    let held = root.file(inside)?;
    let path = super::shown(held.into(), "");
    let mut source = File::open(from).at("open", from)?;
    let like = source.metadata().at("look at", from)?;
    let mut options = OpenOptions::new();
    let target = options.write(true).truncate(true).open(&path.path);
    let mut target = target.at("open", &one.path)?;
    std::io::copy(&mut source, &mut target).at("write", &one.path)?;
    fchown(&target, Some(like.uid()), Some(like.gid())).at("own", &one.path)?;
    target
        .set_permissions(like.permissions())
        .at("set", &one.path)?;
    Ok(target.sync_all().at("sync", &one.path)?)
}
