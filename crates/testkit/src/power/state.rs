//! What a file system may hold after a power cut.

use super::{Inode, Kind, Node, Op, Place};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// What becomes of changes that are not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// None of them is there: the disk had not begun.
    Nothing,
    /// All are there: the program died and not the machine.
    Everything,
    /// Some are there, and contents are torn; the number chooses which.
    Torn(u64),
}

/// Names and inodes.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) nodes: Vec<Node>,
    pub(super) names: BTreeMap<Place, Inode>,
}

impl State {
    /// Writes the state to a folder that is not there yet.
    pub fn write(&self, to: &Path) -> io::Result<()> {
        self.write_node(0, to)
    }

    /// A number that tells it from other states.
    pub fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.walk(0, &mut |depth, name, node| {
            (depth, name, node).hash(&mut hasher);
        });
        hasher.finish()
    }

    /// One line for each file, folder and link.
    pub fn list(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.walk(0, &mut |depth, name, node| {
            let Node { kind, mode, data } = node;
            let mut hasher = DefaultHasher::new();
            data.hash(&mut hasher);
            let (length, content) = (data.len(), hasher.finish());
            lines.push(format!(
                "{depth} {} {kind:?} {mode:o} {length} {content:x}",
                name.escape_ascii()
            ));
        });
        lines
    }

    /// Shows everything below a folder: its depth, name and node.
    fn walk(&self, folder: Inode, show: &mut dyn FnMut(usize, &[u8], &Node)) {
        let mut todo = vec![(0, &[][..], folder)];
        while let Some((depth, name, inode)) = todo.pop() {
            show(depth, name, &self.nodes[inode]);
            todo.extend(
                self.children(inode)
                    .map(|(name, child)| (depth + 1, name, child)),
            );
        }
    }

    fn children(&self, folder: Inode) -> impl Iterator<Item = (&[u8], Inode)> {
        self.names
            .range((folder, Vec::new())..(folder + 1, Vec::new()))
            .map(|((_, name), child)| (name.as_slice(), *child))
    }

    fn write_node(&self, inode: Inode, to: &Path) -> io::Result<()> {
        let node = &self.nodes[inode];
        match node.kind {
            Kind::Link => return symlink(std::ffi::OsStr::from_bytes(&node.data), to),
            Kind::File => fs::write(to, &node.data)?,
            Kind::Folder => {
                fs::create_dir(to)?;
                for (name, child) in self.children(inode) {
                    self.write_node(child, &to.join(std::ffi::OsStr::from_bytes(name)))?;
                }
            }
        }
        fs::set_permissions(to, Permissions::from_mode(node.mode))
    }

    /// What stands at a path below the folder; links are not followed.
    pub(super) fn find(&self, path: &[u8]) -> Option<Inode> {
        let names = path.split(|b| *b == b'/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(0, |folder, name| {
            self.names.get(&(folder, name.to_vec())).copied()
        })
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Names(changes) => {
                for (place, inode) in changes {
                    match inode {
                        Some(inode) => self.names.insert(place.clone(), *inode),
                        None => self.names.remove(place),
                    };
                }
            }
            Op::Data { file, at, bytes } => {
                let data = &mut self.nodes[*file].data;
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let end = at.saturating_add(bytes.len());
                if data.len() < end {
                    data.resize(end, 0);
                }
                data[at..end].copy_from_slice(bytes);
            }
            Op::Size { file, size } => {
                let size = usize::try_from(*size).unwrap_or(usize::MAX);
                self.nodes[*file].data.resize(size, 0);
            }
            Op::Mode { node, mode } => self.nodes[*node].mode = *mode,
            Op::Sync { .. } | Op::SyncAll => {}
        }
    }

    /// Keeps what a cut leaves of changes that are not durable.
    pub(super) fn cut(&mut self, pending: &[&Op], cut: Cut) {
        match cut {
            Cut::Nothing => {}
            Cut::Everything => pending.iter().for_each(|op| self.apply(op)),
            Cut::Torn(seed) => self.tear(pending, &mut Dice(seed.wrapping_mul(2).wrapping_add(1))),
        }
    }

    fn tear(&mut self, pending: &[&Op], dice: &mut Dice) {
        let style = dice.roll(4);
        let until = dice.below(pending.len());
        let mut ends: BTreeMap<Inode, bool> = BTreeMap::new();
        let mut contents: BTreeMap<Inode, Vec<&Op>> = BTreeMap::new();
        for (number, op) in pending.iter().enumerate() {
            let kept = match op {
                Op::Names(changes) => match style {
                    0 => dice.roll(2) == 0,
                    // Each folder up to some change.
                    1 => {
                        let folder = changes.first().map_or(0, |((folder, _), _)| *folder);
                        let goes_on = ends.entry(folder).or_insert(true);
                        *goes_on = *goes_on && dice.roll(4) != 0;
                        *goes_on
                    }
                    // A journal up to some change.
                    2 => number <= until,
                    // All names, whatever became of contents.
                    _ => true,
                },
                Op::Mode { .. } => dice.roll(2) == 0,
                Op::Data { file, .. } | Op::Size { file, .. } => {
                    contents.entry(*file).or_default().push(op);
                    false
                }
                Op::Sync { .. } | Op::SyncAll => false,
            };
            if kept {
                self.apply(op);
            }
        }
        for (file, ops) in contents {
            let old = self.nodes[file].data.clone();
            for op in ops {
                self.apply(op);
            }
            let new = std::mem::take(&mut self.nodes[file].data);
            self.nodes[file].data = mix(old, new, dice);
        }
    }
}

/// A content that was being written: old, new, or some of both.
fn mix(mut old: Vec<u8>, new: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    let size = match dice.roll(8) {
        0 => return old,
        1..=3 => return new,
        4 | 5 => new.len(),
        6 => old.len(),
        _ => old.len().min(new.len()) + dice.below(old.len().abs_diff(new.len())),
    };
    let sector = if dice.roll(2) == 0 { 512 } else { 4096 };
    // Once in a while nothing of it: the size alone was written.
    let chance = dice.roll(4);
    old.resize(size, 0);
    for (there, wanted) in old.chunks_mut(sector).zip(new.chunks(sector)) {
        if dice.roll(4) < chance {
            let length = there.len().min(wanted.len());
            there[..length].copy_from_slice(&wanted[..length]);
        }
    }
    old
}

/// A small generator (xorshift); its number is never zero.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // Small seeds give small numbers for a while.
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        (self.0 >> 11) % sides
    }

    /// 0 to `most`.
    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll(most as u64 + 1)).unwrap_or(0)
    }
}
