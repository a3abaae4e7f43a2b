//! Bytes as they come, hashed on the way, and what they hold once unpacked.

use crate::Error;
use elea_formats::digest::Sha256;
use elea_sys::progress::Progress;
use sha2::Digest as _;
use std::io::{self, BufRead, BufReader, Read};

/// Memory that a packed archive may ask for, in bytes: zstd's and xz's windows.
pub(crate) const MAX_WINDOW_BITS: u32 = 27;
const MAX_XZ_MEMORY: u64 = 256 << 20;

/// Passes bytes on and takes their SHA-256.
#[derive(Debug)]
pub(crate) struct Hashing<R> {
    from: R,
    hash: sha2::Sha256,
}

impl<R> Hashing<R> {
    pub(crate) fn new(from: R) -> Self {
        Self {
            from,
            hash: sha2::Sha256::new(),
        }
    }

    /// The digest of everything that was read, and what it was read from.
    pub(crate) fn finish(self) -> (Sha256, R) {
        (Sha256::new(self.hash.finalize().into()), self.from)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.hash.update(&into[..length]);
        Ok(length)
    }
}

/// Counts what is read for the person who waits, and ends when they have enough.
pub(crate) struct Watched<'p, R> {
    pub(crate) from: R,
    pub(crate) progress: &'p dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.progress.cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let length = self.from.read(into)?;
        self.progress.advance(length as u64);
        Ok(length)
    }
}

/// The bytes inside a packed archive.
pub(super) enum Unpacked<R: BufRead> {
    Plain(R),
    // The decoder is large, and the kinds are moved about.
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    Xz(liblzma::bufread::XzDecoder<R>),
}

impl<R: Read> Unpacked<BufReader<R>> {
    /// Tells the packing by the first bytes.
    pub(super) fn new(from: R) -> Result<Self, Error> {
        let mut from = BufReader::with_capacity(1 << 17, from);
        let unread = |e: io::Error| super::tar::unread(&e);
        let head = from.fill_buf().map_err(unread)?;
        Ok(match head {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(from))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(from).map_err(unread)?;
                decoder.window_log_max(MAX_WINDOW_BITS).map_err(unread)?;
                Self::Zstd(decoder)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                let stream = liblzma::stream::Stream::new_stream_decoder(
                    MAX_XZ_MEMORY,
                    liblzma::stream::CONCATENATED,
                )
                .map_err(|e| unread(e.into()))?;
                Self::Xz(liblzma::bufread::XzDecoder::new_stream(from, stream))
            }
            [b'B', b'Z', b'h', ..] => {
                return Err(super::tar::broken(
                    "it is packed by bzip2, which is not read; unpack it first",
                ));
            }
            _ => Self::Plain(from),
        })
    }

    /// The packed bytes.
    pub(super) fn into_inner(self) -> R {
        match self {
            Self::Plain(from) => from,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
            Self::Xz(decoder) => decoder.into_inner(),
        }
        .into_inner()
    }
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(into),
            Self::Gzip(decoder) => decoder.read(into),
            Self::Zstd(decoder) => decoder.read(into),
            Self::Xz(decoder) => decoder.read(into),
        }
    }
}
