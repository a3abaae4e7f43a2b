//! Trees changed in memory, over the objects of a store.

use crate::object::Writer;
use crate::{Error, Store, import};
use elea_formats::tree::{Content, Tree};

/// A tree that is being changed: contents become objects of the store as they come, and nothing else is written.
///
/// What it added is kept until it ends; a caller that goes on with [`Draft::finish`]'s tree holds a
/// [`Lease`](crate::Lease) that is older.
#[derive(Debug)]
pub struct Draft<'s> {
    writer: Writer<'s>,
    /// The tree as it is by now.
    pub tree: Tree,
}

impl Store {
    /// Begins to change a tree of this store.
    pub fn draft(&self, tree: Tree) -> Result<Draft<'_>, Error> {
        self.require(tree.algorithm())?;
        Ok(Draft {
            writer: self.writer()?,
            tree,
        })
    }
}

impl Draft<'_> {
    /// What a file of these bytes has as its content: small ones stay in the tree, others become objects.
    pub fn content(&self, bytes: &[u8]) -> Result<Content, Error> {
        import::content(&self.writer, bytes)
    }

    /// A regular file, checked; none if there is none. Symbolic links are followed inside the tree.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        self.writer.store.read_file(&self.tree, path, limit)
    }

    /// The tree.
    pub fn finish(self) -> Tree {
        self.tree
    }
}
