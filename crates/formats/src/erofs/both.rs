//! Two images at once, without what is the same in both.

use super::read::{MAX_DEPTH, ReadError, Reader, read_into, spend};
use super::source::{Entry, Head, Raw, Source};
use super::{LAYOUT_CHUNKS, Type};
#[cfg(doc)]
use crate::digest::Digest;
use crate::tree::{DirId, Tree};
use std::iter::Peekable;
use std::vec::IntoIter;

/// Two trees as far as they differ.
#[derive(Debug)]
pub struct Both {
    /// What differs of each, with the folders that it is in.
    pub trees: [Tree; 2],
    /// The first 64 bits of the names of the objects of files that were left out ([`Digest::start`]): there are as
    /// many of them as files of an image.
    pub same: Vec<u64>,
}

/// Reads two images into trees that have nothing in them yet, but for what certainly is the same in both: a file or
/// link of the same path, metadata and content that has no other name, and folders in which nothing differs. What one of the
/// trees has and the other lacks, or has otherwise, is what the whole trees differ in.
///
/// Most of two images that follow each other is the same, and is looked at where it stands: an error in it is not
/// noticed. An error comes with the number of its image.
///
/// With the name of something in the root the rest may be left out, whether it differs or not.
pub fn read_both(
    images: [&[u8]; 2],
    trees: [Tree; 2],
    only: Option<&[u8]>,
) -> Result<Both, (usize, ReadError)> {
    let [old, new] = images;
    let sources = [
        Source::open(old).map_err(of(0))?,
        Source::open(new).map_err(of(1))?,
    ];
    let [left, right] = trees;
    if sources[0].version != sources[1].version {
        // Marks stand for other things.
        let trees = [
            read_into(old, left).map_err(of(0))?,
            read_into(new, right).map_err(of(1))?,
        ];
        let same = Vec::new();
        return Ok(Both { trees, same });
    }
    let mut pair = Pair {
        // Each of the old image's inodes is compared once for each of its names.
        budget: old.len().saturating_mul(17).saturating_add(16 << 20),
        sides: [
            Reader::new(sources[0], left).map_err(of(0))?,
            Reader::new(sources[1], right).map_err(of(1))?,
        ],
        open: Vec::new(),
        same: Vec::new(),
    };
    pair.walk(only)?;
    let Pair {
        sides: [left, right],
        same,
        ..
    } = pair;
    let trees = [
        left.finish().map_err(of(0))?,
        right.finish().map_err(of(1))?,
    ];
    Ok(Both { trees, same })
}

fn of(side: usize) -> impl Fn(ReadError) -> (usize, ReadError) {
    move |error| (side, error)
}

/// A folder of one of the images.
struct Folder<'a> {
    name: &'a [u8],
    head: Head,
    /// Its place in the tree, once something below it, or itself, differs.
    id: Option<DirId>,
    entries: Peekable<IntoIter<Entry<'a>>>,
}

/// What stands at a path of one of the images.
type Child<'a> = (&'a [u8], u64, Head);

struct Pair<'a> {
    /// Bytes of attributes and content that may still be compared.
    budget: usize,
    sides: [Reader<'a>; 2],
    /// The folders on the way to where the walk is, of each image that has them.
    open: Vec<[Option<Folder<'a>>; 2]>,
    same: Vec<u64>,
}

impl<'a> Pair<'a> {
    fn walk(&mut self, only: Option<&[u8]>) -> Result<(), (usize, ReadError)> {
        let mut roots = [None, None];
        for (side, root) in roots.iter_mut().enumerate() {
            let source = self.sides[side].source;
            let head = source.head(source.root).map_err(of(side))?;
            let mut entries = self.sides[side].entries(&head).map_err(of(side))?;
            entries.retain(|(name, _)| only.is_none_or(|only| *name == only));
            *root = Some(Folder {
                name: b"",
                head,
                id: Some(DirId::ROOT),
                entries: entries.into_iter().peekable(),
            });
        }
        self.open.push(roots);
        while let Some(folders) = self.open.last_mut() {
            let Some(names) = next(folders) else {
                self.open.pop();
                continue;
            };
            let mut found: [Option<Child<'a>>; 2] = [None, None];
            for (side, entry) in names.into_iter().enumerate() {
                if let Some((name, number)) = entry {
                    let head = self.sides[side].source.head(number).map_err(of(side))?;
                    found[side] = Some((name, number, head));
                }
            }
            self.look_at(found)?;
        }
        Ok(())
    }

    /// Takes what differs at a path, and goes into its folders.
    fn look_at(&mut self, found: [Option<Child<'a>>; 2]) -> Result<(), (usize, ReadError)> {
        let is_folder = |child: &Option<Child<'a>>| {
            child
                .as_ref()
                .is_some_and(|(_, _, head)| head.kind == Type::Directory)
        };
        let folders = [0, 1].map(|side| is_folder(&found[side]));
        let differs = match &found {
            [Some((.., old)), Some((.., new))] => !self.is_same([old, new])?,
            _ => true,
        };
        if !differs && folders == [false, false] {
            let [Some((.., old)), _] = &found else {
                return Ok(());
            };
            return self.leave_out(old).map_err(of(0));
        }
        if differs {
            self.place()?;
        }
        let mut below = [None, None];
        for (side, child) in found.into_iter().enumerate() {
            let Some((name, number, head)) = child else {
                continue;
            };
            if folders[side] {
                let head = self.sides[side].directory(number).map_err(of(side))?;
                let entries = self.sides[side].entries(&head).map_err(of(side))?;
                below[side] = Some(Folder {
                    name,
                    head,
                    id: None,
                    entries: entries.into_iter().peekable(),
                });
            } else {
                let above = self.open.last().and_then(|open| open[side].as_ref()?.id);
                let above = above.unwrap_or(DirId::ROOT);
                let reader = &mut self.sides[side];
                reader.leaf(above, name, number, &head).map_err(of(side))?;
            }
        }
        if folders != [false, false] {
            if self.open.len() == MAX_DEPTH {
                let side = usize::from(!folders[0]);
                return Err((side, ReadError::TooLarge { what: "folders" }));
            }
            self.open.push(below);
            if differs {
                self.place()?;
            }
        }
        Ok(())
    }

    /// Gives all folders on the way their place in the trees.
    fn place(&mut self) -> Result<(), (usize, ReadError)> {
        for side in [0, 1] {
            let reader = &mut self.sides[side];
            let mut above = DirId::ROOT;
            for folder in self.open.iter_mut().filter_map(|open| open[side].as_mut()) {
                above = if let Some(id) = folder.id {
                    id
                } else {
                    let meta = reader.meta(&folder.head).map_err(of(side))?;
                    reader.tree.append_directory(above, folder.name, &meta)
                };
                folder.id = Some(above);
            }
        }
        Ok(())
    }

    /// Whether two inodes certainly have the same metadata and, of leaves, the same content.
    fn is_same(&mut self, heads: [&Head; 2]) -> Result<bool, (usize, ReadError)> {
        let [old, new] = heads;
        let is_folder = old.kind == Type::Directory;
        let fields = |head: &Head| (head.kind, head.mode, head.uid, head.gid, head.mtime);
        // The other names of a leaf may differ.
        let of_leaf = |head: &Head| (head.layout, head.size, head.links);
        let may_be = is_folder || old.links == 1 && of_leaf(old) == of_leaf(new);
        if fields(old) != fields(new) || !may_be {
            return Ok(false);
        }
        let is_object = old.kind == Type::Regular && old.layout == LAYOUT_CHUNKS;
        let sources = [0, 1].map(|side| self.sides[side].source);
        let area = |side: usize| sources[side].attribute_area(heads[side]).map_err(of(side));
        match [area(0)?, area(1)?] {
            [None, None] => {}
            // What stands for a whiteout means something for the folder that it is in.
            _ if !is_folder && !is_object => return Ok(false),
            [Some([[], old]), Some([[], new])] => {
                if old != new {
                    return Ok(false);
                }
            }
            [Some(_), Some(_)] => {
                let all = |side: usize| sources[side].attributes(heads[side]).map_err(of(side));
                let [old, new] = [all(0)?, all(1)?];
                let size = old.iter().map(Raw::size).sum();
                spend(&mut self.budget, size, "attributes").map_err(of(0))?;
                if old != new {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
        Ok(match old.kind {
            Type::Directory | Type::Fifo | Type::Socket => true,
            Type::CharDevice | Type::BlockDevice => old.number == new.number,
            Type::Regular if is_object || old.size == 0 => true,
            Type::Regular | Type::Symlink => {
                let content = |side: usize| {
                    let what = "file";
                    sources[side].content(heads[side], what).map_err(of(side))
                };
                let [old, new] = [content(0)?, content(1)?];
                let size = old.iter().map(|piece| piece.len()).sum();
                spend(&mut self.budget, size, "files").map_err(of(0))?;
                old == new
            }
        })
    }

    /// A leaf that both have: its object is known.
    fn leave_out(&mut self, head: &Head) -> Result<(), ReadError> {
        if head.kind == Type::Regular && head.layout == LAYOUT_CHUNKS {
            let attributes = self.sides[0].source.attributes(head)?;
            let object = attributes.iter().find_map(Raw::object);
            self.same.extend(object.map(|digest| digest.start()));
        }
        Ok(())
    }
}

/// The next name of two folders, where each has it.
fn next<'a>(folders: &mut [Option<Folder<'a>>; 2]) -> Option<[Option<Entry<'a>>; 2]> {
    let peeked = folders.each_mut().map(|folder| {
        let (name, _) = folder.as_mut()?.entries.peek()?;
        Some(*name)
    });
    let takes = match peeked {
        [None, None] => return None,
        [Some(_), None] => [true, false],
        [None, Some(_)] => [false, true],
        [Some(old), Some(new)] => [old <= new, new <= old],
    };
    let mut take = |side: usize| {
        folders[side]
            .as_mut()
            .filter(|_| takes[side])?
            .entries
            .next()
    };
    Some([take(0), take(1)])
}
