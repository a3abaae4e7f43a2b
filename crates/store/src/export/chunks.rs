//! Layers as zstd:chunked: each content in a frame of its own, and at the end a table that says where it is.
//!
//! `docs/formats/chunked.md`. The headers between two contents are one frame, so that whoever unpacks the
//! layer as a whole gets the archive.

use super::pack::Counted;
use super::tar::{Head, Out, escape};
use elea_formats::chunked::cut::{CUT_FROM, Cutter};
use elea_formats::chunked::split::{self, Crc64};
use elea_formats::chunked::table::{self, Entry};
use elea_formats::chunked::{FRAME_HEADER, MAX_PACKED, Part, Position, skippable};
use elea_formats::digest::Sha256;
use elea_formats::tree::Time;
use sha2::Digest as _;
use std::io::{self, Write};
use tar::EntryType;
use zstd::stream::raw::{Encoder, Operation as _, OutBuffer};

/// How hard zstd tries with contents. Each thread has an encoder, and from 9 on one takes twice the memory.
pub(super) const LEVEL: i32 = 8;
/// How hard it tries with the table and the tar-split, which are packed beside the contents all the time.
const TABLE_LEVEL: i32 = 3;
/// So many bytes of headers become a frame though no content follows.
const MAX_BETWEEN: usize = 1 << 20;
/// At most so many bytes come when zstd is told that something ends: a block or two.
const MAX_UNFINISHED: u64 = 1 << 20;
/// The years that a time in the table can have: 0 to 9999.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

/// Packs an archive as it is written.
pub(super) struct Chunks<W: Write> {
    frames: Frames<W>,
    /// Headers and padding that are in no frame yet.
    between: Vec<u8>,
    /// Where in them the segment begins that the tar-split lacks.
    segment: usize,
    content: Option<Content>,
    table: table::Writer<Packing>,
    split: split::Writer<Packing>,
    /// Whether the table can say everything: JSON is UTF-8, names need not be. It must not be too long, either.
    whole: bool,
}

/// What is packed in memory, and counted unpacked.
type Packing = Counted<zstd::Encoder<'static, Vec<u8>>>;

/// A content that is being written.
struct Content {
    offset: u64,
    hash: sha2::Sha256,
    checksum: Crc64,
    /// None if it is one frame.
    cut: Option<Cut>,
}

/// A content that is cut into chunks, each a frame of its own.
#[derive(Default)]
struct Cut {
    cutter: Cutter,
    chunks: Vec<Chunk>,
}

/// A chunk that was written.
struct Chunk {
    size: u64,
    digest: Sha256,
    offset: u64,
    end: u64,
}

impl Cut {
    fn write(&mut self, bytes: &[u8], frames: &mut Frames<impl Write>) -> io::Result<()> {
        let chunks = &mut self.chunks;
        self.cutter
            .push(bytes, |chunk| Self::chunk(chunks, chunk, frames))
    }

    fn end(self, frames: &mut Frames<impl Write>) -> io::Result<Vec<Chunk>> {
        let mut chunks = self.chunks;
        self.cutter
            .finish(|chunk| Self::chunk(&mut chunks, chunk, frames))?;
        Ok(chunks)
    }

    fn chunk(
        chunks: &mut Vec<Chunk>,
        bytes: &[u8],
        frames: &mut Frames<impl Write>,
    ) -> io::Result<()> {
        let size = bytes.len() as u64;
        let offset = frames.written;
        frames.begin(size)?;
        frames.write(bytes)?;
        frames.end()?;
        chunks.push(Chunk {
            size,
            digest: Sha256::of(bytes),
            offset,
            end: frames.written,
        });
        Ok(())
    }
}

impl<W: Write> Chunks<W> {
    pub(super) fn new(to: W) -> io::Result<Self> {
        Ok(Self {
            frames: Frames::new(to)?,
            between: Vec::new(),
            segment: 0,
            content: None,
            table: table::Writer::new(packing()?)?,
            split: split::Writer::new(packing()?),
            whole: true,
        })
    }

    /// Writes what stands at the end, and says where the table is; none if a name or a time is one that a
    /// table cannot hold, or it would be longer than what is read. The layer is then without one.
    pub(super) fn finish(mut self) -> io::Result<(W, Option<Position>)> {
        self.end_segment()?;
        self.end_between()?;
        if !self.whole {
            return Ok((self.frames.to, None));
        }
        let (split, split_size) = packed(self.split.into_inner())?;
        let table = self.table.finish(&Sha256::of(&split))?;
        let (table, size) = packed(table)?;
        let begin = self.frames.written + FRAME_HEADER;
        let length = table.len() as u64;
        let position = Position {
            table: Part {
                offset: begin,
                packed: length,
                size,
            },
            checksum: Sha256::of(&table),
            split: Some(Part {
                offset: begin + length + FRAME_HEADER,
                packed: split.len() as u64,
                size: split_size,
            }),
        };
        let mut to = self.frames.to;
        for content in [table, split, position.footer()] {
            let frame = skippable(&content)
                .ok_or_else(|| io::Error::other("the table of a layer has more than 4 GiB"))?;
            to.write_all(&frame)?;
        }
        Ok((to, Some(position)))
    }

    /// Adds an entry, and the chunks of its content to the table if there are several.
    fn entries(&mut self, entry: &Entry<'_>, chunks: &[Chunk]) -> io::Result<()> {
        if chunks.len() < 2 {
            return self.table.entry(entry);
        }
        let mut at = 0;
        for chunk in chunks {
            let of_file = if at == 0 {
                entry.clone()
            } else {
                Entry {
                    kind: "chunk",
                    name: entry.name,
                    offset: chunk.offset,
                    // Where the file ends, some read in its first entry and some in its last.
                    end_offset: chunk.end,
                    ..Entry::default()
                }
            };
            self.table.entry(&Entry {
                chunk_size: chunk.size,
                chunk_offset: at,
                chunk_digest: Some(chunk.digest),
                ..of_file
            })?;
            at += chunk.size;
        }
        Ok(())
    }

    fn end_segment(&mut self) -> io::Result<()> {
        if !self.whole {
            return Ok(());
        }
        self.split.segment(&self.between[self.segment..])?;
        self.segment = self.between.len();
        Ok(())
    }

    fn end_between(&mut self) -> io::Result<()> {
        self.frames.begin(self.between.len() as u64)?;
        self.frames.write(&self.between)?;
        self.frames.end()?;
        self.between.clear();
        self.segment = 0;
        Ok(())
    }
}

fn packing() -> io::Result<Packing> {
    Ok(Counted::new(zstd::Encoder::new(Vec::new(), TABLE_LEVEL)?))
}

/// Whether more was packed than a reader takes; the rest is packed when it ends.
fn is_too_long(packing: &Packing) -> bool {
    packing.get_ref().get_ref().len() as u64 > MAX_PACKED - MAX_UNFINISHED
}

/// What was packed, and how long it was.
fn packed(packing: Packing) -> io::Result<(Vec<u8>, u64)> {
    let (_, encoder, size) = packing.finish();
    Ok((encoder.finish()?, size))
}

impl<W: Write> Write for Chunks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.content {
            Some(content) => {
                content.hash.update(bytes);
                content.checksum.update(bytes);
                match &mut content.cut {
                    Some(cut) => cut.write(bytes, &mut self.frames)?,
                    None => self.frames.write(bytes)?,
                }
            }
            None => self.between.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Out for Chunks<W> {
    fn content(&mut self, head: &Head<'_>) -> io::Result<()> {
        self.end_segment()?;
        if head.size == 0 && self.between.len() < MAX_BETWEEN {
            return Ok(());
        }
        self.end_between()?;
        if head.size > 0 {
            let cut = (self.whole && head.size >= CUT_FROM).then(Cut::default);
            if cut.is_none() {
                self.frames.begin(head.size)?;
            }
            self.content = Some(Content {
                offset: self.frames.written,
                hash: sha2::Sha256::new(),
                checksum: Crc64::default(),
                cut,
            });
        }
        Ok(())
    }

    fn between(&mut self, head: &Head<'_>) -> io::Result<()> {
        let mut content = self.content.take();
        let mut chunks = Vec::new();
        if let Some(content) = &mut content {
            match content.cut.take() {
                Some(cut) => chunks = cut.end(&mut self.frames)?,
                None => self.frames.end()?,
            }
        }
        let Some(mut entry) = entry(head) else {
            // The rest is packed as ever.
            self.whole = false;
            return Ok(());
        };
        if !self.whole {
            return Ok(());
        }
        if let Some(content) = &content {
            entry.digest = Some(Sha256::new(content.hash.clone().finalize().into()));
            entry.offset = content.offset;
            entry.end_offset = self.frames.written;
        }
        let checksum = content.map(|content| content.checksum);
        self.split.file(entry.name, head.size, checksum)?;
        self.entries(&entry, &chunks)?;
        // Nobody would read it.
        if is_too_long(self.table.get_ref()) || is_too_long(self.split.get_ref()) {
            self.whole = false;
            self.table = table::Writer::new(packing()?)?;
            self.split = split::Writer::new(packing()?);
        }
        Ok(())
    }
}

/// What the table says of an entry: the same as its headers. None if it cannot.
fn entry<'a>(head: &Head<'a>) -> Option<Entry<'a>> {
    let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
    let meta = head.meta;
    let mut entry = Entry {
        kind: match head.kind {
            EntryType::Directory => "dir",
            EntryType::Link => "hardlink",
            EntryType::Symlink => "symlink",
            EntryType::Block => "block",
            EntryType::Char => "char",
            EntryType::Fifo => "fifo",
            _ => "reg",
        },
        name: text(head.name)?,
        link_name: text(head.target)?,
        mode: meta.mode,
        size: head.size,
        uid: meta.uid,
        gid: meta.gid,
        time: time(&meta.mtime)?,
        dev_major: rustix::fs::major(head.device),
        dev_minor: rustix::fs::minor(head.device),
        ..Entry::default()
    };
    if head.kind != EntryType::Link {
        for (name, value) in meta.xattrs.iter() {
            entry.attribute(String::from_utf8(escape(name)).ok()?, value);
        }
    }
    Some(entry)
}

fn time(time: &Time) -> Option<String> {
    let nanoseconds = i32::try_from(time.nanoseconds).ok()?;
    YEARS
        .contains(&time.seconds)
        .then(|| jiff::Timestamp::new(time.seconds, nanoseconds).ok())?
        .map(|time| time.to_string())
}

/// zstd frames, one after the other, by one encoder.
struct Frames<W> {
    encoder: Encoder<'static>,
    piece: Vec<u8>,
    to: W,
    /// Bytes that were written.
    written: u64,
}

impl<W: Write> Frames<W> {
    fn new(to: W) -> io::Result<Self> {
        Ok(Self {
            encoder: Encoder::new(LEVEL)?,
            piece: vec![0; 128 << 10],
            to,
            written: 0,
        })
    }

    /// Begins a frame of so many bytes, unpacked.
    fn begin(&mut self, size: u64) -> io::Result<()> {
        self.encoder.reinit()?;
        self.encoder.set_pledged_src_size(Some(size))
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let status = self.encoder.run_on_buffers(bytes, &mut self.piece)?;
            self.put(status.bytes_written)?;
            bytes = &bytes[status.bytes_read..];
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        loop {
            let mut out = OutBuffer::around(self.piece.as_mut_slice());
            let left = self.encoder.finish(&mut out, true)?;
            let length = out.pos();
            self.put(length)?;
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn put(&mut self, length: usize) -> io::Result<()> {
        self.written += length as u64;
        self.to.write_all(&self.piece[..length])
    }
}
