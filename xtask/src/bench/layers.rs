//! What travels from one release to the next, cut into layers in three ways.

use super::build::{cells, percent};
use super::report::Section;
use crate::works::{Release, Works};
use crate::{Result, talk};
use elea_testkit::{Error, run};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What packs files as a layer; their names come on stdin.
const PACK: &str = "tar -C \"$1\" --no-recursion --null -T - --numeric-owner --xattrs \
                    --xattrs-include='*' -cf - | gzip -6 -n | wc -c";
/// Where dpkg's lists are.
const LISTS: &str = "usr/lib/sysimage/dpkg/info";

/// Bytes of layers, and how many they are.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    layers: u64,
    bytes: u64,
}

/// Builds 1.0 and 2.0 and measures what of 2.0 a machine with 1.0 fetches.
pub(super) fn measure(works: &Works) -> Result<Section> {
    let place = works.folder.join("layers");
    let _ = fs::remove_dir_all(&place);
    let fail = |e| Error::other(format!("cannot create {}: {e}", place.display()));
    fs::create_dir_all(&place).map_err(fail)?;
    let mut dumps = Vec::new();
    let mut ours = Vec::new();
    for release in [Release::First, Release::Second] {
        works.build(release)?;
        let (name, tag) = (release.name(), release.tag());
        let layout = format!("oci:{}:{tag}", place.join("layout").display());
        let words = ["image", "push", &name, &layout, "--compression", "gzip"];
        run(&mut works.elea(&words))?;
        ours.push(layers(&place.join("layout"), &tag)?);
        dumps.push(leaves(&run(
            &mut works.elea(&["image", "export", &name, "dump:-"])
        )?));
    }
    let tree = unpack(works, &place)?;
    let (old, new) = (&dumps[0], &dumps[1]);
    let whole = pack(&tree, new.keys())?;
    let mut by_package = Moved::default();
    let packages = packages(&tree, new)?;
    talk::note(&format!("{} packages and the rest", packages.len() - 1));
    for files in packages.values() {
        if files.iter().any(|path| old.get(*path) != new.get(*path)) {
            by_package.layers += 1;
            by_package.bytes += pack(&tree, files.iter().copied())?;
        }
    }
    let mut cut = Moved::default();
    for (_, size) in ours[1]
        .iter()
        .filter(|(blob, _)| !ours[0].contains_key(*blob))
    {
        cut.layers += 1;
        cut.bytes += size;
    }
    let row = |what: &str, all: usize, moved: Moved| {
        vec![
            what.to_owned(),
            all.to_string(),
            moved.layers.to_string(),
            talk::size(moved.bytes),
            format!("{} %", percent(moved.bytes, whole)),
        ]
    };
    let one = Moved {
        layers: 1,
        bytes: whole,
    };
    Ok(Section {
        title: "Layers: what of 2.0 a machine with 1.0 fetches whole",
        head: cells(["cut", "layers", "of these new", "bytes", "of one layer"]),
        rows: vec![
            row("one layer", 1, one),
            row("one layer for each package", packages.len(), by_package),
            row("as `elea image push` cuts", ours[1].len(), cut),
        ],
        how: "Both releases of the example; a layer travels whole if anything in it is new. The first two are packed by GNU tar and `gzip -6`, files alone; a package's files are those of dpkg's\n\
              list, what no package owns is one layer more, kernel and initrd with it, and a layer is new if a file's content, owner, mode, time or attributes are. The third are the blobs of an OCI\n\
              layout, gzip too; of zstd:chunked layers, which are the default, Elea and podman fetch only files that are new. Engines stop at 127 layers, so a layer for each package is no choice."
            .into(),
    })
}

/// Release 2.0 as a folder.
fn unpack(works: &Works, place: &Path) -> Result<PathBuf> {
    let (tar, tree) = (place.join("tar"), place.join("tree"));
    let target = format!("tar:{}", tar.display());
    run(&mut works.elea(&["image", "export", &Release::Second.name(), &target]))?;
    let fail = |e| Error::other(format!("cannot create {}: {e}", tree.display()));
    fs::create_dir_all(&tree).map_err(fail)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--xattrs", "--xattrs-include=*", "-xpf"]);
    run(unpack.arg(&tar).arg("-C").arg(&tree))?;
    let _ = fs::remove_file(&tar);
    Ok(tree)
}

/// The layers of an image in a layout with their sizes in bytes.
fn layers(layout: &Path, tag: &str) -> Result<BTreeMap<String, u64>> {
    let read = |path: PathBuf| -> Result<Value> {
        let text = fs::read_to_string(&path);
        let text =
            text.map_err(|e| Error::other(format!("cannot read {}: {e}", path.display())))?;
        serde_json::from_str(&text)
            .map_err(|e| Error::other(format!("{} is no JSON: {e}", path.display())))
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let index = read(layout.join("index.json"))?;
    let name = "org.opencontainers.image.ref.name";
    let image = all(&index["manifests"])
        .into_iter()
        .find(|m| m["annotations"][name] == tag)
        .ok_or_else(|| Error::other(format!("{} has no image {tag}", layout.display())))?;
    let blob = text(&image["digest"]).replace(':', "/");
    let manifest = read(layout.join("blobs").join(blob))?;
    let layers = all(&manifest["layers"]);
    Ok(layers
        .iter()
        .map(|layer| (text(&layer["digest"]), layer["size"].as_u64().unwrap_or(0)))
        .collect())
}

/// The lines of a dump by their paths, without the directories. A path with an escape in it is not what
/// dpkg calls it, and goes with what no package owns.
fn leaves(dump: &str) -> BTreeMap<String, String> {
    let fields = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (path, _, mode) = (words.next()?, words.next()?, words.next()?);
        let is_leaf = !mode.starts_with('4') || mode.len() != 5;
        (is_leaf && !path.contains('\\')).then(|| (path.to_owned(), line.to_owned()))
    };
    dump.lines().filter_map(fields).collect()
}

/// The files of each package; those of none under the empty name.
fn packages<'d>(
    tree: &Path,
    all: &'d BTreeMap<String, String>,
) -> Result<BTreeMap<String, Vec<&'d String>>> {
    let mut packages: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    let mut owned = BTreeSet::new();
    let folder = tree.join(LISTS);
    let fail = |e| Error::other(format!("cannot read {}: {e}", folder.display()));
    for entry in fs::read_dir(&folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_none_or(|e| e != "list") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default();
        let text = fs::read_to_string(&path).map_err(fail)?;
        for line in text.lines() {
            let below = format!("/usr{line}");
            let found = [line, &below]
                .into_iter()
                .find_map(|p| all.get_key_value(p));
            if let Some((file, _)) = found
                && owned.insert(file)
            {
                let files = packages.entry(name.to_string_lossy().into_owned());
                files.or_default().push(file);
            }
        }
    }
    let rest = all.keys().filter(|file| !owned.contains(file));
    packages.insert(String::new(), rest.collect());
    Ok(packages)
}

/// How many bytes files are as a layer.
fn pack<'f>(tree: &Path, files: impl Iterator<Item = &'f String>) -> Result<u64> {
    let mut names = String::new();
    for file in files {
        names.extend([".", file.as_str(), "\0"]);
    }
    let list = tree.with_extension("list");
    let fail = |e| Error::other(format!("cannot write {}: {e}", list.display()));
    fs::write(&list, names).map_err(fail)?;
    let input = fs::File::open(&list).map_err(fail)?;
    let mut command = Command::new("sh");
    command.args(["-c", PACK, "sh"]).arg(tree).stdin(input);
    let output = command
        .output()
        .map_err(|e| Error::other(format!("cannot run sh: {e}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().map_err(|_| {
        Error::other(format!(
            "tar and gzip: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_odd_names_are_no_leaves() {
        let dump = "/ 0 40755 2 0 0 0 0.0 - - -\n/a 1 100644 1 0 0 0 0.0 - x -\n\
                    /b\\x20 1 100644 1 0 0 0 0.0 - x -\n/c 0 @120000 - - - - 0.0 /a - -\n";
        let leaves = leaves(dump);
        assert_eq!(leaves.keys().collect::<Vec<_>>(), ["/a", "/c"]);
        assert!(leaves["/a"].ends_with("- x -"));
    }
}
