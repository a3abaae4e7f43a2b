//! Trees from their root to their leaves.

use super::{DirId, Entries, Node, Tree};
use std::iter::Peekable;

impl Tree {
    /// How many names each leaf has, by [`LeafId::index`](super::LeafId::index).
    pub fn count_names(&self) -> Vec<u32> {
        let mut names = vec![0; self.leaves().len()];
        let mut open = vec![DirId::ROOT];
        while let Some(directory) = open.pop() {
            for (_, node) in self.entries(directory) {
                match node {
                    Node::Directory(id) => open.push(id),
                    Node::Leaf(id) => names[id.index()] += 1,
                }
            }
        }
        names
    }

    /// Calls `visit` for every entry with its path (`/usr/bin/sh`; the root is `/`),
    /// parents first, names in byte order: the order of a dump file.
    pub fn walk<E>(&self, mut visit: impl FnMut(&[u8], Node) -> Result<(), E>) -> Result<(), E> {
        visit(b"/", Node::Directory(DirId::ROOT))?;
        let mut path = Vec::new();
        let mut open = vec![(self.entries(DirId::ROOT), 0)];
        while let Some((entries, length)) = open.last_mut() {
            path.truncate(*length);
            let Some((name, node)) = entries.next() else {
                open.pop();
                continue;
            };
            path.push(b'/');
            path.extend_from_slice(name);
            visit(&path, node)?;
            if let Node::Directory(id) = node {
                open.push((self.entries(id), path.len()));
            }
        }
        Ok(())
    }
}

/// What two trees have at one path.
pub type Walked = [Option<Node>; 2];

/// Calls `visit` for every path that one of two trees has, with what each of them has there: in the
/// order of [`Tree::walk`].
pub fn walk_both(a: &Tree, b: &Tree, mut visit: impl FnMut(&[u8], Walked)) {
    let root = [Some(Node::Directory(DirId::ROOT)); 2];
    visit(b"/", root);
    let mut path = Vec::new();
    let mut open = vec![(Pair::of([a, b], root), 0)];
    while let Some((pair, length)) = open.last_mut() {
        path.truncate(*length);
        let Some((name, found)) = pair.next() else {
            open.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(name);
        visit(&path, found);
        if found
            .iter()
            .any(|node| matches!(node, Some(Node::Directory(_))))
        {
            open.push((Pair::of([a, b], found), path.len()));
        }
    }
}

/// The names in a directory of each of two trees.
struct Pair<'t> {
    sides: [Option<Peekable<Entries<'t>>>; 2],
}

impl<'t> Pair<'t> {
    fn of(trees: [&'t Tree; 2], nodes: Walked) -> Self {
        let side = |side: usize| match nodes[side] {
            Some(Node::Directory(id)) => Some(trees[side].entries(id).peekable()),
            _ => None,
        };
        Self {
            sides: [side(0), side(1)],
        }
    }

    fn next(&mut self) -> Option<(&'t [u8], Walked)> {
        let mut next: Option<&[u8]> = None;
        for side in self.sides.iter_mut().flatten() {
            if let Some((name, _)) = side.peek()
                && next.is_none_or(|next| *name < next)
            {
                next = Some(name);
            }
        }
        let next = next?;
        let found = self.sides.each_mut().map(|side| {
            let entry = side.as_mut()?.next_if(|(name, _)| *name == next)?;
            Some(entry.1)
        });
        Some((next, found))
    }
}

/// The parts of a path between slashes.
pub fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty())
}
