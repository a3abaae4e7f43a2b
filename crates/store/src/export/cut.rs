//! Which layer each file goes into.
//!
//! A layer is fetched whole if anything in it changed, so files that change together belong
//! together: those of a large package in a layer of its own, small packages in sixteen
//! buckets by their names, and what belongs to no package by itself.

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::tree::{Content, ContentRef, DirId, LeafId, Node, Tree, components};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where dpkg keeps the lists of files, below an image's root.
const DPKG: [&str; 2] = ["usr/lib/sysimage/dpkg/info", "var/lib/dpkg/info"];
/// The largest list of files that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;
/// From this size in bytes a package has a layer of its own.
const LARGE: u64 = 4 << 20;
/// At most so many packages have one; container engines stop at 127 layers.
const MAX_LARGE: usize = 80;
const BUCKETS: u8 = 16;
/// The initrd, beside its kernel: it changes with `elea-initrd` and the config, the kernel does not.
const INITRD: &[u8] = b"/elea-initrd.img";
/// Files of no package from this size in bytes are not with the configuration.
const LARGE_FILE: u64 = 1 << 20;

/// A path and the package that owns it; the first in the order of names, if several do.
pub(super) type Owners = HashMap<Vec<u8>, String>;

/// A layer to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) title: String,
    /// Its leaves.
    pub(super) leaves: Vec<LeafId>,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// Whether it is the topmost, which carries every directory with its time.
    pub(super) top: bool,
}

/// What decides a file's layer. The order is that of the layers: what changes most is on top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Group {
    Package(String),
    Bucket(u8),
    Kernel,
    Initrd,
    Generated,
    Configuration,
}

/// Reads dpkg's lists of files from a tree.
pub(super) fn load_owners(store: &Store, tree: &Tree) -> Result<Owners, Error> {
    let mut owners = Owners::new();
    let Some((folder, directory)) = DPKG
        .iter()
        .find_map(|folder| Some((folder, tree.directory(folder.as_bytes())?)))
    else {
        return Ok(owners);
    };
    for (name, _) in tree.entries(directory) {
        let Some(package) = std::str::from_utf8(name)
            .ok()
            .and_then(|n| n.strip_suffix(".list"))
        else {
            continue;
        };
        let path = format!("{folder}/{package}.list");
        if let Some(list) = store.read_file(tree, &path, MAX_LIST)? {
            let package = package.split(':').next().unwrap_or(package);
            for line in list.split(|b| *b == b'\n') {
                if let Some(path) = real_path(tree, line) {
                    owners.entry(path).or_insert_with(|| package.to_owned());
                }
            }
        }
    }
    Ok(owners)
}

/// A path as the tree has it, its folders' links followed (`/lib/x` is `/usr/lib/x`), with a slash before
/// each name; none if nothing is there.
fn real_path(tree: &Tree, path: &[u8]) -> Option<Vec<u8>> {
    let mut todo: Vec<&[u8]> = components(path).collect();
    todo.reverse();
    let mut done: Vec<&[u8]> = Vec::new();
    let mut stack = vec![DirId::ROOT];
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == b"." {
            continue;
        }
        if part == b".." {
            if done.pop().is_some() {
                stack.pop();
            }
            continue;
        }
        match tree.child(*stack.last()?, part)? {
            Node::Directory(child) => stack.push(child),
            Node::Leaf(id) if !todo.is_empty() => {
                let Content::Symlink(target) = tree.content(id) else {
                    return None;
                };
                links += 1;
                if links > 40 {
                    return None;
                }
                if target.starts_with(b"/") {
                    done.clear();
                    stack.truncate(1);
                }
                let parts: Vec<&[u8]> = components(target).collect();
                todo.extend(parts.into_iter().rev());
                continue;
            }
            Node::Leaf(_) => {}
        }
        done.push(part);
    }
    let mut real = Vec::new();
    for part in done {
        real.push(b'/');
        real.extend_from_slice(part);
    }
    Some(real)
}

/// Decides. Hard links go where the first of their names does.
pub(super) fn plan(tree: &Tree, owners: &Owners) -> Result<Vec<Part>, Error> {
    let mut placed: HashMap<LeafId, Vec<u8>> = HashMap::new();
    let mut order = Vec::new();
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    tree.walk(|path, node| {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return Err(Error::Export {
                path: path.escape_ascii().to_string(),
                reason: "in a layer, a name that begins with `.wh.` removes something",
            });
        }
        if let Node::Leaf(id) = node
            && !placed.contains_key(&id)
        {
            placed.insert(id, path.to_vec());
            order.push(id);
            if let Some(package) = owners.get(path) {
                *sizes.entry(package).or_default() += size(tree.content(id));
            }
        }
        Ok(())
    })?;
    let mut large: Vec<(&str, u64)> = sizes
        .into_iter()
        .filter(|(_, size)| *size >= LARGE)
        .collect();
    large.sort_by_key(|(name, size)| (std::cmp::Reverse(*size), *name));
    large.truncate(MAX_LARGE);
    let mut parts: BTreeMap<Group, (Vec<LeafId>, u64)> = BTreeMap::new();
    let mut packages: BTreeMap<u8, BTreeSet<&str>> = BTreeMap::new();
    for id in order {
        let size = size(tree.content(id));
        let path = &placed[&id];
        let group = match owners.get(path) {
            Some(package) if large.iter().any(|(name, _)| name == package) => {
                Group::Package(package.clone())
            }
            Some(package) => {
                let bucket = Digest::sha256(package.as_bytes()).as_bytes()[0] % BUCKETS;
                packages.entry(bucket).or_default().insert(package);
                Group::Bucket(bucket)
            }
            None if path.starts_with(b"/usr/lib/modules/") => {
                if path.ends_with(INITRD) {
                    Group::Initrd
                } else {
                    Group::Kernel
                }
            }
            None if size >= LARGE_FILE => Group::Generated,
            None => Group::Configuration,
        };
        let part = parts.entry(group).or_default();
        part.0.push(id);
        part.1 += size;
    }
    // The directories need a layer, and an image needs one in any case.
    parts.entry(Group::Configuration).or_default();
    Ok(parts
        .into_iter()
        .map(|(group, (leaves, bytes))| Part {
            top: group == Group::Configuration,
            title: title(group, &packages),
            leaves,
            bytes,
        })
        .collect())
}

fn title(group: Group, packages: &BTreeMap<u8, BTreeSet<&str>>) -> String {
    match group {
        Group::Package(name) => name,
        Group::Bucket(bucket) => match packages.get(&bucket).map_or(0, BTreeSet::len) {
            1 => "files of 1 package".to_owned(),
            count => format!("files of {count} packages"),
        },
        Group::Kernel => "kernel".to_owned(),
        Group::Initrd => "initrd".to_owned(),
        Group::Generated => "generated files".to_owned(),
        Group::Configuration => "configuration".to_owned(),
    }
}

fn size(content: ContentRef<'_>) -> u64 {
    match content {
        Content::Object { size, .. } => size,
        Content::Inline(bytes) => bytes.len() as u64,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::dump;

    fn object(path: &str, seed: u8, megabytes: u64) -> String {
        let digest = Digest::sha256(&[seed]);
        format!(
            "{path} {} 100644 1 0 0 0 1.0 {} - {digest}\n",
            megabytes << 20,
            digest.object_path()
        )
    }

    fn text(libc: u8, motd: &str) -> String {
        [
            "/ 0 40755 3 0 0 0 1.0 - - -\n/etc 0 40755 2 0 0 0 1.0 - - -\n",
            "/lib 7 120777 1 0 0 0 1.0 usr/lib - -\n",
            "/usr 0 40755 3 0 0 0 1.0 - - -\n/usr/lib 0 40755 3 0 0 0 1.0 - - -\n",
            "/usr/lib/modules 0 40755 2 0 0 0 1.0 - - -\n",
            &format!("/etc/motd {} 100644 1 0 0 0 1.0 - {motd} -\n", motd.len()),
            &object("/usr/lib/libc.so", libc, 5),
            &object("/usr/lib/small", 2, 1),
            &object("/usr/lib/cache", 3, 2),
            "/usr/lib/modules/6 0 40755 2 0 0 0 1.0 - - -\n",
            &object("/usr/lib/modules/6/elea-initrd.img", 4, 2),
            &object("/usr/lib/modules/6/vmlinuz", 5, 2),
        ]
        .concat()
    }

    fn titles(text: &str) -> Vec<(String, usize)> {
        let tree = dump::parse(text.as_bytes()).unwrap();
        let owners: Owners = [("/lib/libc.so", "libc6"), ("/usr/lib/small", "tiny")]
            .into_iter()
            .filter_map(|(path, owner)| {
                Some((real_path(&tree, path.as_bytes())?, owner.to_owned()))
            })
            .collect();
        assert_eq!(owners.len(), 2);
        let parts = plan(&tree, &owners).unwrap();
        assert_eq!(parts.iter().filter(|part| part.top).count(), 1);
        parts
            .into_iter()
            .map(|part| (part.title, part.leaves.len()))
            .collect()
    }

    #[test]
    fn what_changes_together_is_together() {
        let expected = [
            ("libc6", 1),
            ("files of 1 package", 1),
            ("kernel", 1),
            ("initrd", 1),
            ("generated files", 1),
            // The message and the link.
            ("configuration", 2),
        ]
        .map(|(title, leaves)| (title.to_owned(), leaves));
        assert_eq!(titles(&text(1, "hello")), expected);
        assert_eq!(titles(&text(9, "goodbye")), expected);
    }

    #[test]
    fn a_name_that_would_remove_something_is_refused() {
        let text = text(1, "x") + "/usr/.wh.lib 0 100644 1 0 0 0 1.0 - - -\n";
        let tree = dump::parse(text.as_bytes()).unwrap();
        let error = plan(&tree, &Owners::new()).unwrap_err().to_string();
        assert!(error.contains("/usr/.wh.lib"), "{error}");
    }

    #[test]
    fn links_that_lead_round_lead_nowhere() {
        let text = "/ 0 40755 2 0 0 0 1.0 - - -\n/a 1 120777 1 0 0 0 1.0 b - -\n/b 1 120777 1 0 0 0 1.0 a - -\n";
        let tree = dump::parse(text.as_bytes()).unwrap();
        assert_eq!(real_path(&tree, b"/a/x"), None);
        assert_eq!(real_path(&tree, b"/../a"), Some(b"/a".to_vec()));
        assert_eq!(real_path(&tree, b"/."), Some(Vec::new()));
    }
}
