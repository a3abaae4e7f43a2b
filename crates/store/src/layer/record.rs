//! The file that says what a layer does; `docs/formats/layer.md`.

use super::{Step, Steps, What};
use elea_formats::digest::Digest;
use elea_formats::tree::{Content, Leaf, Meta, Time};
use elea_formats::verity::Algorithm as _;
use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// The first line of the file.
const MAGIC: &[u8] = b"elea.layer/1\n";
/// The largest content of one that is read, in bytes.
const MAX: u64 = 1 << 30;

/// The largest text in one, in bytes: what an archive's extended header may hold.
const MAX_TEXT: u32 = 16 << 20;

/// Writes the file of a layer.
pub(super) fn write(to: impl Write, diff_id: &Digest, steps: &Steps) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    to.write_all(MAGIC)?;
    let mut encoder = zstd::stream::write::Encoder::new(to, 3)?;
    encoder.include_checksum(true)?;
    encoder.write_all(diff_id.as_bytes())?;
    let count = u32::try_from(steps.len()).map_err(io::Error::other)?;
    encoder.write_all(&count.to_le_bytes())?;
    for step in steps.encoded() {
        encoder.write_all(step)?;
    }
    encoder.finish()?.flush()
}

/// Reads the file of a layer; an error if it is damaged or of another version.
pub(super) fn read(file: impl Read, mut steps: Steps) -> io::Result<(Digest, Steps)> {
    let mut file = BufReader::new(file);
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(wrong("it is of another version"));
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(file)?;
    let mut from = In(BufReader::new(decoder.take(MAX)));
    let diff_id = from.digest()?;
    for _ in 0..from.u32()? {
        steps.push(&from.step()?);
    }
    // The frame's checksum is compared at its end.
    if from.0.read(&mut [0])? != 0 {
        return Err(wrong("something stands behind its entries"));
    }
    Ok((diff_id, steps))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An entry as it stands in the file.
pub(super) fn encode(step: &Step) -> Vec<u8> {
    let mut out = Out(Vec::new());
    out.step(step);
    out.0
}

/// The entry that [`encode`] gave.
pub(super) fn decode(bytes: &[u8]) -> io::Result<Step> {
    In(bytes).step()
}

/// Puts the object into the encoded entry of a file that is one.
pub(super) fn set_object(entry: &mut [u8], digest: &Digest, size: u64) {
    let (_, object) = entry.split_at_mut(entry.len() - Digest::BYTES - 8);
    let (name, length) = object.split_at_mut(Digest::BYTES);
    name.copy_from_slice(digest.as_bytes());
    length.copy_from_slice(&size.to_le_bytes());
}

struct Out(Vec<u8>);

impl Out {
    fn u32(&mut self, value: usize) {
        // Names, values and counts of a tree that fits into memory.
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn meta(&mut self, meta: &Meta) {
        for field in [meta.mode, meta.uid, meta.gid] {
            self.0.extend(field.to_le_bytes());
        }
        self.0.extend(meta.mtime.seconds.to_le_bytes());
        self.0.extend(meta.mtime.nanoseconds.to_le_bytes());
        self.u32(meta.xattrs.len());
        for (name, value) in &meta.xattrs {
            self.bytes(name);
            self.bytes(value);
        }
    }

    fn step(&mut self, step: &Step) {
        let leaf = match &step.what {
            What::Directory(meta) => {
                self.0.push(b'd');
                self.bytes(&step.path);
                return self.meta(meta);
            }
            What::Link(target) => {
                self.0.push(b'h');
                self.bytes(&step.path);
                return self.bytes(target);
            }
            What::Whiteout => {
                self.0.push(b'w');
                return self.bytes(&step.path);
            }
            What::Opaque => {
                self.0.push(b'q');
                return self.bytes(&step.path);
            }
            What::Leaf(leaf) => leaf,
        };
        let kind = match &leaf.content {
            Content::Inline(_) => b'i',
            Content::Object { .. } => b'o',
            Content::Symlink(_) => b'l',
            Content::BlockDevice(_) => b'b',
            Content::CharDevice(_) => b'c',
            Content::Fifo => b'p',
            Content::Socket => b's',
        };
        self.0.push(kind);
        self.bytes(&step.path);
        self.meta(&leaf.meta);
        match &leaf.content {
            Content::Inline(bytes) | Content::Symlink(bytes) => self.bytes(bytes),
            Content::Object { digest, size } => {
                self.0.extend_from_slice(digest.as_bytes());
                self.0.extend(size.to_le_bytes());
            }
            Content::BlockDevice(number) | Content::CharDevice(number) => {
                self.0.extend(number.to_le_bytes());
            }
            Content::Fifo | Content::Socket => {}
        }
    }
}

struct In<R>(R);

impl<R: Read> In<R> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.0.read_exact(&mut array)?;
        Ok(array)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> io::Result<Digest> {
        self.array().map(Digest::new)
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.u32()?;
        if length > MAX_TEXT {
            return Err(wrong("a text in it is too long"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.0).take(length.into()).read_to_end(&mut bytes)?;
        if read != length as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn meta(&mut self) -> io::Result<Meta> {
        let mut meta = Meta {
            mode: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            mtime: Time {
                seconds: self.array().map(i64::from_le_bytes)?,
                nanoseconds: self.u32()?,
            },
            xattrs: BTreeMap::new(),
        };
        for _ in 0..self.u32()? {
            meta.xattrs.insert(self.bytes()?, self.bytes()?);
        }
        Ok(meta)
    }

    fn step(&mut self) -> io::Result<Step> {
        let [kind] = self.array()?;
        let path = self.bytes()?;
        let what = match kind {
            b'd' => What::Directory(self.meta()?),
            b'h' => What::Link(self.bytes()?),
            b'w' => What::Whiteout,
            b'q' => What::Opaque,
            _ => {
                let meta = self.meta()?;
                let content = match kind {
                    b'i' => Content::Inline(self.bytes()?),
                    b'o' => Content::Object {
                        digest: self.digest()?,
                        size: self.u64()?,
                    },
                    b'l' => Content::Symlink(self.bytes()?),
                    b'b' => Content::BlockDevice(self.u64()?),
                    b'c' => Content::CharDevice(self.u64()?),
                    b'p' => Content::Fifo,
                    b's' => Content::Socket,
                    _ => return Err(wrong("an entry is of no known kind")),
                };
                What::Leaf(Leaf { meta, content })
            }
        };
        Ok(Step { path, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use elea_formats::table::memory;

    fn round(file: &[u8]) -> Option<(Digest, Vec<Step>)> {
        let (diff_id, steps) = read(file, Steps::new(&memory())).ok()?;
        Some((diff_id, steps.iter().collect()))
    }

    #[test]
    fn every_kind_of_entry_round_trips_and_damage_is_seen() {
        let meta = Meta {
            mode: 0o4755,
            uid: 1 << 31,
            gid: 7,
            mtime: Time {
                seconds: -5,
                nanoseconds: 999_999_999,
            },
            xattrs: BTreeMap::from([(b"user.a".to_vec(), b"\0\n".to_vec())]),
        };
        let digest = Digest::sha256(b"x");
        let contents = [
            Content::Inline(b"hello".to_vec()),
            Content::Object {
                digest,
                size: 1 << 40,
            },
            Content::Symlink(b"../x".to_vec()),
            Content::BlockDevice(0x0801),
            Content::CharDevice(0),
            Content::Fifo,
            Content::Socket,
        ];
        let mut steps: Vec<Step> = [
            What::Directory(meta.clone()),
            What::Link(b"a/b".to_vec()),
            What::Whiteout,
            What::Opaque,
        ]
        .into_iter()
        .chain(contents.map(|content| {
            What::Leaf(Leaf {
                meta: meta.clone(),
                content,
            })
        }))
        .map(|what| Step {
            path: b"p\xff".to_vec(),
            what,
        })
        .collect();
        steps[0].path.clear();
        let mut kept = Steps::new(&memory());
        for step in &steps {
            kept.push(step);
        }
        let mut file = Vec::new();
        write(&mut file, &digest, &kept).unwrap();
        let whole = Some((digest, steps));
        assert_eq!(round(&file), whole);
        for cut in 0..file.len() {
            assert_eq!(round(&file[..cut]), None, "{cut}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            // The frame's own header has bits that mean nothing.
            let read = round(&damaged);
            assert!(read.is_none() || read == whole, "{place}");
        }
    }
}
