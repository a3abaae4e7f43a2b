//! The file that says what a layer does; `docs/formats/layer.md`.

use super::{Step, What};
use elea_formats::digest::Digest;
use elea_formats::tree::{Content, Leaf, Meta, Time};
use std::collections::BTreeMap;
use std::io::Read as _;

/// The first line of the file.
const MAGIC: &[u8] = b"elea.layer/1\n";
/// The largest content of one that is read, in bytes.
const MAX: u64 = 1 << 30;

/// The file of a layer.
pub(super) fn encode(diff_id: &Digest, steps: &[Step]) -> Vec<u8> {
    let mut out = Out(diff_id.as_bytes().to_vec());
    out.u32(steps.len());
    for step in steps {
        out.step(step);
    }
    let mut file = MAGIC.to_vec();
    // Compressing in memory fails for want of memory alone; the file is then of no use, and
    // reading says so.
    file.extend(compress(&out.0).unwrap_or_default());
    file
}

fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3)?;
    encoder.include_checksum(true)?;
    std::io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

/// Reads the file of a layer; none if it is damaged or of another version.
pub(super) fn decode(file: &[u8]) -> Option<(Digest, Vec<Step>)> {
    let packed = file.strip_prefix(MAGIC)?;
    let mut bytes = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).ok()?;
    decoder.take(MAX).read_to_end(&mut bytes).ok()?;
    let mut from = In(&bytes);
    let diff_id = from.digest()?;
    let count = from.u32()?;
    let mut steps = Vec::new();
    for _ in 0..count {
        steps.push(from.step()?);
    }
    from.0.is_empty().then_some((diff_id, steps))
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

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest::new)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn meta(&mut self) -> Option<Meta> {
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
        Some(meta)
    }

    fn step(&mut self) -> Option<Step> {
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
                    _ => return None,
                };
                What::Leaf(Leaf { meta, content })
            }
        };
        Some(Step { path, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let file = encode(&digest, &steps);
        assert_eq!(decode(&file), Some((digest, steps)));
        for cut in 0..file.len() {
            assert_eq!(decode(&file[..cut]), None, "{cut}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            // The frame's own header has bits that mean nothing.
            let read = decode(&damaged);
            assert!(read.is_none() || read == decode(&file), "{place}");
        }
    }
}
