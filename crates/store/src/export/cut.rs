//! Which layer each file goes into.
//!
//! A layer is fetched whole if anything in it changed, so files that change together belong
//! together, and apart from those that do not. What changes at once is what is built at once: the
//! packages of one *source*. Large sources, and those that the distribution has updated within
//! its release and will update again, have a layer of their own; the others are in sixteen
//! buckets by their names, and what belongs to no package is by itself.

use crate::{Error, Store};
use elea_formats::digest::Sha256;
use elea_formats::tree::{Content, ContentRef, DirId, LeafId, Node, Tree, components};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Where dpkg keeps its database, below an image's root.
const DPKG: [&str; 2] = ["usr/lib/sysimage/dpkg", "var/lib/dpkg"];
/// The largest file of it that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;
/// From this size in bytes a source has a layer of its own.
const LARGE: u64 = 1 << 20;
/// At most so many sources have one; container engines stop at 127 layers.
const MAX_OWN: usize = 80;
const BUCKETS: u8 = 16;
/// The initrd, beside its kernel: it changes with `elea-initrd` and the config, the kernel does not.
const INITRD: &[u8] = b"/elea-initrd.img";
/// Files of no package from this size in bytes are not with the configuration.
const LARGE_FILE: u64 = 1 << 20;

/// Who owns what.
#[derive(Debug, Default)]
pub(super) struct Owners {
    sources: Vec<String>,
    /// Of each leaf the number of the source, plus one, of the package that owns it; of the first package
    /// in the order of names, if several do. 0 is none's.
    of: Vec<u32>,
    /// The sources that were updated within their release.
    updated: BTreeSet<String>,
}

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
    Source(String),
    Bucket(u8),
    Kernel,
    Initrd,
    Generated,
    Configuration,
}

impl Owners {
    /// Nothing is owned.
    fn none(tree: &Tree) -> Self {
        Self {
            of: vec![0; tree.count_names().len()],
            ..Self::default()
        }
    }

    /// The source of a leaf's package.
    fn source(&self, id: LeafId) -> Option<&str> {
        let number = self.of[id.index()].checked_sub(1)?;
        Some(&self.sources[number as usize])
    }

    /// Says that files are a package's, by their paths.
    fn own<'p>(&mut self, tree: &Tree, source: &str, paths: impl Iterator<Item = &'p [u8]>) {
        let number = self.sources.iter().position(|known| known == source);
        let number = number.unwrap_or_else(|| {
            self.sources.push(source.to_owned());
            self.sources.len() - 1
        });
        // Packages are counted in thousands.
        let number = u32::try_from(number + 1).unwrap_or_default();
        for id in paths.filter_map(|path| leaf(tree, path)) {
            let of = &mut self.of[id.index()];
            if *of == 0 {
                *of = number;
            }
        }
    }
}

/// Reads dpkg's database from a tree.
pub(super) fn load_owners(store: &Store, tree: &Tree) -> Result<Owners, Error> {
    let mut owners = Owners::none(tree);
    let lists = DPKG.into_iter().find_map(|folder| {
        let lists = tree.directory(format!("{folder}/info").as_bytes())?;
        Some((folder, lists))
    });
    let Some((folder, directory)) = lists else {
        return Ok(owners);
    };
    let status = store.read_file(tree, &format!("{folder}/status"), MAX_LIST)?;
    let status = String::from_utf8(status.unwrap_or_default()).unwrap_or_default();
    let sources = parse_sources(&status);
    for (name, _) in tree.entries(directory) {
        let Some(package) = std::str::from_utf8(name)
            .ok()
            .and_then(|n| n.strip_suffix(".list"))
        else {
            continue;
        };
        let path = format!("{folder}/info/{package}.list");
        if let Some(list) = store.read_file(tree, &path, MAX_LIST)? {
            let package = package.split(':').next().unwrap_or(package);
            let (source, version) = sources.get(package).copied().unwrap_or((package, ""));
            if is_update(version) {
                owners.updated.insert(source.to_owned());
            }
            owners.own(tree, source, list.split(|b| *b == b'\n'));
        }
    }
    Ok(owners)
}

/// The packages of dpkg's `status`, each with its source and its version.
///
/// Source: Debian Policy, "Control files and their fields": a package without a `Source` is its own, and a
/// version in brackets may follow.
fn parse_sources(status: &str) -> HashMap<&str, (&str, &str)> {
    let mut sources = HashMap::new();
    for paragraph in status.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let Some(package) = field("Package") else {
            continue;
        };
        let source = field("Source").and_then(|source| source.split(' ').next());
        let version = field("Version").unwrap_or_default();
        sources.insert(package, (source.unwrap_or(package), version));
    }
    sources
}

/// Whether a version is an update within a release of Debian: `3.5.1-1+deb13u2`, `13.2~deb13u1`.
fn is_update(version: &str) -> bool {
    version.match_indices("deb").any(|(at, deb)| {
        let rest = version[at + deb.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
        let mut rest = rest.chars();
        version[..at].ends_with(['+', '~'])
            && rest.next() == Some('u')
            && rest.next().is_some_and(|c| c.is_ascii_digit())
    })
}

/// The leaf at a path, the links of its folders followed (`/lib/x` is `/usr/lib/x`); none if nothing is there, or
/// a directory.
fn leaf(tree: &Tree, path: &[u8]) -> Option<LeafId> {
    let mut todo: Vec<&[u8]> = components(path).collect();
    todo.reverse();
    let mut stack = vec![DirId::ROOT];
    let mut links = 0;
    while let Some(part) = todo.pop() {
        if part == b"." {
            continue;
        }
        if part == b".." {
            stack.truncate((stack.len() - 1).max(1));
            continue;
        }
        match tree.child(*stack.last()?, part)? {
            Node::Directory(child) => stack.push(child),
            Node::Leaf(id) if todo.is_empty() => return Some(id),
            Node::Leaf(id) => {
                let Content::Symlink(target) = tree.content(id) else {
                    return None;
                };
                links += 1;
                if links > 40 {
                    return None;
                }
                if target.starts_with(b"/") {
                    stack.truncate(1);
                }
                let parts: Vec<&[u8]> = components(target).collect();
                todo.extend(parts.into_iter().rev());
            }
        }
    }
    None
}

/// Decides. A file that no package owns goes where the first of its names does.
pub(super) fn plan(tree: &Tree, owners: &Owners) -> Result<Vec<Part>, Error> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for id in tree.leaves() {
        if let Some(source) = owners.source(id) {
            *sizes.entry(source).or_default() += size(tree.content(id));
        }
    }
    let own = own(sizes, &owners.updated);
    let mut parts: BTreeMap<Group, (Vec<LeafId>, u64)> = BTreeMap::new();
    let mut buckets: BTreeMap<u8, BTreeSet<&str>> = BTreeMap::new();
    let mut placed = vec![false; owners.of.len()];
    tree.walk(|path, node| {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        if name.starts_with(b".wh.") {
            return Err(Error::Export {
                path: path.escape_ascii().to_string(),
                reason: "in a layer, a name that begins with `.wh.` removes something",
            });
        }
        let Node::Leaf(id) = node else {
            return Ok(());
        };
        if std::mem::replace(&mut placed[id.index()], true) {
            return Ok(());
        }
        let size = size(tree.content(id));
        let group = match owners.source(id) {
            Some(source) if own.contains(source) => Group::Source(source.to_owned()),
            Some(source) => {
                let bucket = Sha256::of(source.as_bytes()).as_bytes()[0] % BUCKETS;
                buckets.entry(bucket).or_default().insert(source);
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
        Ok(())
    })?;
    // The directories need a layer, and an image needs one in any case.
    parts.entry(Group::Configuration).or_default();
    Ok(parts
        .into_iter()
        .map(|(group, (leaves, bytes))| Part {
            top: group == Group::Configuration,
            title: title(group, &buckets),
            leaves,
            bytes,
        })
        .collect())
}

/// The sources that have a layer of their own: first those that were updated, then the largest. One that was
/// not updated before leaves its bucket by its first update, which changes the bucket in any case.
fn own<'s>(sizes: BTreeMap<&'s str, u64>, updated: &BTreeSet<String>) -> BTreeSet<&'s str> {
    let mut own: Vec<(bool, u64, &str)> = sizes
        .into_iter()
        .map(|(source, size)| (updated.contains(source), size, source))
        .filter(|(updated, size, _)| *updated || *size >= LARGE)
        .collect();
    own.sort_by_key(|(updated, size, source)| Reverse((*updated, *size, Reverse(*source))));
    own.truncate(MAX_OWN);
    own.into_iter().map(|(_, _, source)| source).collect()
}

fn title(group: Group, buckets: &BTreeMap<u8, BTreeSet<&str>>) -> String {
    match group {
        Group::Source(name) => name,
        Group::Bucket(bucket) => match buckets.get(&bucket).map_or(0, BTreeSet::len) {
            1 => "files of 1 source".to_owned(),
            count => format!("files of {count} sources"),
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
        let digest = elea_formats::digest::Digest::from(Sha256::of(&[seed]));
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
            "/usr/lib/small 5 100644 1 0 0 0 1.0 - small -\n",
            "/usr/lib/tool 4 100644 1 0 0 0 1.0 - tool -\n",
            &object("/usr/lib/cache", 3, 2),
            "/usr/lib/modules/6 0 40755 2 0 0 0 1.0 - - -\n",
            &object("/usr/lib/modules/6/elea-initrd.img", 4, 2),
            &object("/usr/lib/modules/6/vmlinuz", 5, 2),
        ]
        .concat()
    }

    fn titles(text: &str, updated: &[&str]) -> Vec<(String, usize)> {
        let tree = dump::parse(text.as_bytes()).unwrap();
        let mut owners = Owners::none(&tree);
        for (path, source) in [
            ("/lib/libc.so", "glibc"),
            ("/usr/lib/small", "tiny"),
            ("/usr/lib/tool", "tool"),
        ] {
            assert!(leaf(&tree, path.as_bytes()).is_some());
            owners.own(&tree, source, [path.as_bytes()].into_iter());
        }
        owners.updated = updated.iter().map(|&source| source.to_owned()).collect();
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
            ("glibc", 1),
            ("tool", 1),
            ("files of 1 source", 1),
            ("kernel", 1),
            ("initrd", 1),
            ("generated files", 1),
            // The message and the link.
            ("configuration", 2),
        ]
        .map(|(title, leaves)| (title.to_owned(), leaves));
        assert_eq!(titles(&text(1, "hello"), &["tool"]), expected);
        assert_eq!(titles(&text(9, "goodbye"), &["tool"]), expected);
        // The name of the one that was never updated decides its bucket.
        let never = titles(&text(1, "hello"), &[]);
        let buckets = never.iter().filter(|(title, _)| title.starts_with("files"));
        assert_eq!(buckets.map(|(_, leaves)| leaves).sum::<usize>(), 2);
    }

    #[test]
    fn packages_of_one_source_are_one_and_updates_are_told_by_their_versions() {
        let status = "Package: libc-bin\nSource: glibc\nVersion: 2.41-12\n\n\
                      Package: libgcc-s1\nSource: gcc-14 (14.2.0-19)\nVersion: 14.2.0-19\n\n\
                      Package: openssl\nDescription: x\n Package: y\nVersion: 3.5.1-1+deb13u2\n";
        let sources = parse_sources(status);
        assert_eq!(sources["libc-bin"], ("glibc", "2.41-12"));
        assert_eq!(sources["libgcc-s1"], ("gcc-14", "14.2.0-19"));
        assert_eq!(sources["openssl"], ("openssl", "3.5.1-1+deb13u2"));
        assert_eq!(sources.len(), 3);
        for version in [
            "1.0+deb13u1",
            "1.0-1~deb9u12",
            "2debu-1+deb13u1+b2",
            "1+deb13u3~x",
        ] {
            assert!(is_update(version), "{version}");
        }
        for version in [
            "",
            "1.0-1",
            "1.0-1+b2",
            "1.0-1+deb13",
            "1.0deb13u1",
            "1.0+debu",
            "debian",
        ] {
            assert!(!is_update(version), "{version}");
        }
    }

    #[test]
    fn dpkg_says_who_owns_what() {
        let file = |path: &str, text: &str| {
            let shown = text.replace(' ', "\\x20").replace('\n', "\\n");
            format!("/{path} {} 100644 1 0 0 0 1.0 - {shown} -\n", text.len())
        };
        let folder = |path: &str| format!("/{path} 0 40755 2 0 0 0 1.0 - - -\n");
        let status = "Package: a1\nSource: a (2)\nVersion: 3+deb13u1\n\nPackage: b\nVersion: 1\n";
        let text = [
            folder(""),
            "/lib 7 120777 1 0 0 0 1.0 usr/lib - -\n".to_owned(),
            folder("usr"),
            folder("usr/lib"),
            file("usr/lib/a", "a"),
            file("usr/lib/b", "b"),
            file("usr/lib/c", "c"),
            folder("var"),
            folder("var/lib"),
            folder("var/lib/dpkg"),
            folder("var/lib/dpkg/info"),
            file("var/lib/dpkg/info/a1:amd64.list", "/lib\n/lib/a\n"),
            file("var/lib/dpkg/info/b.list", "/usr/lib/b\n/usr/lib/a\n"),
            file("var/lib/dpkg/info/c.list", "/usr/lib/c\n"),
            file("var/lib/dpkg/status", status),
        ];
        let tree = dump::parse(text.concat().as_bytes()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(&dir.path().join("store")).unwrap();
        let owners = load_owners(&store, &tree).unwrap();
        for (path, source) in [
            ("/usr/lib/a", "a"),
            ("/usr/lib/b", "b"),
            ("/usr/lib/c", "c"),
        ] {
            let id = leaf(&tree, path.as_bytes()).unwrap();
            assert_eq!(owners.source(id), Some(source));
        }
        assert_eq!(owners.updated, BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn the_updated_and_the_largest_come_first() {
        let names: Vec<String> = (0..200).map(|n| format!("source-{n:03}")).collect();
        let sizes = names
            .iter()
            .map(String::as_str)
            .zip((0..200).map(|n| n << 20));
        let updated = BTreeSet::from(["source-000".to_owned(), "source-007".to_owned()]);
        let own = own(sizes.collect(), &updated);
        assert_eq!(own.len(), MAX_OWN);
        assert!(own.contains("source-000") && own.contains("source-007"));
        assert!(own.contains("source-122") && !own.contains("source-121"));
    }

    #[test]
    fn a_name_that_would_remove_something_is_refused() {
        let text = text(1, "x") + "/usr/.wh.lib 0 100644 1 0 0 0 1.0 - - -\n";
        let tree = dump::parse(text.as_bytes()).unwrap();
        let error = plan(&tree, &Owners::none(&tree)).unwrap_err().to_string();
        assert!(error.contains("/usr/.wh.lib"), "{error}");
    }

    #[test]
    fn links_that_lead_round_lead_nowhere() {
        let text = "/ 0 40755 2 0 0 0 1.0 - - -\n/a 1 120777 1 0 0 0 1.0 b - -\n/b 1 120777 1 0 0 0 1.0 a - -\n/c 0 40755 2 0 0 0 1.0 - - -\n";
        let tree = dump::parse(text.as_bytes()).unwrap();
        assert_eq!(leaf(&tree, b"/a/x"), None);
        assert!(leaf(&tree, b"/a").is_some());
        assert_eq!(leaf(&tree, b"/c/../../a"), leaf(&tree, b"/a"));
        assert_eq!(leaf(&tree, b"/."), None);
    }
}
