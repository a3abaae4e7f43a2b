//! The file that says what a layer does; `docs/formats/layer.md`.

use super::{Step, Steps, What};
use elea_formats::digest::{Algorithm, Digest, Sha256};
use elea_formats::tree::{Content, Leaf, Meta, Time};
use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};

/// The first line of the file; the second one is what stores with SHA-512 have.
const fn magic(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::Sha256 => b"elea.layer/1\n",
        Algorithm::Sha512 => b"elea.layer/1 sha512\n",
    }
}
/// The largest content of one that is read, in bytes.
const MAX: u64 = 1 << 30;

/// The largest text in one, in bytes: what an archive's extended header may hold.
const MAX_TEXT: u32 = 16 << 20;

/// Writes the file of a layer.
pub(super) fn write(to: impl Write, diff_id: &Sha256, steps: &Steps) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    to.write_all(magic(steps.algorithm()))?;
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

/// Reads the file of a layer; an error if it is damaged, of another version, or of another algorithm than the
/// steps that are filled.
pub(super) fn read(file: impl Read, mut steps: Steps) -> io::Result<(Sha256, Steps)> {
    let mut file = BufReader::new(file);
    let wanted = magic(steps.algorithm());
    let mut found = vec![0; wanted.len()];
    file.read_exact(&mut found)?;
    if found != wanted {
        return Err(wrong("it is of another version"));
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(file)?;
    let mut from = In {
        from: BufReader::new(decoder.take(MAX)),
        algorithm: steps.algorithm(),
    };
    let diff_id = from.array().map(Sha256::new)?;
    for _ in 0..from.u32()? {
        steps.push(&from.step()?);
    }
    // The frame's checksum is compared at its end.
    if from.from.read(&mut [0])? != 0 {
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
pub(super) fn decode(bytes: &[u8], algorithm: Algorithm) -> io::Result<Step> {
    let from = bytes;
    In { from, algorithm }.step()
}

/// Puts the object into the encoded entry of a file that is one.
pub(super) fn set_object(entry: &mut [u8], digest: &Digest, size: u64) {
    let digest = digest.as_bytes();
    let (_, object) = entry.split_at_mut(entry.len() - digest.len() - 8);
    let (name, length) = object.split_at_mut(digest.len());
    name.copy_from_slice(digest);
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

struct In<R> {
    from: R,
    algorithm: Algorithm,
}

impl<R: Read> In<R> {
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut array = [0; N];
        self.from.read_exact(&mut array)?;
        Ok(array)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> io::Result<Digest> {
        let mut bytes = [0; 64];
        let bytes = &mut bytes[..self.algorithm.bytes()];
        self.from.read_exact(bytes)?;
        let digest = self.algorithm.digest(bytes);
        digest.ok_or_else(|| wrong("a digest in it is of another length"))
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.u32()?;
        if length > MAX_TEXT {
            return Err(wrong("a text in it is too long"));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.from)
            .take(length.into())
            .read_to_end(&mut bytes)?;
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

    fn round(file: &[u8], algorithm: Algorithm) -> Option<(Sha256, Vec<Step>)> {
        let (diff_id, steps) = read(file, Steps::new(&memory(), algorithm)).ok()?;
        Some((diff_id, steps.iter().collect()))
    }

    #[test]
    fn every_kind_of_entry_round_trips_and_damage_is_seen() {
        for (algorithm, other) in [
            (Algorithm::Sha256, Algorithm::Sha512),
            (Algorithm::Sha512, Algorithm::Sha256),
        ] {
            round_trips(algorithm, other);
        }
    }

    fn round_trips(algorithm: Algorithm, other: Algorithm) {
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
        let diff_id = Sha256::of(b"x");
        let contents = [
            Content::Inline(b"hello".to_vec()),
            Content::Object {
                digest: elea_formats::verity::measure(algorithm, b"x"),
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
        let mut kept = Steps::new(&memory(), algorithm);
        for step in &steps {
            kept.push(step);
        }
        let mut file = Vec::new();
        write(&mut file, &diff_id, &kept).unwrap();
        let whole = Some((diff_id, steps));
        assert_eq!(round(&file, algorithm), whole);
        assert_eq!(round(&file, other), None);
        for cut in 0..file.len() {
            assert_eq!(round(&file[..cut], algorithm), None, "{cut}");
        }
        for place in 0..file.len() {
            let mut damaged = file.clone();
            damaged[place] ^= 1;
            // The frame's own header has bits that mean nothing.
            let read = round(&damaged, algorithm);
            assert!(read.is_none() || read == whole, "{place}");
        }
    }
}
