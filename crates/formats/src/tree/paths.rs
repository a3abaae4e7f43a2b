//! Where paths lead: symbolic links are followed as if the tree's root were `/`.

use super::{Content, ContentRef, DirId, Node, Tree, components};

/// As many links as the kernel follows in one path (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A path with more symbolic links than are followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` leads through more than {MAX_LINKS} symbolic links")]
pub struct TooManyLinks {
    /// The path, escaped and shortened.
    path: String,
}

impl Tree {
    /// What a path leads to, a link at its end followed too; none if there is nothing.
    pub fn follow(&self, path: &[u8]) -> Result<Option<Node>, TooManyLinks> {
        self.walk_to(path, true)
    }

    /// What stands at a path: links before its end are followed, one at its end is not.
    pub fn stand(&self, path: &[u8]) -> Result<Option<Node>, TooManyLinks> {
        self.walk_to(path, false)
    }

    /// The directory that a path leads to; none if it leads to nothing or something else.
    pub fn folder(&self, path: &[u8]) -> Result<Option<DirId>, TooManyLinks> {
        Ok(match self.follow(path)? {
            Some(Node::Directory(id)) => Some(id),
            _ => None,
        })
    }

    fn walk_to(&self, path: &[u8], last: bool) -> Result<Option<Node>, TooManyLinks> {
        let look = |folder, name: &[u8]| {
            let found = self.child(folder, name).map(|node| match node {
                Node::Directory(id) => Found::Folder(id),
                Node::Leaf(id) => Found::Leaf(id, target(self.content(id))),
            });
            Ok(found)
        };
        let reached = walk_to(DirId::ROOT, path, last, look)?;
        Ok(reached.map(|found| match found {
            Found::Folder(id) => Node::Directory(id),
            Found::Leaf(id, _) => Node::Leaf(id),
        }))
    }
}

fn target(content: ContentRef<'_>) -> Option<&[u8]> {
    match content {
        Content::Symlink(target) => Some(target),
        _ => None,
    }
}

/// What has a name in a folder: a folder `D`, or a leaf `L` with the target of a link.
#[derive(Debug)]
pub(crate) enum Found<'t, D, L> {
    Folder(D),
    Leaf(L, Option<&'t [u8]>),
}

/// What a path leads to from `root`, by what `look` finds in a folder under a name. A link at its end is followed if
/// `last` says so.
pub(crate) fn walk_to<'t, D: Copy, L, E: From<TooManyLinks>>(
    root: D,
    path: &[u8],
    last: bool,
    mut look: impl FnMut(D, &[u8]) -> Result<Option<Found<'t, D, L>>, E>,
) -> Result<Option<Found<'t, D, L>>, E> {
    let mut links = 0;
    let mut todo: Vec<Vec<u8>> = Vec::new();
    let push = |todo: &mut Vec<Vec<u8>>, path: &[u8]| {
        let parts: Vec<_> = components(path).map(<[u8]>::to_vec).collect();
        todo.extend(parts.into_iter().rev());
    };
    push(&mut todo, path);
    let mut above = Vec::new();
    let mut here = root;
    while let Some(part) = todo.pop() {
        match part.as_slice() {
            b"." => continue,
            b".." => {
                here = above.pop().unwrap_or(root);
                continue;
            }
            _ => {}
        }
        match look(here, &part)? {
            None => return Ok(None),
            Some(Found::Folder(child)) => {
                above.push(here);
                here = child;
            }
            Some(Found::Leaf(_, Some(to))) if last || !todo.is_empty() => {
                links += 1;
                if links > MAX_LINKS {
                    let shown = path.escape_ascii().to_string();
                    let path = shown.chars().take(200).collect();
                    return Err(TooManyLinks { path }.into());
                }
                if to.starts_with(b"/") {
                    above.clear();
                    here = root;
                }
                push(&mut todo, to);
            }
            leaf if todo.is_empty() => return Ok(leaf),
            _ => return Ok(None),
        }
    }
    Ok(Some(Found::Folder(here)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Leaf, Meta};

    fn link(tree: &mut Tree, folder: DirId, name: &str, to: &str) {
        let leaf = Leaf {
            meta: Meta::default(),
            content: Content::Symlink(to.as_bytes().to_vec()),
        };
        tree.put_leaf(folder, name.as_bytes(), &leaf);
    }

    #[test]
    fn links_stay_inside_and_come_to_an_end() {
        let mut tree = Tree::new();
        let usr = tree.add_directory(DirId::ROOT, b"usr", &Meta::default());
        let lib = tree.add_directory(usr, b"lib", &Meta::default());
        link(&mut tree, DirId::ROOT, "lib", "usr/lib");
        link(&mut tree, lib, "out", "../../../../lib/in");
        link(&mut tree, lib, "in", "/usr/../lib");
        link(&mut tree, lib, "round", "round");
        link(&mut tree, lib, "away", "/nowhere");
        let follow = |path: &str| tree.follow(path.as_bytes());
        for path in ["lib", "/lib/", "usr/lib/out", "lib/in/out/.", "lib/out/in"] {
            assert_eq!(follow(path), Ok(Some(Node::Directory(lib))), "{path}");
        }
        assert_eq!(follow("lib/away"), Ok(None));
        assert_eq!(follow("lib/nothing/more"), Ok(None));
        assert_eq!(follow("/../.."), Ok(Some(Node::Directory(DirId::ROOT))));
        let error = follow("lib/round").unwrap_err().to_string();
        assert!(error.contains("`lib/round`"), "{error}");
        let node = tree.stand(b"lib/round").unwrap();
        assert_eq!(node, tree.child(lib, b"round"));
        assert_eq!(tree.folder(b"lib/out").unwrap(), Some(lib));
        assert_eq!(tree.stand(b"lib/out/more").unwrap(), None);
    }
}
