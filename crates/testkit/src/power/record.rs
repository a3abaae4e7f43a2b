//! What a program did to a folder.

use super::trace::{Argument, Call, parse};
use super::{Cut, Inode, Kind, Node, Op, Place, State};
use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The calls that are recorded, and those that would be news to the model.
const CALLS: &str = "open,openat,creat,close,lseek,write,pwrite64,writev,pwritev,pwritev2,copy_file_range,sendfile,\
    splice,truncate,ftruncate,fallocate,chmod,fchmod,fchmodat,?fchmodat2,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,fsync,fdatasync,syncfs,sync";
/// Bytes of one write that are recorded; a longer one ends the recording.
const MOST: &str = "4194304";

/// What was done to a folder, one step after the other.
#[derive(Debug, Clone)]
pub struct Record {
    folder: PathBuf,
    /// What was there and durable at the beginning. Nodes that were made later are in it too, empty and without
    /// names.
    first: State,
    /// What programs see now.
    now: State,
    ops: Vec<Op>,
}

/// Where the descriptors of the program stand; the end for those that append.
type Offsets = HashMap<u64, Option<u64>>;

impl Record {
    /// Begins with what stands in a folder (which may be absent), all of it durable.
    pub fn begin(folder: &Path) -> Result<Self> {
        let parent = folder.parent().unwrap_or(folder);
        let parent = fs::canonicalize(parent).map_err(|e| at("find", parent, &e))?;
        let folder = parent.join(folder.file_name().unwrap_or_default());
        let state = load(&folder)?;
        Ok(Self {
            folder,
            first: state.clone(),
            now: state,
            ops: Vec::new(),
        })
    }

    /// Runs a program and adds what it does to the folder; whether it succeeded. None if strace is not
    /// there, or may not trace.
    pub fn run(&mut self, program: &Command) -> Result<Option<bool>> {
        let trace =
            tempfile::NamedTempFile::new().map_err(|e| at("make", Path::new("a trace"), &e))?;
        let mut strace = Command::new("strace");
        strace
            .args([
                "-f",
                "-y",
                "-xx",
                "-qq",
                "-s",
                MOST,
                "-e",
                "signal=none",
                "-e",
            ])
            .arg(format!("trace={CALLS}"))
            .arg("-o")
            .arg(trace.path())
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => strace.env(name, value),
                None => strace.env_remove(name),
            };
        }
        let Ok(status) = strace.status() else {
            return Ok(None);
        };
        let text = fs::read_to_string(trace.path()).map_err(|e| at("read", trace.path(), &e))?;
        let calls = parse(&text);
        if calls.is_empty() {
            return Ok(None);
        }
        let mut offsets = Offsets::new();
        let mask = mask();
        for call in &calls {
            self.add(call, &mut offsets, mask)?;
        }
        // Else the model would be of another program.
        let there = load(&self.folder)?;
        if there.key() != self.now.key() {
            return Err(Error::other(format!(
                "what was recorded is not what is there:\n{:#?}\n{:#?}",
                self.now.list(),
                there.list()
            )));
        }
        Ok(Some(status.success()))
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// A step in words, for messages.
    pub fn step(&self, number: usize) -> String {
        self.ops
            .get(number)
            .map_or("the end".into(), |op| match op {
                Op::Names(changes) => format!(
                    "names {:?}",
                    changes
                        .iter()
                        .map(|((folder, name), inode)| {
                            format!("{folder}/{} -> {inode:?}", name.escape_ascii())
                        })
                        .collect::<Vec<_>>()
                ),
                Op::Data { file, at, bytes } => format!("{} bytes to {file} at {at}", bytes.len()),
                other => format!("{other:?}"),
            })
    }

    /// Whether a step makes something durable.
    pub fn is_sync(&self, number: usize) -> bool {
        matches!(self.ops.get(number), Some(Op::Sync { .. } | Op::SyncAll))
    }

    /// The path that a sync is of; empty for everything.
    pub fn told(&self, number: usize) -> String {
        let Some(&Op::Sync { mut node, .. }) = self.ops.get(number) else {
            return String::new();
        };
        // Where it stood when it was synced.
        let names = self.state(number, Cut::Everything).names;
        let mut path = Vec::new();
        while let Some(((folder, name), _)) = names.iter().find(|(_, inode)| **inode == node) {
            path.insert(0, String::from_utf8_lossy(name).into_owned());
            node = *folder;
        }
        path.join("/")
    }

    /// The same program without one of its steps.
    #[must_use]
    pub fn without(&self, number: usize) -> Self {
        let mut record = self.clone();
        record.ops.remove(number);
        record
    }

    /// What may be found after so many steps.
    pub fn state(&self, steps: usize, cut: Cut) -> State {
        let mut state = self.first.clone();
        let mut pending: Vec<&Op> = Vec::new();
        for op in &self.ops[..steps] {
            match op {
                Op::SyncAll => pending.drain(..).for_each(|op| state.apply(op)),
                Op::Sync { node, content } => pending.retain(|op| {
                    let covered = covers(*node, *content, op);
                    if covered {
                        state.apply(op);
                    }
                    !covered
                }),
                op => pending.push(op),
            }
        }
        state.cut(&pending, cut);
        state
    }

    /// The record of a program that was killed after so many steps, whose folder has meanwhile
    /// another place: what comes next goes on from there.
    pub fn killed(&self, steps: usize, folder: &Path) -> Result<Self> {
        let now = self.state(steps, Cut::Everything);
        now.write(folder).map_err(|e| at("write", folder, &e))?;
        Ok(Self {
            folder: fs::canonicalize(folder).map_err(|e| at("find", folder, &e))?,
            first: self.first.clone(),
            now,
            ops: self.ops[..steps].to_vec(),
        })
    }

    fn push(&mut self, op: Op) {
        self.now.apply(&op);
        self.ops.push(op);
    }

    fn add(&mut self, call: &Call, offsets: &mut Offsets, mask: u32) -> Result<()> {
        let arguments = &call.arguments;
        let argument = |number: usize| arguments.get(number).ok_or_else(|| strange(call));
        match call.name.as_str() {
            "open" | "creat" => self.open(call, None, 0, offsets, mask)?,
            "openat" => self.open(call, Some(argument(0)?), 1, offsets, mask)?,
            "close" => {
                offsets.remove(&argument(0)?.number().unwrap_or(u64::MAX));
            }
            "lseek" => {
                let (fd, to) = (argument(0)?.number(), call.result.number());
                if let (Some(fd), Some(to)) = (fd, to)
                    && let Some(Some(offset)) = offsets.get_mut(&fd)
                {
                    *offset = to;
                }
            }
            "write" | "pwrite64" => self.write(call, offsets)?,
            "ftruncate" => {
                if let Some(file) = self.opened(argument(0)?) {
                    let size = argument(1)?.number().ok_or_else(|| strange(call))?;
                    self.push(Op::Size { file, size });
                }
            }
            "fallocate" => {
                if let Some(file) = self.opened(argument(0)?) {
                    let (at, length) = (argument(2)?.number(), argument(3)?.number());
                    let (Some(at), Some(length), "0") = (at, length, argument(1)?.word.as_str())
                    else {
                        return Err(strange(call));
                    };
                    let size = (at + length).max(self.now.nodes[file].data.len() as u64);
                    self.push(Op::Size { file, size });
                }
            }
            "fchmod" => {
                let node = self.opened(argument(0)?);
                self.mode(node, argument(1)?);
            }
            "chmod" => {
                let node = self.named(None, argument(0)?);
                self.mode(node, argument(1)?);
            }
            "fchmodat" | "fchmodat2" => {
                let node = self.named(Some(argument(0)?), argument(1)?);
                self.mode(node, argument(2)?);
            }
            "rename" => self.rename((None, argument(0)?), (None, argument(1)?), "", call)?,
            "renameat" | "renameat2" => {
                let flags = arguments.get(4).map_or("", |flags| flags.word.as_str());
                let from = (Some(argument(0)?), argument(1)?);
                self.rename(from, (Some(argument(2)?), argument(3)?), flags, call)?;
            }
            "symlink" => self.link(argument(0)?, None, argument(1)?),
            "symlinkat" => self.link(argument(0)?, Some(argument(1)?), argument(2)?),
            "mkdir" => self.mkdir(None, argument(0)?, argument(1)?, mask),
            "mkdirat" => self.mkdir(Some(argument(0)?), argument(1)?, argument(2)?, mask),
            "unlink" | "rmdir" => self.unlink(None, argument(0)?),
            "unlinkat" => self.unlink(Some(argument(0)?), argument(1)?),
            "fsync" | "fdatasync" => {
                if let Some(node) = self.opened(argument(0)?) {
                    let content = call.name == "fdatasync";
                    self.push(Op::Sync { node, content });
                }
            }
            "syncfs" | "sync" => self.push(Op::SyncAll),
            // Whatever else there is must not touch the folder.
            _ => {
                let inside = |a: &Argument| {
                    a.bytes
                        .as_ref()
                        .is_some_and(|path| path.starts_with(self.folder.as_os_str().as_bytes()))
                };
                if arguments.iter().any(inside) {
                    return Err(strange(call));
                }
            }
        }
        Ok(())
    }

    fn open(
        &mut self,
        call: &Call,
        folder: Option<&Argument>,
        path: usize,
        offsets: &mut Offsets,
        mask: u32,
    ) -> Result<()> {
        let (Some(name), Some(fd)) = (call.arguments.get(path), call.result.number()) else {
            return Err(strange(call));
        };
        let flags = call.arguments.get(path + 1).map_or("", |a| a.word.as_str());
        let has = |flag: &str| flags.split('|').any(|one| one == flag);
        offsets.insert(fd, (!has("O_APPEND")).then_some(0));
        let Some(place) = self.place(folder, name) else {
            return Ok(());
        };
        if has("O_TMPFILE") {
            // It has no name, and never gets one: that would be a link.
            return Ok(());
        }
        if call.name == "creat" {
            return Err(strange(call));
        }
        match self.now.names.get(&place).copied() {
            None if has("O_CREAT") => {
                let mode = call.arguments.get(path + 2).and_then(Argument::octal);
                let mode = mode.ok_or_else(|| strange(call))? & !mask;
                self.make(place, Kind::File, mode, Vec::new());
            }
            Some(file) if has("O_TRUNC") => self.push(Op::Size { file, size: 0 }),
            _ => {}
        }
        Ok(())
    }

    fn write(&mut self, call: &Call, offsets: &mut Offsets) -> Result<()> {
        let [descriptor, data, ..] = call.arguments.as_slice() else {
            return Err(strange(call));
        };
        let Some(file) = self.opened(descriptor) else {
            return Ok(());
        };
        let (Some(bytes), Some(length), false) = (&data.bytes, call.result.number(), data.is_cut)
        else {
            return Err(strange(call));
        };
        let end = self.now.nodes[file].data.len() as u64;
        let at = if call.name == "pwrite64" {
            call.arguments
                .get(3)
                .and_then(Argument::number)
                .ok_or_else(|| strange(call))?
        } else {
            match offsets.get_mut(&descriptor.number().unwrap_or(u64::MAX)) {
                Some(Some(offset)) => {
                    *offset += length;
                    *offset - length
                }
                Some(None) => end,
                None => return Err(strange(call)),
            }
        };
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let bytes = bytes[..length].to_vec();
        self.push(Op::Data { file, at, bytes });
        Ok(())
    }

    fn rename(
        &mut self,
        from: (Option<&Argument>, &Argument),
        to: (Option<&Argument>, &Argument),
        flags: &str,
        call: &Call,
    ) -> Result<()> {
        let (from, to) = match (self.place(from.0, from.1), self.place(to.0, to.1)) {
            (None, None) => return Ok(()),
            (Some(from), Some(to)) => (from, to),
            _ => return Err(strange(call)),
        };
        let inode = *self.now.names.get(&from).ok_or_else(|| strange(call))?;
        if flags.contains("RENAME_EXCHANGE") {
            let other = self.now.names.get(&to).copied();
            self.push(Op::Names(vec![(from, other), (to, Some(inode))]));
        } else {
            self.push(Op::Names(vec![(to, Some(inode)), (from, None)]));
        }
        Ok(())
    }

    fn link(&mut self, target: &Argument, folder: Option<&Argument>, name: &Argument) {
        if let Some(place) = self.place(folder, name) {
            self.make(
                place,
                Kind::Link,
                0o777,
                target.bytes.clone().unwrap_or_default(),
            );
        }
    }

    fn mkdir(&mut self, folder: Option<&Argument>, name: &Argument, mode: &Argument, mask: u32) {
        let mode = mode.octal().unwrap_or(0o777) & !mask;
        if let Some(place) = self.place(folder, name) {
            self.make(place, Kind::Folder, mode, Vec::new());
        } else if name.bytes.as_deref() == Some(self.folder.as_os_str().as_bytes()) {
            // The folder itself: its own name is not looked at.
            self.now.nodes[0].mode = mode;
            self.first.nodes[0].mode = mode;
        }
    }

    fn unlink(&mut self, folder: Option<&Argument>, name: &Argument) {
        if let Some(place) = self.place(folder, name) {
            self.push(Op::Names(vec![(place, None)]));
        }
    }

    fn mode(&mut self, node: Option<Inode>, mode: &Argument) {
        if let (Some(node), Some(mode)) = (node, mode.octal()) {
            self.push(Op::Mode { node, mode });
        }
    }

    fn make(&mut self, place: Place, kind: Kind, mode: u32, data: Vec<u8>) {
        let node = Node { kind, mode, data };
        self.first.nodes.push(node.clone());
        self.now.nodes.push(node);
        let inode = self.now.nodes.len() - 1;
        self.push(Op::Names(vec![(place, Some(inode))]));
    }

    /// Where a name is in the folder; none if it is elsewhere, or the folder itself.
    fn place(&self, folder: Option<&Argument>, name: &Argument) -> Option<Place> {
        let name = OsStr::from_bytes(name.bytes.as_deref()?);
        let base = folder.and_then(|f| f.bytes.as_deref()).unwrap_or(b"/");
        let path = Path::new(OsStr::from_bytes(base)).join(name);
        let inside = path.strip_prefix(&self.folder).ok()?;
        let parent = self.now.find(inside.parent()?.as_os_str().as_bytes())?;
        Some((parent, inside.file_name()?.as_bytes().to_vec()))
    }

    fn named(&self, folder: Option<&Argument>, name: &Argument) -> Option<Inode> {
        self.now.names.get(&self.place(folder, name)?).copied()
    }

    /// What a descriptor is open on. A file that has no name any more is of no interest.
    fn opened(&self, descriptor: &Argument) -> Option<Inode> {
        let path = Path::new(OsStr::from_bytes(descriptor.bytes.as_deref()?));
        let inside = path.strip_prefix(&self.folder).ok()?;
        self.now.find(inside.as_os_str().as_bytes())
    }
}

/// Whether a sync of a node makes a change durable.
fn covers(node: Inode, content: bool, op: &Op) -> bool {
    match op {
        Op::Names(changes) => changes.iter().any(|((folder, _), _)| *folder == node),
        Op::Data { file, .. } | Op::Size { file, .. } => *file == node,
        Op::Mode { node: changed, .. } => *changed == node && !content,
        Op::Sync { .. } | Op::SyncAll => false,
    }
}

fn strange(call: &Call) -> Error {
    let word = |a: &Argument| match &a.bytes {
        Some(bytes) => {
            let shown = &bytes[..bytes.len().min(200)];
            format!("{}\"{}\"", a.word, shown.escape_ascii())
        }
        None => a.word.clone(),
    };
    let arguments: Vec<String> = call.arguments.iter().map(word).collect();
    Error::other(format!(
        "the model of a power cut does not know this call: {}({})",
        call.name,
        arguments.join(", ")
    ))
}

fn at(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::other(format!("cannot {what} {}: {error}", path.display()))
}

/// The bits that new files do not get.
fn mask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o022)
}

/// What stands in a folder; an empty folder if it is absent.
fn load(folder: &Path) -> Result<State> {
    let mode = fs::metadata(folder).map_or(0o755, |m| m.permissions().mode() & 0o7777);
    let root = Node {
        kind: Kind::Folder,
        mode,
        data: Vec::new(),
    };
    let mut state = State {
        nodes: vec![root],
        names: BTreeMap::new(),
    };
    let mut todo = vec![(0, folder.to_owned())];
    while let Some((inode, path)) = todo.pop() {
        let Ok(entries) = fs::read_dir(&path) else {
            continue;
        };
        for entry in entries {
            let entry = entry.map_err(|e| at("list", &path, &e))?;
            let path = entry.path();
            let fail = |e| at("read", &path, &e);
            let status = fs::symlink_metadata(&path).map_err(fail)?;
            let (kind, data) = if status.is_dir() {
                todo.push((state.nodes.len(), path.clone()));
                (Kind::Folder, Vec::new())
            } else if status.is_symlink() {
                let target = fs::read_link(&path).map_err(fail)?;
                (Kind::Link, target.as_os_str().as_bytes().to_vec())
            } else {
                (Kind::File, fs::read(&path).map_err(fail)?)
            };
            let mode = status.permissions().mode() & 0o7777;
            state.names.insert(
                (inode, entry.file_name().as_bytes().to_vec()),
                state.nodes.len(),
            );
            state.nodes.push(Node { kind, mode, data });
        }
    }
    Ok(state)
}
