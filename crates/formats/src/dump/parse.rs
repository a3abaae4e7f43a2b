//! Text to a tree. A dump may come from anywhere.

use super::{BLOCK_DEVICE, CHAR_DEVICE, DIRECTORY, FIFO, REGULAR, SOCKET, SYMLINK};
use crate::digest::{Algorithm, Digest};
use crate::tree::{Content, DirId, Leaf, Meta, Node, Time, Tree};
use std::collections::BTreeMap;

/// The longest path, as the kernel counts it without the final zero byte.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;
/// The most content that the reference keeps in an image.
const MAX_INLINE: usize = 5000;
const MAX_ATTRIBUTE_NAME: usize = 255;
const MAX_ATTRIBUTE_VALUE: usize = 65_535;
/// What the reference takes of all attributes of a file, with 7 bytes for each and 12 for all.
const MAX_ATTRIBUTES: usize = 32_767;
/// The most bytes of a line behind its fixed fields.
const MAX_ATTRIBUTES_TEXT: usize = 65_535;
/// The largest file: 1,024 holes of the largest size.
const MAX_SIZE: u64 = 1024 << 43;

/// Why a dump was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the dump: {reason}")]
pub struct DumpError {
    /// Counted from one.
    pub line: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The line ends early.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// A field that does not say what it should.
    #[error("the {field} `{found}` is not {needed}")]
    Field {
        /// Which field.
        field: &'static str,
        /// Its text, cut to 80 characters.
        found: String,
        /// What it should be.
        needed: &'static str,
    },
    /// A field that this kind of file does not have.
    #[error("a {0} cannot stand here")]
    Unexpected(&'static str),
    /// The first line is not `/`, or another one is.
    #[error("the root directory must come first, once")]
    Root,
    /// No line before this one makes its directory.
    #[error("its directory does not come before it")]
    Parent,
    /// The object has a name of another algorithm than those of the tree that is filled.
    #[error(
        "its object is named by {found}, and here they are named by {wanted}; use a store with {found} (`elea store init --algorithm {found}`)"
    )]
    Algorithm {
        /// What the dump has.
        found: Algorithm,
        /// What the tree has.
        wanted: Algorithm,
    },
    /// The path was there before.
    #[error("the path is there twice")]
    Twice,
    /// The last line does not end.
    #[error("the line has no end: the dump is cut off")]
    Cut,
    /// A hard link to nothing, or to a directory.
    #[error("the hard link's target is no file that comes before it")]
    Target,
}

type Result<T> = std::result::Result<T, Reason>;

fn wrong(field: &'static str, found: &[u8], needed: &'static str) -> Reason {
    let found = found[..found.len().min(80)].escape_ascii().to_string();
    Reason::Field {
        field,
        found,
        needed,
    }
}

/// Parses a dump. The tree has the algorithm that the dump has.
pub fn parse(text: &[u8]) -> std::result::Result<Tree, DumpError> {
    let mut parser = Parser::of_any(Tree::new());
    for line in text.split_inclusive(|b| *b == b'\n') {
        parser.line(line)?;
    }
    parser.finish()
}

/// The longest line: a path, content and attributes as long as they may be, escaped, and the rest.
pub const MAX_LINE: usize = 4 * (2 * MAX_PATH + MAX_INLINE) + MAX_ATTRIBUTES_TEXT + 1024;

/// Parses a dump line by line.
#[derive(Debug)]
pub struct Parser {
    tree: Tree,
    /// Whether the tree takes the algorithm of the first object.
    undecided: bool,
    rooted: bool,
    line: usize,
}

impl Parser {
    /// Fills this tree, which has nothing in it yet. Objects that it could not name are refused.
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            undecided: false,
            rooted: false,
            line: 0,
        }
    }

    /// The same, but the tree gets the algorithm of the first object.
    pub fn of_any(tree: Tree) -> Self {
        Self {
            undecided: true,
            ..Self::new(tree)
        }
    }

    /// Reads the next line, with its end.
    pub fn line(&mut self, line: &[u8]) -> std::result::Result<(), DumpError> {
        self.line += 1;
        let parsed = match line.strip_suffix(b"\n") {
            Some(line) => self.parse(line),
            None => Err(Reason::Cut),
        };
        parsed.map_err(|reason| DumpError {
            line: self.line,
            reason,
        })
    }

    fn parse(&mut self, line: &[u8]) -> Result<()> {
        let has_object = |tree: &Tree| tree.leaves().any(|id| tree.object(id).is_some());
        match parse_line(&mut self.tree, &mut self.rooted, line) {
            Err(Reason::Algorithm { found, .. }) if self.undecided && !has_object(&self.tree) => {
                self.undecided = false;
                let tree = std::mem::take(&mut self.tree);
                self.tree = tree.rename_objects(found, |digest| *digest);
                parse_line(&mut self.tree, &mut self.rooted, line)
            }
            parsed => parsed,
        }
    }

    /// The tree, if its lines are complete.
    pub fn finish(self) -> std::result::Result<Tree, DumpError> {
        if !self.rooted {
            let (line, reason) = (1, Reason::Root);
            return Err(DumpError { line, reason });
        }
        Ok(self.tree)
    }
}

fn parse_line(tree: &mut Tree, rooted: &mut bool, line: &[u8]) -> Result<()> {
    if !line.iter().all(|b| matches!(b, b' '..=b'~')) {
        return Err(wrong("line", line, "of printable bytes"));
    }
    let mut fields = Fields {
        rest: line.split(|b| *b == b' '),
    };
    let path = path("path", fields.next("path")?)?;
    let size = number::<u64>("size", fields.next("size")?)?;
    let mode = fields.next("mode")?;
    if let Some(mode) = mode.strip_prefix(b"@") {
        link_mode(mode)?;
        return parse_link(tree, *rooted, &path, &mut fields);
    }
    let mode = octal(mode)?;
    number::<u32>("link count", fields.next("link count")?)?;
    let uid = number("owner", fields.next("owner")?)?;
    let gid = number("group", fields.next("group")?)?;
    let device = number::<u32>("device", fields.next("device")?)?;
    let mtime = time(fields.next("time")?)?;
    let payload = optional("payload", fields.next("payload")?)?;
    let content = optional("content", fields.next("content")?)?;
    let digest = fields.next("digest")?;
    let meta = Meta {
        mode: mode & 0o7777,
        uid,
        gid,
        mtime,
        xattrs: attributes(fields.rest)?,
    };
    let kind = mode & !0o7777;
    let is_device = kind == CHAR_DEVICE || kind == BLOCK_DEVICE;
    if device != 0 && !is_device {
        return Err(Reason::Unexpected("device number"));
    }
    if kind == DIRECTORY {
        refuse(payload.is_some(), "payload")?;
        refuse(content.is_some(), "content")?;
        refuse(digest != b"-", "digest")?;
        return put_directory(tree, rooted, &path, &meta);
    }
    let content = match kind {
        REGULAR => match regular(size, payload, content, digest)? {
            Content::Object { digest, .. } if digest.algorithm() != tree.algorithm() => {
                let (found, wanted) = (digest.algorithm(), tree.algorithm());
                return Err(Reason::Algorithm { found, wanted });
            }
            content => content,
        },
        SYMLINK => {
            refuse(content.is_some(), "content")?;
            refuse(digest != b"-", "digest")?;
            target(size, payload.ok_or(Reason::Missing("link's target"))?)?
        }
        _ => {
            refuse(payload.is_some(), "payload")?;
            refuse(content.is_some(), "content")?;
            refuse(digest != b"-", "digest")?;
            match kind {
                CHAR_DEVICE => Content::CharDevice(u64::from(device)),
                BLOCK_DEVICE => Content::BlockDevice(u64::from(device)),
                FIFO => Content::Fifo,
                SOCKET => Content::Socket,
                _ => {
                    let found = format!("{mode:o}");
                    return Err(wrong("mode", found.as_bytes(), "a file type"));
                }
            }
        }
    };
    let (parent, name) = place(tree, *rooted, &path)?;
    tree.put_leaf(parent, name, &Leaf { meta, content });
    Ok(())
}

fn refuse(there: bool, what: &'static str) -> Result<()> {
    if there {
        return Err(Reason::Unexpected(what));
    }
    Ok(())
}

/// A second name: everything but the payload is ignored, as composefs-dump(5) says.
fn parse_link<'a>(
    tree: &mut Tree,
    rooted: bool,
    path: &[u8],
    fields: &mut Fields<impl Iterator<Item = &'a [u8]>>,
) -> Result<()> {
    for field in ["link count", "owner", "group", "device", "time"] {
        fields.next(field)?;
    }
    let target = self::path("payload", fields.next("payload")?)?;
    let Some(Node::Leaf(id)) = tree.get(&target) else {
        return Err(Reason::Target);
    };
    let (parent, name) = place(tree, rooted, path)?;
    tree.insert(parent, name, Node::Leaf(id));
    Ok(())
}

fn regular(
    size: u64,
    payload: Option<Vec<u8>>,
    content: Option<Vec<u8>>,
    digest: &[u8],
) -> Result<Content> {
    let Some(payload) = payload else {
        refuse(digest != b"-", "digest")?;
        let content = content.unwrap_or_default();
        if content.len() > MAX_INLINE {
            return Err(wrong("content", &content, "at most 5000 bytes long"));
        }
        if content.len() as u64 != size {
            let found = size.to_string();
            return Err(wrong("size", found.as_bytes(), "that of the content"));
        }
        return Ok(Content::Inline(content));
    };
    refuse(content.is_some(), "content")?;
    let digest: Digest = std::str::from_utf8(digest)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("digest", digest, "64 or 128 hexadecimal digits"))?;
    if payload.strip_prefix(b"/").unwrap_or(&payload) != digest.object_path().as_bytes() {
        return Err(wrong("payload", &payload, "the object of the digest"));
    }
    if size == 0 || size > MAX_SIZE {
        let found = size.to_string();
        return Err(wrong("size", found.as_bytes(), "the size of an object"));
    }
    Ok(Content::Object { digest, size })
}

fn target(size: u64, target: Vec<u8>) -> Result<Content> {
    if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
        return Err(wrong("link's target", &target, "a path"));
    }
    if target.len() as u64 != size {
        let found = size.to_string();
        return Err(wrong("size", found.as_bytes(), "that of the link's target"));
    }
    Ok(Content::Symlink(target))
}

fn put_directory(tree: &mut Tree, rooted: &mut bool, path: &[u8], meta: &Meta) -> Result<()> {
    if path == b"/" && !*rooted {
        *rooted = true;
        tree.set_meta(DirId::ROOT, meta);
        return Ok(());
    }
    let (parent, name) = place(tree, *rooted, path)?;
    tree.add_directory(parent, name, meta);
    Ok(())
}

/// The directory and the name of a path that is not there yet.
fn place<'p>(tree: &Tree, rooted: bool, path: &'p [u8]) -> Result<(DirId, &'p [u8])> {
    if !rooted || path == b"/" {
        return Err(Reason::Root);
    }
    let slash = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let parent = tree.directory(&path[..slash]).ok_or(Reason::Parent)?;
    let name = &path[slash + 1..];
    if tree.child(parent, name).is_some() {
        return Err(Reason::Twice);
    }
    Ok((parent, name))
}

/// The fields of a line, between single blanks.
struct Fields<I> {
    rest: I,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Fields<I> {
    fn next(&mut self, what: &'static str) -> Result<&'a [u8]> {
        self.rest.next().ok_or(Reason::Missing(what))
    }
}

fn number<N: std::str::FromStr>(field: &'static str, text: &[u8]) -> Result<N> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong(field, text, "a number in range"))
}

fn octal(text: &[u8]) -> Result<u32> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .ok_or_else(|| wrong("mode", text, "an octal number"))
}

/// The mode of a second name says nothing, but it must be one, and none of a directory.
fn link_mode(text: &[u8]) -> Result<()> {
    let kinds = [REGULAR, SYMLINK, BLOCK_DEVICE, CHAR_DEVICE, FIFO, SOCKET];
    if kinds.contains(&(octal(text)? & !0o7777)) {
        return Ok(());
    }
    Err(wrong("mode", text, "that of a file with several names"))
}

/// Seconds and nanoseconds, the latter a plain number without leading zeros' meaning.
fn time(text: &[u8]) -> Result<Time> {
    let error = || wrong("time", text, "SECONDS.NANOSECONDS");
    let dot = text.iter().position(|b| *b == b'.').ok_or_else(error)?;
    let (seconds, negative) = match text[..dot].strip_prefix(b"-") {
        Some(rest) => (rest, true),
        None => (&text[..dot], false),
    };
    let seconds: i64 = number("time", seconds)?;
    let nanoseconds: u32 = number("time", &text[dot + 1..])?;
    if nanoseconds >= 1_000_000_000 {
        return Err(error());
    }
    Ok(Time {
        seconds: if negative { -seconds } else { seconds },
        nanoseconds,
    })
}

fn attributes<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    // As the reference counts: a header, and the entries at their largest.
    let (mut size, mut written) = (12, 0);
    for text in fields {
        let needed = "KEY=VALUE";
        let equals = text
            .iter()
            .position(|b| *b == b'=')
            .ok_or_else(|| wrong("attribute", text, needed))?;
        let name = unescape("attribute", &text[..equals])?;
        let value = unescape("attribute", &text[equals + 1..])?;
        if name.is_empty() || name.len() > MAX_ATTRIBUTE_NAME || name.contains(&0) {
            return Err(wrong("attribute", text, "named with 1 to 255 bytes"));
        }
        if value.len() > MAX_ATTRIBUTE_VALUE {
            return Err(wrong("attribute", text, "at most 65535 bytes long"));
        }
        size += 7 + name.len() + value.len();
        written += text.len() + 1;
        if size > MAX_ATTRIBUTES || written > MAX_ATTRIBUTES_TEXT + 1 {
            return Err(wrong("attribute", text, "within 32767 bytes for a file"));
        }
        if found.insert(name, value).is_some() {
            return Err(wrong("attribute", text, "there once"));
        }
    }
    Ok(found)
}

fn optional(field: &'static str, text: &[u8]) -> Result<Option<Vec<u8>>> {
    if text == b"-" {
        return Ok(None);
    }
    unescape(field, text).map(Some)
}

/// An absolute path in its shortest form.
fn path(field: &'static str, text: &[u8]) -> Result<Vec<u8>> {
    let path = unescape(field, text)?;
    let good = path == b"/"
        || path.strip_prefix(b"/").is_some_and(|rest| {
            rest.split(|b| *b == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME)
        });
    if !good || path.len() > MAX_PATH || path.contains(&0) {
        return Err(wrong(field, text, "an absolute path without `.` and `..`"));
    }
    Ok(path)
}

fn unescape(field: &'static str, text: &[u8]) -> Result<Vec<u8>> {
    let error = || {
        wrong(
            field,
            text,
            "escaped as `\\\\`, `\\n`, `\\r`, `\\t`, `\\xHH`",
        )
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        out.push(match byte {
            b'\\' => {
                let (escape, after) = rest.split_first().ok_or_else(error)?;
                rest = after;
                match escape {
                    b'\\' => b'\\',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'x' => {
                        let (digits, after) = rest.split_at_checked(2).ok_or_else(error)?;
                        rest = after;
                        hex(digits).ok_or_else(error)?
                    }
                    _ => return Err(error()),
                }
            }
            b'!'..=b'~' => *byte,
            _ => return Err(error()),
        });
    }
    Ok(out)
}

fn hex(digits: &[u8]) -> Option<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let (high, low) = (value(digits.first()?)?, value(digits.get(1)?)?);
    u8::try_from(high * 16 + low).ok()
}
