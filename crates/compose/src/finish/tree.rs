//! The tree under work: every path is inside it, every owner and mode is said, not inherited.
//!
//! It is in memory, over the objects of the store. What is new in it, and every folder in which something changed, has
//! the time of the lock.

use crate::lock::Error;
use crate::own::Program;
use elea_formats::tree::{Content, DirId, Leaf, Meta, Node, Time, Tree as Nodes};
use elea_store::{Draft, Store};

/// A file of the tree that is read whole is never larger, in bytes.
const LIMIT: u64 = 256 << 20;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
    Link,
    Pipe,
    /// A socket or a device.
    Other,
}

/// The tree. Paths are relative to it, with or without a slash before them; links before their ends are followed inside
/// it.
#[derive(Debug)]
pub(crate) struct Tree<'s> {
    draft: Draft<'s>,
    time: Time,
}

/// Root's and everybody's to read.
pub(super) const ROOT: (u32, u32) = (0, 0);

impl<'s> Tree<'s> {
    /// Begins with a tree of the store; what is new gets this time, in seconds since 1970.
    pub(crate) fn new(store: &'s Store, tree: Nodes, time: i64) -> Result<Self, Error> {
        Ok(Self {
            draft: store.draft(tree)?,
            time: Time {
                seconds: time,
                nanoseconds: 0,
            },
        })
    }

    /// The tree as it is now.
    pub(crate) fn nodes(&self) -> &Nodes {
        &self.draft.tree
    }

    /// The tree as it is now, to be changed as a whole.
    pub(super) fn nodes_mut(&mut self) -> &mut Nodes {
        &mut self.draft.tree
    }

    /// The finished tree.
    pub(crate) fn into_nodes(self) -> Nodes {
        self.draft.finish()
    }

    fn node(&self, path: &str) -> Option<Node> {
        // Who asks cannot tell a path without end from one that leads nowhere.
        self.draft.tree.stand(path.as_bytes()).unwrap_or_default()
    }

    /// Whether there is something at the path, be it a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        self.node(path).is_some()
    }

    /// Whether the path leads to something, a link at its end followed.
    pub(super) fn leads(&self, path: &str) -> bool {
        matches!(self.draft.tree.follow(path.as_bytes()), Ok(Some(_)))
    }

    /// The kind of what is there.
    pub(super) fn kind(&self, path: &str) -> Option<Kind> {
        Some(match self.node(path)? {
            Node::Directory(_) => Kind::Folder,
            Node::Leaf(id) => match self.draft.tree.content(id) {
                Content::Inline(_) | Content::Object { .. } => Kind::File,
                Content::Symlink(_) => Kind::Link,
                Content::Fifo => Kind::Pipe,
                _ => Kind::Other,
            },
        })
    }

    /// A regular file, whole, links followed; none if there is none.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.draft.read(path, LIMIT)?)
    }

    /// A text file, whole; empty if there is none.
    pub(super) fn text(&self, path: &str) -> Result<String, Error> {
        let bytes = self.read(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, sorted; none if there is no such folder.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let tree = &self.draft.tree;
        let Ok(Some(folder)) = tree.folder(path.as_bytes()) else {
            return Vec::new();
        };
        let names = tree.entries(folder).map(|(name, _)| name);
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// A folder with this mode and owner, and root's folders above it where they are missing.
    pub(super) fn folder(
        &mut self,
        path: &str,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        let folder = match self.draft.tree.child(parent, name) {
            Some(Node::Directory(id)) => id,
            Some(Node::Leaf(_)) => return Err(not_a_folder(path)),
            None => self.make(parent, name),
        };
        let mut meta = self.draft.tree.meta(folder).to_owned();
        (meta.mode, meta.uid, meta.gid) = (mode, uid, gid);
        self.draft.tree.set_meta(folder, &meta);
        Ok(())
    }

    /// Makes a folder of root's.
    fn make(&mut self, parent: DirId, name: &[u8]) -> DirId {
        self.touch(parent);
        let meta = self.meta(0o755, ROOT);
        self.draft.tree.add_directory(parent, name, &meta)
    }

    fn meta(&self, mode: u32, (uid, gid): (u32, u32)) -> Meta {
        Meta {
            mode,
            uid,
            gid,
            mtime: self.time,
            ..Meta::default()
        }
    }

    /// Something in a folder changed.
    fn touch(&mut self, folder: DirId) {
        let mut meta = self.draft.tree.meta(folder).to_owned();
        if meta.mtime != self.time {
            meta.mtime = self.time;
            self.draft.tree.set_meta(folder, &meta);
        }
    }

    /// The folder that a path stands in, made where it is missing, and the path's last name.
    fn parent<'p>(&mut self, path: &'p str) -> Result<(DirId, &'p [u8]), Error> {
        let relative = path.trim_matches('/');
        let (above, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        if matches!(name, "" | "." | "..") {
            return Err(Error::Tree(format!("`{path}` names nothing in a tree")));
        }
        let ends = above.match_indices('/').map(|(at, _)| at);
        let mut here = DirId::ROOT;
        for end in ends.chain((!above.is_empty()).then_some(above.len())) {
            let so_far = &above[..end];
            here = match self.draft.tree.follow(so_far.as_bytes()) {
                Ok(Some(Node::Directory(id))) => id,
                Ok(None) if !self.has(so_far) => {
                    let name = so_far.rsplit_once('/').map_or(so_far, |(_, name)| name);
                    self.make(here, name.as_bytes())
                }
                Ok(_) => return Err(not_a_folder(so_far)),
                Err(e) => return Err(elea_store::Error::from(e).into()),
            };
        }
        Ok((here, name.as_bytes()))
    }

    fn place(&mut self, path: &str, leaf: &Leaf) -> Result<(), Error> {
        let (parent, name) = self.parent(path)?;
        if let Some(Node::Directory(_)) = self.draft.tree.child(parent, name) {
            return Err(Error::Tree(format!(
                "`{path}` is a folder in the image, and a file or link is to be there; choose another path"
            )));
        }
        self.touch(parent);
        self.draft.tree.put_leaf(parent, name, leaf);
        Ok(())
    }

    /// A file of root's that all may read.
    pub(super) fn put(&mut self, path: &str, content: &[u8]) -> Result<(), Error> {
        self.put_as(path, content, 0o644, ROOT)
    }

    /// A file with this mode and owner; what stood there is replaced, a link not followed.
    pub(super) fn put_as(
        &mut self,
        path: &str,
        content: &[u8],
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), Error> {
        let leaf = Leaf {
            meta: self.meta(mode, owner),
            content: self.draft.content(content)?,
        };
        self.place(path, &leaf)
    }

    /// One of Elea's own programs, where images have it.
    pub(super) fn put_program(&mut self, store: &Store, program: &Program) -> Result<(), Error> {
        let leaf = Leaf {
            meta: self.meta(0o755, ROOT),
            content: program.content(store, &self.draft)?,
        };
        self.place(program.place, &leaf)
    }

    /// A file of root's that all may read, of a content that the store has.
    pub(super) fn put_content(&mut self, path: &str, content: Content) -> Result<(), Error> {
        let leaf = Leaf {
            meta: self.meta(0o644, ROOT),
            content,
        };
        self.place(path, &leaf)
    }

    /// The content of another file, as a file of root's that all may read; nothing if there is no such file.
    pub(super) fn copy(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let tree = &self.draft.tree;
        let content = match tree.follow(from.as_bytes()) {
            Ok(Some(Node::Leaf(id))) => tree.content(id).to_owned(),
            _ => return Ok(()),
        };
        self.put_content(to, content)
    }

    /// A symbolic link; a file or link that stood there is replaced.
    pub(super) fn link(&mut self, target: &str, path: &str) -> Result<(), Error> {
        let leaf = Leaf {
            meta: self.meta(0o777, ROOT),
            content: Content::Symlink(target.as_bytes().to_vec()),
        };
        self.place(path, &leaf)
    }

    /// Removes whatever is there; nothing there is no error.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), Error> {
        if self.has(path) {
            let (parent, name) = self.parent(path)?;
            self.touch(parent);
            self.draft.tree.remove(parent, name);
        }
        Ok(())
    }

    /// Removes what is in a folder, and leaves the folder.
    pub(super) fn empty(&mut self, path: &str) {
        let tree = &mut self.draft.tree;
        if let Ok(Some(folder)) = tree.folder(path.as_bytes())
            && tree.entries(folder).next().is_some()
        {
            tree.clear(folder);
            self.touch(folder);
        }
    }

    /// Moves something to another place of the tree.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let Some(node) = self.node(from) else {
            return Err(Error::Tree(format!("the image has no `{from}` to move")));
        };
        self.remove(from)?;
        let (parent, name) = self.parent(to)?;
        self.touch(parent);
        self.draft.tree.insert(parent, name, node);
        Ok(())
    }

    /// Puts a tree where a path leads, in place of what stood there: a folder of the result of a step.
    pub(super) fn graft(&mut self, path: &str, from: &Nodes, at: DirId) -> Result<(), Error> {
        self.remove(path)?;
        let (parent, name) = self.parent(path)?;
        self.touch(parent);
        graft(from, at, &mut self.draft.tree, parent, name);
        Ok(())
    }

    /// Mode and owner of what is there, and a link's own.
    pub(super) fn status(&self, path: &str) -> Option<(u32, u32, u32)> {
        let tree = &self.draft.tree;
        let meta = match self.node(path)? {
            Node::Directory(id) => tree.meta(id),
            Node::Leaf(id) => tree.leaf(id).meta,
        };
        Some((meta.mode & 0o7777, meta.uid, meta.gid))
    }

    /// The target of a link.
    pub(super) fn target(&self, path: &str) -> Option<String> {
        let Node::Leaf(id) = self.node(path)? else {
            return None;
        };
        match self.draft.tree.content(id) {
            Content::Symlink(to) => Some(String::from_utf8_lossy(to).into_owned()),
            _ => None,
        }
    }
}

/// Copies a folder of one tree into another.
fn graft(from: &Nodes, at: DirId, to: &mut Nodes, parent: DirId, name: &[u8]) {
    let folder = to.add_directory(parent, name, &from.meta(at).to_owned());
    for (name, node) in from.entries(at) {
        match node {
            Node::Directory(id) => graft(from, id, to, folder, name),
            Node::Leaf(id) => {
                to.put_leaf(folder, name, &from.leaf(id).to_owned());
            }
        }
    }
}

fn not_a_folder(path: &str) -> Error {
    Error::Tree(format!(
        "`{path}` is no folder in the image, and something is to be in it; choose another path"
    ))
}
