//! A disk in memory that loses power: what was not synced may be there, not be there, or be torn.

use elea_sys::disk::{Disk, Name};
use elea_sys::{At as _, PathError};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// Which promises the file system makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A rename is one step.
    Ext4,
    /// A rename adds the new name and removes the old one as two steps; an exchange of two names in
    /// one sector is one step.
    Fat,
    /// As FAT, and the kernel cannot exchange.
    OldFat,
}

/// The power of a machine: operations left until it is cut.
pub(crate) type Power = Rc<Cell<Option<usize>>>;

#[derive(Debug, Clone)]
enum Node {
    Folder,
    File { durable: Vec<u8>, now: Vec<u8> },
}

type Place = (usize, String);
type Names = BTreeMap<Place, usize>;
/// Changes of names that become durable together.
type Group = Vec<(Place, Option<usize>)>;

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Node>,
    durable: Names,
    now: Names,
    pending: Vec<Group>,
}

pub(crate) struct CrashDisk {
    kind: Kind,
    capacity: u64,
    power: Power,
    inner: RefCell<Inner>,
}

/// A small generator; proptest shrinks its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// 0 to `most`.
    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.roll(most as u64 + 1)).unwrap_or(0)
    }

    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn error<T>(kind: ErrorKind, path: &str) -> Result<T, PathError> {
    Err::<T, _>(io::Error::from(kind)).at("use (crash model)", path)
}

impl CrashDisk {
    pub(crate) fn new(kind: Kind, capacity: u64, power: Power) -> Self {
        let inner = Inner {
            nodes: vec![Node::Folder],
            ..Inner::default()
        };
        Self {
            kind,
            capacity,
            power,
            inner: RefCell::new(inner),
        }
    }

    /// Uses up one operation; at the last the power is gone.
    fn tick(&self, path: &str) -> Result<(), PathError> {
        match self.power.get() {
            Some(0) => error(ErrorKind::BrokenPipe, path),
            Some(left) => {
                self.power.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn is_cut(&self) -> bool {
        self.power.get() == Some(0)
    }

    /// What the next boot finds. Each unsynced change of names is there or not, in any
    /// combination; unsynced content is old, new or torn.
    pub(crate) fn crash(&self, dice: &mut Dice) {
        let mut inner = self.inner.borrow_mut();
        for group in std::mem::take(&mut inner.pending) {
            if dice.roll(2) == 0 {
                for (place, node) in group {
                    set(&mut inner.durable, place, node);
                }
            }
        }
        inner.now = inner.durable.clone();
        for node in &mut inner.nodes {
            let Node::File { durable, now } = node else {
                continue;
            };
            if durable != now {
                // Files only ever grow: what was durable of one is not written again.
                let least = if now.starts_with(durable) {
                    durable.len()
                } else {
                    0
                };
                let grown = now.len() - least;
                *durable = match dice.roll(4) {
                    0 => durable.clone(),
                    1 => now.clone(),
                    2 => now[..least + dice.below(grown)].to_vec(),
                    _ => {
                        let keep = least + dice.below(grown);
                        let mut torn = now.clone();
                        torn[keep..].fill(0);
                        torn
                    }
                };
                now.clone_from(durable);
            }
        }
    }
}

fn set(names: &mut Names, place: Place, node: Option<usize>) {
    match node {
        Some(node) => names.insert(place, node),
        None => names.remove(&place),
    };
}

impl Inner {
    fn change(&mut self, group: Group) {
        for (place, node) in &group {
            set(&mut self.now, place.clone(), *node);
        }
        self.pending.push(group);
    }

    fn find(&self, path: &str) -> Option<usize> {
        path.split('/').try_fold(0, |folder, name| {
            self.now.get(&(folder, name.to_owned())).copied()
        })
    }

    fn place(&self, path: &str) -> Result<Place, PathError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = if folder.is_empty() {
            Some(0)
        } else {
            self.find(folder)
        };
        match folder {
            Some(folder) => Ok((folder, name.to_owned())),
            None => error(ErrorKind::NotFound, path),
        }
    }

    fn existing(&self, path: &str) -> Result<usize, PathError> {
        self.find(path)
            .map_or_else(|| error(ErrorKind::NotFound, path), Ok)
    }

    fn children(&self, folder: usize) -> Vec<(String, usize)> {
        let all = self.now.iter().filter(|((f, _), _)| *f == folder);
        all.map(|((_, name), node)| (name.clone(), *node)).collect()
    }
}

impl Disk for CrashDisk {
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        if self.is_cut() {
            return error(ErrorKind::BrokenPipe, path);
        }
        let inner = self.inner.borrow();
        match &inner.nodes[inner.existing(path)?] {
            Node::File { now, .. } if now.len() as u64 <= limit => Ok(now.clone()),
            _ => error(ErrorKind::FileTooLarge, path),
        }
    }

    fn read_back(&self, path: &str, limit: u64) -> Result<Vec<u8>, PathError> {
        self.read(path, limit)
    }

    fn write_new(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        self.tick(path)?;
        let mut inner = self.inner.borrow_mut();
        if inner.find(path).is_some() {
            return error(ErrorKind::AlreadyExists, path);
        }
        let place = inner.place(path)?;
        let cut = self.is_cut();
        let durable = if cut { Vec::new() } else { content.to_vec() };
        let now = content.to_vec();
        inner.nodes.push(Node::File { durable, now });
        let node = inner.nodes.len() - 1;
        inner.change(vec![(place, Some(node))]);
        drop(inner);
        if cut { self.tick(path) } else { Ok(()) }
    }

    fn append(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        self.tick(path)?;
        let cut = self.is_cut();
        let mut inner = self.inner.borrow_mut();
        let node = if let Some(node) = inner.find(path) {
            node
        } else {
            let place = inner.place(path)?;
            let empty = Vec::new;
            inner.nodes.push(Node::File {
                durable: empty(),
                now: empty(),
            });
            let node = inner.nodes.len() - 1;
            inner.change(vec![(place, Some(node))]);
            node
        };
        if let Node::File { durable, now } = &mut inner.nodes[node] {
            now.extend_from_slice(content);
            if !cut {
                durable.clone_from(now);
            }
        }
        drop(inner);
        if cut { self.tick(path) } else { Ok(()) }
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), PathError> {
        self.tick(from)?;
        let mut inner = self.inner.borrow_mut();
        let node = inner.existing(from)?;
        let (from, to) = (inner.place(from)?, inner.place(to)?);
        if self.kind == Kind::Ext4 {
            inner.change(vec![(to, Some(node)), (from, None)]);
        } else {
            inner.change(vec![(to, Some(node))]);
            inner.change(vec![(from, None)]);
        }
        Ok(())
    }

    fn exchange(&self, a: &str, b: &str) -> Result<(), PathError> {
        if self.kind == Kind::OldFat {
            return error(ErrorKind::InvalidInput, a);
        }
        self.tick(a)?;
        let mut inner = self.inner.borrow_mut();
        let (x, y) = (inner.existing(a)?, inner.existing(b)?);
        let (a, b) = (inner.place(a)?, inner.place(b)?);
        inner.change(vec![(a, Some(y)), (b, Some(x))]);
        Ok(())
    }

    fn remove(&self, path: &str) -> Result<(), PathError> {
        self.tick(path)?;
        let mut inner = self.inner.borrow_mut();
        inner.existing(path)?;
        let place = inner.place(path)?;
        inner.change(vec![(place, None)]);
        Ok(())
    }

    fn remove_folder(&self, path: &str) -> Result<(), PathError> {
        let node = self.inner.borrow().existing(path)?;
        let children = self.inner.borrow().children(node);
        for (name, child) in children {
            let below = format!("{path}/{name}");
            let is_folder = matches!(self.inner.borrow().nodes[child], Node::Folder);
            if is_folder {
                self.remove_folder(&below)?;
            } else {
                self.remove(&below)?;
            }
        }
        self.remove(path)
    }

    fn mkdir(&self, path: &str) -> Result<(), PathError> {
        self.tick(path)?;
        let mut inner = self.inner.borrow_mut();
        if inner.find(path).is_some() {
            return Ok(());
        }
        let place = inner.place(path)?;
        inner.nodes.push(Node::Folder);
        let node = inner.nodes.len() - 1;
        inner.change(vec![(place, Some(node))]);
        Ok(())
    }

    fn list(&self, path: &str) -> Result<Vec<Name>, PathError> {
        if self.is_cut() {
            return error(ErrorKind::BrokenPipe, path);
        }
        let inner = self.inner.borrow();
        let Some(folder) = inner.find(path) else {
            return Ok(Vec::new());
        };
        let names = inner.children(folder).into_iter().map(|(name, node)| Name {
            name,
            is_folder: matches!(inner.nodes[node], Node::Folder),
        });
        Ok(names.collect())
    }

    fn size(&self, path: &str) -> Result<Option<u64>, PathError> {
        if self.is_cut() {
            return error(ErrorKind::BrokenPipe, path);
        }
        let inner = self.inner.borrow();
        Ok(inner.find(path).map(|node| match &inner.nodes[node] {
            Node::File { now, .. } => now.len() as u64,
            Node::Folder => 0,
        }))
    }

    fn sync_folder(&self, path: &str) -> Result<(), PathError> {
        self.tick(path)?;
        let mut inner = self.inner.borrow_mut();
        let folder = inner.existing(path)?;
        let touches = |group: &Group| group.iter().any(|((f, _), _)| *f == folder);
        let (flushed, kept) = std::mem::take(&mut inner.pending)
            .into_iter()
            .partition::<Vec<_>, _>(touches);
        inner.pending = kept;
        for (place, node) in flushed.into_iter().flatten() {
            set(&mut inner.durable, place, node);
        }
        Ok(())
    }

    fn sync_all(&self) -> Result<(), PathError> {
        self.tick("/")?;
        let mut inner = self.inner.borrow_mut();
        for (place, node) in std::mem::take(&mut inner.pending).into_iter().flatten() {
            set(&mut inner.durable, place, node);
        }
        for node in &mut inner.nodes {
            if let Node::File { durable, now } = node {
                durable.clone_from(now);
            }
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, PathError> {
        let inner = self.inner.borrow();
        let used: u64 = inner
            .now
            .values()
            .map(|&node| match &inner.nodes[node] {
                Node::File { now, .. } => now.len() as u64,
                Node::Folder => 512,
            })
            .sum();
        Ok(self.capacity.saturating_sub(used))
    }
}
