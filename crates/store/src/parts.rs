//! Layers put together of their parts: what stands between contents comes whole, contents only as far as
//! the store lacks them (zstd:chunked, `docs/formats/chunked.md`).
//!
//! The archive is made again bit for bit and read as if it had come whole, so its SHA-256, which the
//! image's config names, says that it is the same.

mod contents;
mod here;

use crate::import::archive::{self, Whiteouts};
use crate::import::packed::{Hashing, MAX_WINDOW_BITS, Watched};
use crate::import::tar::Archive;
use crate::import::uncancelled;
use crate::layer::Layer;
use crate::{Error, Store};
pub use contents::{Contents, Held};
use elea_formats::chunked::split::{self, Piece};
use elea_formats::chunked::table::{File, Table};
use elea_formats::chunked::{FRAME_HEADER, Position};
use elea_formats::digest::Sha256;
use elea_sys::progress::{Progress, Unit};
use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::sync::Arc;

/// A layer without its contents, as its table says.
#[derive(Debug)]
pub struct Outline {
    files: Vec<File>,
    split: Vec<u8>,
    /// The unpacked size of the tar-split in bytes.
    split_size: u64,
}

impl Outline {
    /// Reads a table and a tar-split as they are in the layer. The table must have the checksum that the
    /// layer's descriptor names, and the tar-split the one that the table names.
    pub fn read(position: &Position, table: &[u8], split: Vec<u8>) -> Result<Self, Error> {
        let wrong = |what: &str| broken(format!("its {what} has another checksum"));
        if Sha256::of(table) != position.checksum {
            return Err(wrong("table"));
        }
        let Some(place) = position.split else {
            return Err(broken("it has no tar-split"));
        };
        let unpacked = unpack(table, position.table.size)?;
        let end = position.table.offset - FRAME_HEADER;
        let table = Table::parse(unpacked, end).map_err(|e| broken(e.to_string()))?;
        if table.split != Some(Sha256::of(&split)) {
            return Err(wrong("tar-split"));
        }
        Ok(Self {
            files: table.files,
            split,
            split_size: place.size,
        })
    }

    /// The files that have content, in the order of their places in the layer.
    pub fn files(&self) -> &[File] {
        &self.files
    }
}

fn broken(reason: impl Into<String>) -> Error {
    Error::Parts {
        reason: reason.into(),
    }
}

/// The bytes of zstd frames, at most `size`; they do not ask for more memory than a layer may.
fn unpack(packed: impl Read, size: u64) -> Result<impl io::BufRead, Error> {
    let decoder = zstd::Decoder::new(packed).and_then(|mut decoder| {
        decoder.window_log_max(MAX_WINDOW_BITS)?;
        Ok(decoder)
    });
    let decoder = decoder.map_err(|e| broken(e.to_string()))?;
    Ok(BufReader::with_capacity(128 << 10, decoder.take(size)))
}

impl Store {
    /// Imports a layer of which all contents are here. The archive must have the SHA-256 `diff_id`: the
    /// layer's own digest is that of bytes that never came, and says nothing.
    pub fn import_parts(
        &self,
        blob: &Sha256,
        diff_id: &Sha256,
        outline: &Outline,
        contents: &Contents,
        progress: &dyn Progress,
    ) -> Result<Layer, Error> {
        let writer = self.writer()?;
        progress.start(&format!("import layer {}", blob.short()), None, Unit::Bytes);
        let from = Rebuilt {
            pieces: split::Reader::new(unpack(outline.split.as_slice(), outline.split_size)?),
            files: outline
                .files
                .iter()
                .map(|f| (f.name.as_bytes(), f))
                .collect(),
            contents,
            piece: Box::new(io::empty()),
            left: 0,
        };
        let watched = Watched { from, progress };
        let mut archive = Archive::new(Hashing::new(BufReader::with_capacity(1 << 17, watched)));
        let read = archive::read(&writer, &mut archive, Whiteouts::Applied).and_then(|steps| {
            let mut unpacked = archive.into_inner();
            archive::drain(&mut unpacked)?;
            Ok((steps, unpacked.finish().0))
        });
        let (steps, found) = uncancelled(read, progress).map_err(|error| match error {
            Error::Archive { .. } | Error::Entry { .. } => broken(error.to_string()),
            error => error,
        })?;
        if found != *diff_id {
            return Err(broken(format!(
                "together they have the SHA-256 {found}, not {diff_id}"
            )));
        }
        let layer = Layer {
            blob: *blob,
            diff_id: *diff_id,
            steps: Arc::new(steps),
        };
        self.save_layer(&writer, &layer)?;
        progress.finish();
        Ok(layer)
    }
}

/// The archive, as it is put together.
struct Rebuilt<'a, R> {
    pieces: split::Reader<R>,
    files: HashMap<&'a [u8], &'a File>,
    contents: &'a Contents,
    /// The piece that is being read, and how many bytes it still has to give.
    piece: Box<dyn Read>,
    left: u64,
}

impl<R: io::BufRead> Rebuilt<'_, R> {
    /// Goes on to the next piece; whether there is one.
    fn advance(&mut self) -> io::Result<bool> {
        match self.pieces.piece()? {
            None => return Ok(false),
            Some(Piece::Segment(bytes)) => {
                self.left = bytes.len() as u64;
                self.piece = Box::new(io::Cursor::new(bytes));
            }
            Some(Piece::File { size: 0, .. }) => {}
            Some(Piece::File { name, size }) => {
                let shown = || name[..name.len().min(200)].escape_ascii().to_string();
                let file = self.files.get(name.as_slice());
                let file = file.filter(|file| file.size == size).ok_or_else(|| {
                    io::Error::other(format!("its table has no `{}` of {size} bytes", shown()))
                })?;
                self.piece = self
                    .contents
                    .open(&file.digest, size)
                    .ok_or_else(|| io::Error::other(format!("`{}` is not there", shown())))?;
                self.left = size;
            }
        }
        Ok(true)
    }
}

impl<R: io::BufRead> Read for Rebuilt<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let limit = usize::try_from(self.left).map_or(into.len(), |left| left.min(into.len()));
        let length = self.piece.read(&mut into[..limit])?;
        if length == 0 && limit > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        Ok(length)
    }
}
