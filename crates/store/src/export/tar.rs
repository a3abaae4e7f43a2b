//! Trees as tar files: ustar, with PAX headers only where a field does not fit.
//!
//! Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".

use crate::{Error, Store};
use elea_formats::digest::Digest;
use elea_formats::tree::{Content, LeafId, LeafRef, MetaRef, Node, Tree};
use elea_sys::At as _;
use std::collections::HashMap;
use std::io::{self, Read as _, Write};
use tar::{EntryType, Header};

const BLOCK: usize = 512;
/// The largest number of seven and of eleven octal digits.
const SEVEN: u64 = 0o7_777_777;
const ELEVEN: u64 = 0o77_777_777_777;

/// The leaves with several names, and the first one that was written: the others are hard links.
#[derive(Debug)]
pub(super) struct Names {
    counts: Vec<u32>,
    first: HashMap<LeafId, Vec<u8>>,
}

impl Names {
    pub(super) fn of(tree: &Tree) -> Self {
        Self {
            counts: tree.count_names(),
            first: HashMap::new(),
        }
    }

    /// How many leaves the tree has.
    pub(super) fn leaves(&self) -> usize {
        self.counts.len()
    }
}

/// What the headers of an entry say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a [u8],
    pub(super) kind: EntryType,
    pub(super) meta: &'a MetaRef<'a>,
    /// Bytes of content that come next.
    pub(super) size: u64,
    /// The target of a link.
    pub(super) target: &'a [u8],
    /// A device's number.
    pub(super) device: u64,
}

impl<'a> Head<'a> {
    fn new(name: &'a [u8], kind: EntryType, meta: &'a MetaRef<'a>) -> Self {
        Self {
            name,
            kind,
            meta,
            size: 0,
            target: b"",
            device: 0,
        }
    }
}

/// Where an archive goes. Who packs contents apart is told where they begin and end.
pub(super) trait Out: Write {
    /// The headers of an entry were written, and its content comes.
    fn content(&mut self, _: &Head<'_>) -> io::Result<()> {
        Ok(())
    }

    /// The content of an entry has come, or it had none.
    fn between(&mut self, _: &Head<'_>) -> io::Result<()> {
        Ok(())
    }
}

impl Out for &mut (dyn Write + '_) {}

/// A tar file that is being written.
pub(super) struct Archive<'s, W> {
    store: &'s Store,
    out: W,
    buffer: Vec<u8>,
}

impl<'s, W: Out> Archive<'s, W> {
    pub(super) fn new(store: &'s Store, out: W) -> Self {
        Self {
            store,
            out,
            buffer: vec![0; 1 << 18],
        }
    }

    /// Writes one entry. `path` begins with a slash, as [`elea_formats::tree::Tree::walk`] gives it.
    pub(super) fn entry(
        &mut self,
        path: &[u8],
        tree: &Tree,
        node: Node,
        names: &mut Names,
    ) -> Result<(), Error> {
        match node {
            Node::Directory(id) => self.directory(path, &tree.meta(id)),
            Node::Leaf(id) => self.leaf(path, id, &tree.leaf(id), names),
        }
    }

    /// Writes a directory.
    pub(super) fn directory(&mut self, path: &[u8], meta: &MetaRef<'_>) -> Result<(), Error> {
        let name = path.strip_prefix(b"/").unwrap_or(path);
        let name = if name.is_empty() { b"." } else { name };
        self.empty(&Head::new(
            &[name, b"/"].concat(),
            EntryType::Directory,
            meta,
        ))
    }

    fn leaf(
        &mut self,
        path: &[u8],
        id: LeafId,
        leaf: &LeafRef<'_>,
        names: &mut Names,
    ) -> Result<(), Error> {
        let name = path.strip_prefix(b"/").unwrap_or(path);
        let head = |kind| Head::new(name, kind, &leaf.meta);
        if let Some(target) = names.first.get(&id) {
            return self.empty(&Head {
                target,
                ..head(EntryType::Link)
            });
        }
        if names.counts[id.index()] > 1 {
            names.first.insert(id, name.to_vec());
        }
        match leaf.content {
            Content::Inline(bytes) => {
                let head = Head {
                    size: bytes.len() as u64,
                    ..head(EntryType::Regular)
                };
                self.begin(&head)?;
                self.write(bytes)?;
                self.end(&head)
            }
            Content::Object { digest, size } => {
                let head = Head {
                    size,
                    ..head(EntryType::Regular)
                };
                self.begin(&head)?;
                self.object(&digest, size)?;
                self.end(&head)
            }
            Content::Symlink(target) => self.empty(&Head {
                target,
                ..head(EntryType::Symlink)
            }),
            Content::BlockDevice(device) => self.empty(&Head {
                device,
                ..head(EntryType::Block)
            }),
            Content::CharDevice(device) => self.empty(&Head {
                device,
                ..head(EntryType::Char)
            }),
            Content::Fifo => self.empty(&head(EntryType::Fifo)),
            // Archives have none, and the program that listens makes its own.
            Content::Socket => Ok(()),
        }
    }

    /// Writes an entry that has no content.
    fn empty(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.begin(head)?;
        self.end(head)
    }

    /// Writes an entry's headers.
    fn begin(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.head(head)?;
        Ok(self.out.content(head).at("write", "the archive")?)
    }

    /// Ends an entry's content.
    fn end(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.out.between(head).at("write", "the archive")?;
        self.pad(head.size)
    }

    /// Writes the end mark.
    pub(super) fn finish(mut self) -> Result<W, Error> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().at("write", "the archive")?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.out.write_all(bytes).at("write", "the archive")?)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        let padding = usize::try_from(padding).unwrap_or(0);
        self.write(&[0; BLOCK][..padding])
    }

    fn object(&mut self, digest: &Digest, size: u64) -> Result<(), Error> {
        let path = self.store.object_path(digest);
        let mut file = self.store.open_object(digest)?;
        let mut hasher = elea_formats::verity::Hasher::new(self.store.algorithm());
        let mut left = size;
        while left > 0 {
            let limit =
                usize::try_from(left).map_or(self.buffer.len(), |l| l.min(self.buffer.len()));
            let length = file.read(&mut self.buffer[..limit]).at("read", &path)?;
            if length == 0 {
                break;
            }
            hasher.update(&self.buffer[..length]);
            left -= length as u64;
            self.out
                .write_all(&self.buffer[..length])
                .at("write", "the archive")?;
        }
        // What leaves the store is what was sealed, or nothing leaves it.
        let found = hasher.finish().digest;
        if left > 0 || found != *digest {
            return Err(Error::Damaged { path, found });
        }
        Ok(())
    }

    /// Writes an entry's header, behind an extended one if something does not fit.
    fn head(&mut self, head: &Head<'_>) -> Result<(), Error> {
        let Head {
            name, kind, meta, ..
        } = *head;
        let mut extended = Vec::new();
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(meta.mode);
        let mut field = |key: &str, value: u64, limit: u64| {
            if value <= limit {
                return value;
            }
            record(&mut extended, key.as_bytes(), value.to_string().as_bytes());
            0
        };
        header.set_size(field("size", head.size, ELEVEN));
        header.set_uid(field("uid", meta.uid.into(), SEVEN));
        header.set_gid(field("gid", meta.gid.into(), SEVEN));
        let (major, minor) = (
            rustix::fs::major(head.device),
            rustix::fs::minor(head.device),
        );
        if let Some(ustar) = header.as_ustar_mut() {
            octal(&mut ustar.dev_major, major.into());
            octal(&mut ustar.dev_minor, minor.into());
        }
        let time = meta.mtime;
        match u64::try_from(time.seconds) {
            Ok(seconds) if time.nanoseconds == 0 && seconds <= ELEVEN => header.set_mtime(seconds),
            _ => {
                header.set_mtime(0);
                record(
                    &mut extended,
                    b"mtime",
                    time_text(time.seconds, time.nanoseconds).as_bytes(),
                );
            }
        }
        let old = header.as_old_mut();
        if !fit(&mut old.name, name) {
            record(&mut extended, b"path", name);
        }
        if !fit(&mut old.linkname, head.target) {
            record(&mut extended, b"linkpath", head.target);
        }
        if kind != EntryType::Link {
            for (attribute, value) in meta.xattrs.iter() {
                let attribute = escape(attribute);
                record(
                    &mut extended,
                    &[b"SCHILY.xattr.", attribute.as_slice()].concat(),
                    value,
                );
            }
        }
        header.set_cksum();
        if !extended.is_empty() {
            let mut before = Header::new_ustar();
            before.set_entry_type(EntryType::XHeader);
            fit(&mut before.as_old_mut().name, b"PaxHeaders/entry");
            before.set_mode(0o644);
            before.set_uid(0);
            before.set_gid(0);
            before.set_mtime(0);
            before.set_size(extended.len() as u64);
            before.set_cksum();
            self.write(before.as_bytes())?;
            self.write(&extended)?;
            self.pad(extended.len() as u64)?;
        }
        self.write(header.as_bytes())
    }
}

/// Puts bytes into a field; only the beginning, if it is too small.
fn fit(field: &mut [u8], bytes: &[u8]) -> bool {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
    length == bytes.len()
}

fn octal(field: &mut [u8; 8], value: u64) {
    // Linux's numbers fit: twelve bits and twenty.
    fit(field, format!("{value:07o}\0").as_bytes());
}

/// Seconds with a sign and a fraction.
fn time_text(seconds: i64, nanoseconds: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, rest) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

/// The name of an attribute as GNU tar writes it: a key ends at the first `=`.
pub(super) fn escape(attribute: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(attribute.len());
    for byte in attribute {
        match byte {
            b'%' => key.extend(b"%25"),
            b'=' => key.extend(b"%3D"),
            byte => key.push(*byte),
        }
    }
    key
}

/// A record of an extended header: its length in decimal, counting itself, then `key=value`.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend(length.to_string().into_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_digits() {
        for (value, expected) in [
            (&b""[..], "5 k=\n".to_owned()),
            (b"abc", "8 k=abc\n".to_owned()),
            (b"abcd", "9 k=abcd\n".to_owned()),
            (b"abcde", "11 k=abcde\n".to_owned()),
            (&[b'x'; 93], format!("99 k={}\n", "x".repeat(93))),
            (&[b'x'; 94], format!("101 k={}\n", "x".repeat(94))),
        ] {
            let mut out = Vec::new();
            record(&mut out, b"k", value);
            assert_eq!(String::from_utf8(out.clone()).unwrap(), expected);
            let length: usize = expected.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, out.len());
        }
    }

    #[test]
    fn times_are_decimal() {
        assert_eq!(time_text(5, 0), "5");
        assert_eq!(time_text(5, 120_000_000), "5.12");
        assert_eq!(time_text(-4, 500_000_000), "-3.5");
        assert_eq!(time_text(-1, 999_999_999), "-0.000000001");
        assert_eq!(time_text(i64::MIN, 0), "-9223372036854775808");
    }
}
