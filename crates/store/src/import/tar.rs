//! Tar archives, read entry by entry with every size bounded.
//!
//! Fields are taken by the `tar` crate's header types. The sequence of entries is read here,
//! since the crate reads extended headers of any size into memory and cuts their values at
//! line ends, which attributes may hold. Source: POSIX.1-2017 pax, "ustar Interchange
//! Format", and GNU tar's manual, "Basic Tar Format".

use super::pax;
use crate::Error;
use elea_formats::tree::{Content, Meta, Time, components};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// The largest extended header or long name that is read, in bytes. (Linux allows 64 KiB of names and
/// 64 KiB for each value.)
const MAX_EXTENDED: u64 = 8 << 20;
/// The longest path, as Linux has it.
const MAX_PATH: usize = 4096;
/// The longest name.
const MAX_NAME: usize = 255;

/// An entry, with everything that stands before it taken into account.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Without slashes at the ends; the root's is empty.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A regular file; its content follows and is read before the next entry.
    File(u64),
    Directory,
    /// Another name for an entry before it.
    Link(Vec<u8>),
    /// Symbolic links, devices and pipes.
    Other(Content),
}

/// A key and a value of an extended header.
type Record = (Vec<u8>, Vec<u8>);

/// An archive.
pub(crate) struct Archive<R> {
    from: R,
    /// Bytes of content and padding that stand before the next header.
    left: u64,
    padding: u64,
    globals: Vec<Record>,
    /// Whether the end mark was read.
    pub(crate) ended: bool,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            left: 0,
            padding: 0,
            globals: Vec::new(),
            ended: false,
        }
    }

    /// The archive's bytes, wherever they are by now.
    pub(crate) fn into_inner(self) -> R {
        self.from
    }

    /// The next entry; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Error> {
        self.skip()?;
        let mut before = Before::default();
        loop {
            let Some(header) = self.header()? else {
                if before.is_empty() {
                    return Ok(None);
                }
                return Err(broken("it ends after an extended header"));
            };
            let size = number(&header.as_old().size)
                .and_then(|size| u64::try_from(size).ok())
                .ok_or_else(|| broken("an entry has no valid size"))?;
            match header.entry_type() {
                EntryType::GNULongName => before.path = Some(self.name(size)?),
                EntryType::GNULongLink => before.target = Some(self.name(size)?),
                EntryType::XHeader => before.records = self.extended(size)?,
                EntryType::XGlobalHeader => {
                    let records = self.extended(size)?;
                    self.globals.extend(records);
                    // Bounded as one extended header is, however many there are.
                    let bytes: usize = self.globals.iter().map(|(k, v)| k.len() + v.len()).sum();
                    if bytes as u64 > MAX_EXTENDED {
                        return Err(broken("its global headers are too large"));
                    }
                }
                _ => {
                    let mut records = self.globals.clone();
                    records.append(&mut before.records);
                    before.records = records;
                    let entry = entry(&header, size, &before)?;
                    if let Kind::File(size) = entry.kind {
                        self.left = size;
                        self.padding = size.next_multiple_of(BLOCK as u64) - size;
                    }
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>, Error> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut filled = 0;
        while filled < BLOCK {
            match self.from.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(broken("it is truncated")),
                Ok(length) => filled += length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(unread(&e)),
            }
        }
        if block.iter().all(|b| *b == 0) {
            self.ended = true;
            return Ok(None);
        }
        let sum = |signed: bool| -> i64 {
            let bytes = header.as_bytes().iter().enumerate();
            bytes
                .map(|(i, b)| match i {
                    148..156 => 32,
                    _ if signed => i64::from(b.cast_signed()),
                    _ => i64::from(*b),
                })
                .sum()
        };
        let wanted = number(&header.as_old().cksum);
        // Old programs summed signed bytes.
        if wanted != Some(sum(false)) && wanted != Some(sum(true)) {
            return Err(broken(
                "a header's checksum is wrong: it is damaged or no tar archive",
            ));
        }
        Ok(Some(header))
    }

    /// The value of a header that describes the next entry.
    fn value(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENDED {
            return Err(broken("an extended header is too large"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        let mut value = Vec::new();
        self.read_to_end(&mut value).map_err(|e| unread(&e))?;
        self.skip()?;
        Ok(value)
    }

    fn name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut name = self.value(size)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn extended(&mut self, size: u64) -> Result<Vec<Record>, Error> {
        let value = self.value(size)?;
        let records =
            pax::parse(&value).ok_or_else(|| broken("an extended header is malformed"))?;
        Ok(records
            .into_iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()))
            .collect())
    }

    /// Passes over what is left of an entry.
    fn skip(&mut self) -> Result<(), Error> {
        let left = self.left + std::mem::take(&mut self.padding);
        self.left = 0;
        let passed = io::copy(&mut (&mut self.from).take(left), &mut io::sink());
        if passed.map_err(|e| unread(&e))? == left {
            return Ok(());
        }
        Err(broken("it is truncated"))
    }
}

/// The content of the current entry.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let limit = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(into.len());
        if limit == 0 {
            return Ok(0);
        }
        let length = self.from.read(&mut into[..limit])?;
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it is truncated",
            ));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// What stands before an entry.
#[derive(Debug, Default)]
struct Before {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    records: Vec<Record>,
}

impl Before {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.target.is_none() && self.records.is_empty()
    }

    /// The last record of a key counts; an empty one takes the key away.
    fn record(&self, key: &str) -> Option<&[u8]> {
        let found = self.records.iter().rev().find(|(k, _)| k == key.as_bytes());
        found
            .map(|(_, value)| value.as_slice())
            .filter(|value| !value.is_empty())
    }
}

pub(super) fn broken(reason: &str) -> Error {
    Error::Archive {
        reason: reason.to_owned(),
    }
}

/// What the reader below said.
pub(super) fn unread(error: &io::Error) -> Error {
    Error::Archive {
        reason: error.to_string(),
    }
}

pub(super) fn refuse(entry: &[u8], reason: impl Into<String>) -> Error {
    let shown: &[u8] = &entry[..entry.len().min(300)];
    Error::Entry {
        entry: shown.escape_ascii().to_string(),
        reason: reason.into(),
    }
}

/// A field's number: octal text, or GNU's base 256 with a sign.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative {
            field[0] | 0x80
        } else {
            field[0] & 0x7f
        };
        let mut value = if negative { -1_i64 } else { 0 };
        for byte in std::iter::once(&first).chain(&field[1..]) {
            value = value.checked_mul(256)? | i64::from(*byte);
        }
        return Some(value);
    }
    let digits = field.split(|b| *b == 0).next()?;
    let text = std::str::from_utf8(digits).ok()?.trim_matches(' ');
    if text.is_empty() {
        return Some(0);
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    i64::from_str_radix(text, 8).ok()
}

fn entry(header: &Header, size: u64, before: &Before) -> Result<Entry, Error> {
    let name: Vec<u8> = match (before.record("path"), &before.path) {
        (Some(path), _) => path.to_vec(),
        (None, Some(path)) => path.clone(),
        (None, None) => header.path_bytes().into_owned(),
    };
    if let Some((key, _)) = before
        .records
        .iter()
        .find(|(k, _)| k.starts_with(b"GNU.sparse."))
    {
        let key = key.escape_ascii();
        return Err(refuse(
            &name,
            format!("is sparse ({key}); pack it without --sparse"),
        ));
    }
    let size = match before.record("size") {
        None => size,
        Some(text) => decimal(text).ok_or_else(|| refuse(&name, "has a malformed size"))?,
    };
    let path = path(&name).map_err(|reason| refuse(&name, reason))?;
    let target = match (before.record("linkpath"), &before.target) {
        (Some(target), _) => target.to_vec(),
        (None, Some(target)) => target.clone(),
        (None, None) => header
            .link_name_bytes()
            .map_or_else(Vec::new, Cow::into_owned),
    };
    let kind = kind(header, &name, size, target, before)?;
    if path.is_empty() && !matches!(kind, Kind::Directory) {
        return Err(refuse(&name, "has no name"));
    }
    if size != 0 && !matches!(kind, Kind::File(_)) {
        return Err(refuse(&name, "has content, though it is no regular file"));
    }
    Ok(Entry {
        meta: meta(header, &name, before)?,
        path,
        kind,
    })
}

fn kind(
    header: &Header,
    name: &[u8],
    size: u64,
    target: Vec<u8>,
    before: &Before,
) -> Result<Kind, Error> {
    Ok(match header.entry_type() {
        // Before POSIX, a name with a slash at its end was a directory.
        EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous => Kind::File(size),
        EntryType::Directory => Kind::Directory,
        EntryType::Link => {
            let target = path(&target)
                .map_err(|reason| refuse(name, format!("is a hard link whose target {reason}")))?;
            Kind::Link(target)
        }
        EntryType::Symlink if target.is_empty() || target.len() >= MAX_PATH => {
            return Err(refuse(name, "is a symbolic link without a usable target"));
        }
        EntryType::Symlink if target.contains(&0) => {
            return Err(refuse(name, "has a zero byte in its target"));
        }
        EntryType::Symlink => Kind::Other(Content::Symlink(target)),
        EntryType::Block => Kind::Other(Content::BlockDevice(device(header, name, before)?)),
        EntryType::Char => Kind::Other(Content::CharDevice(device(header, name, before)?)),
        EntryType::Fifo => Kind::Other(Content::Fifo),
        EntryType::GNUSparse => {
            return Err(refuse(name, "is sparse; pack it without --sparse"));
        }
        other => {
            let byte = other.as_byte().escape_ascii();
            return Err(refuse(
                name,
                format!("is of the type `{byte}`, which no tree holds"),
            ));
        }
    })
}

fn device(header: &Header, name: &[u8], before: &Before) -> Result<u64, Error> {
    let fields = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => Some((&ustar.dev_major, &ustar.dev_minor)),
        (None, Some(gnu)) => Some((&gnu.dev_major, &gnu.dev_minor)),
        (None, None) => None,
    };
    let part = |key: &str, field: Option<&[u8; 8]>| {
        let value = match before.record(key) {
            Some(text) => decimal(text),
            None => field.and_then(|f| u64::try_from(number(f)?).ok()),
        };
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| refuse(name, "has no valid device number"))
    };
    let major = part("SCHILY.devmajor", fields.map(|f| f.0))?;
    let minor = part("SCHILY.devminor", fields.map(|f| f.1))?;
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(refuse(name, "has a device number that Linux does not have"));
    }
    Ok(rustix::fs::makedev(major, minor))
}

fn meta(header: &Header, name: &[u8], before: &Before) -> Result<Meta, Error> {
    let old = header.as_old();
    let owner = |key: &str, field: &[u8]| {
        let value = match before.record(key) {
            Some(text) => decimal(text),
            None => number(field).and_then(|n| u64::try_from(n).ok()),
        };
        value
            .and_then(|value| u32::try_from(value).ok())
            // The kernel's "no such user".
            .filter(|value| *value != u32::MAX)
            .ok_or_else(|| refuse(name, format!("has no valid {key}")))
    };
    let (seconds, nanoseconds) = match before.record("mtime") {
        Some(text) => pax::time(text),
        None => number(&old.mtime).map(|seconds| (seconds, 0)),
    }
    .ok_or_else(|| refuse(name, "has no valid time"))?;
    let mode = number(&old.mode)
        .and_then(|mode| u32::try_from(mode).ok())
        .ok_or_else(|| refuse(name, "has no valid mode"))?;
    Ok(Meta {
        mode: mode & 0o7777,
        uid: owner("uid", &old.uid)?,
        gid: owner("gid", &old.gid)?,
        mtime: Time {
            seconds,
            nanoseconds,
        },
        xattrs: xattrs(name, before)?,
    })
}

fn xattrs(name: &[u8], before: &Before) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
    let mut all = BTreeMap::new();
    let mut acls: Vec<(&[u8], Vec<u8>)> = Vec::new();
    for (key, value) in &before.records {
        if let Some(attribute) = key.strip_prefix(b"SCHILY.xattr.") {
            let sized = (1..=MAX_NAME).contains(&attribute.len()) && value.len() <= 1 << 16;
            if !sized || attribute.contains(&0) {
                return Err(refuse(name, "has an attribute that is too large"));
            }
            all.insert(pax::attribute(attribute), value.clone());
        }
        let attribute: &[u8] = match key.as_slice() {
            b"SCHILY.acl.access" => b"system.posix_acl_access",
            b"SCHILY.acl.default" => b"system.posix_acl_default",
            _ => continue,
        };
        acls.push((
            attribute,
            pax::acl(value).map_err(|reason| refuse(name, reason))?,
        ));
    }
    // The exact form is preferred to the text.
    for (attribute, value) in acls {
        all.entry(attribute.to_vec()).or_insert(value);
    }
    Ok(all)
}

fn decimal(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// A path below the root, or why it is none. Slashes at its ends and `.` in it mean nothing.
fn path(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    if name.contains(&0) {
        return Err("has a zero byte in its name");
    }
    if name.len() > MAX_PATH {
        return Err("has a path of more than 4096 bytes");
    }
    let mut path = Vec::with_capacity(name.len());
    for part in components(name) {
        match part {
            b"." => continue,
            b".." => return Err("has `..` in its path, which could lead outside"),
            _ if part.len() > MAX_NAME => return Err("has a name of more than 255 bytes"),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(part);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        for (field, expected) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"77777777", Some(0o7777_7777)),
            (b"12x4567\0", None),
            (b"-1\0\0\0\0\0\0", None),
            (b"9\0\0\0\0\0\0\0", None),
            (&[0x80, 0, 0, 0, 0, 0x20, 0, 0], Some(0x20_0000)),
            (&[0xff; 8], Some(-1)),
            (
                &[
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
                ],
                Some(-2),
            ),
            (
                &[
                    0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                ],
                Some(i64::MAX),
            ),
            (&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(number(field), expected, "{field:?}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (name, expected) in [
            ("./usr//bin/./sh", Some("usr/bin/sh")),
            ("/etc/passwd", Some("etc/passwd")),
            ("./", Some("")),
            ("a/..b/...", Some("a/..b/...")),
            ("..", None),
            ("a/../b", None),
            ("a\0b", None),
        ] {
            let found = path(name.as_bytes()).ok();
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{name}");
        }
        assert!(path(&[b'a'; 256]).is_err());
        assert!(path("a/".repeat(2049).as_bytes()).is_err());
    }
}
