//! tar-split: an archive without its contents, so that with them it can be put together again, bit for bit.
//!
//! One JSON object a line, in the order of the archive: a *segment*, raw bytes (padding of the content
//! before, headers of the next entry), or a *file*, whose content stands there.
//!
//! Source: vbatts/tar-split, `tar/storage/entry.go`, `tar/asm/disassemble.go`; `tar/asm/iterate.go` wants
//! one segment for each header, with the padding before it.

use super::ChunkedError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read as _, Write};

/// The type of a file.
const FILE: u8 = 1;
/// The type of a segment.
const SEGMENT: u8 = 2;
/// The longest line that is read, in bytes: an extended header may have 8 MiB.
const MAX_LINE: u64 = 16 << 20;
/// The most lines that are read.
const MAX_LINES: usize = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// A name that is not UTF-8, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name_raw: Option<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    size: u64,
    /// In base64: a segment's bytes, or the CRC-64 of a content, big-endian.
    payload: Option<String>,
    position: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde gives the field by reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Writes what stands between contents.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    position: usize,
}

impl<W: Write> Writer<W> {
    /// Begins.
    pub fn new(to: W) -> Self {
        Self { to, position: 0 }
    }

    /// Adds raw bytes.
    pub fn segment(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line(SEGMENT, None, 0, Some(BASE64.encode(bytes)))
    }

    /// Adds an entry whose headers were in the segment before; every entry has one. `checksum` is that of
    /// its content, none if it has no content.
    pub fn file(&mut self, name: &str, size: u64, checksum: Option<Crc64>) -> io::Result<()> {
        let payload = checksum.map(|sum| BASE64.encode(sum.finish().to_be_bytes()));
        self.line(FILE, Some(name.to_owned()), size, payload)
    }

    fn line(
        &mut self,
        kind: u8,
        name: Option<String>,
        size: u64,
        payload: Option<String>,
    ) -> io::Result<()> {
        let line = Line {
            kind,
            name,
            name_raw: None,
            size,
            payload,
            position: self.position,
        };
        self.position += 1;
        serde_json::to_writer(&mut self.to, &line)?;
        self.to.write_all(b"\n")
    }

    /// Where it was written to.
    pub fn get_ref(&self) -> &W {
        &self.to
    }

    /// The same, when all is written.
    pub fn into_inner(self) -> W {
        self.to
    }
}

/// A piece of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Raw bytes.
    Segment(Vec<u8>),
    /// The content of an entry.
    File {
        /// The entry's name.
        name: Vec<u8>,
        /// Bytes of content; 0 if there is none.
        size: u64,
    },
}

/// Reads what stands between contents, line by line.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    lines: usize,
}

impl<R: BufRead> Reader<R> {
    /// Begins to read.
    pub fn new(from: R) -> Self {
        Self { from, lines: 0 }
    }

    /// The next piece; none at the end. An error of the reader below is an [`io::Error`]; what is malformed
    /// is one of the kind [`io::ErrorKind::InvalidData`].
    pub fn piece(&mut self) -> io::Result<Option<Piece>> {
        let broken = |error: ChunkedError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut line = Vec::new();
        (&mut self.from)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(None);
        }
        self.lines += 1;
        if line.pop() != Some(b'\n') || self.lines > MAX_LINES {
            return Err(broken(ChunkedError::Split("is cut short or too long")));
        }
        parse(&line).map(Some).map_err(broken)
    }
}

fn parse(line: &[u8]) -> Result<Piece, ChunkedError> {
    let line: Line = serde_json::from_slice(line)?;
    let decode = |text: &str| {
        BASE64
            .decode(text)
            .map_err(|_| ChunkedError::Split("has bytes that are not base64"))
    };
    match line.kind {
        SEGMENT => Ok(Piece::Segment(decode(&line.payload.unwrap_or_default())?)),
        FILE => Ok(Piece::File {
            name: match line.name_raw {
                Some(raw) => decode(&raw)?,
                None => line.name.unwrap_or_default().into_bytes(),
            },
            size: line.size,
        }),
        _ => Err(ChunkedError::Split(
            "has a line of a kind that is not known",
        )),
    }
}

/// CRC-64 as Go's `hash/crc64` computes it with the ISO 3309 polynomial.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crc64(u64);

/// What each byte does.
const TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            let odd = value & 1 == 1;
            value >>= 1;
            if odd {
                value ^= 0xd800_0000_0000_0000;
            }
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
};

impl Crc64 {
    /// Takes bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0 = !bytes.iter().fold(!self.0, |sum, byte| {
            let [low, ..] = sum.to_le_bytes();
            TABLE[usize::from(low ^ byte)] ^ (sum >> 8)
        });
    }

    /// The checksum of what was taken in.
    pub fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_gos() {
        // CRC-64/GO-ISO of the catalogue of parametrised CRC algorithms.
        let mut sum = Crc64::default();
        sum.update(b"1234");
        sum.update(b"56789");
        assert_eq!(sum.finish(), 0xb909_56c7_75a4_1001);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut sum = Crc64::default();
        sum.update(b"hello");
        let mut writer = Writer::new(Vec::new());
        writer.segment(b"head\0").unwrap();
        writer.file("a", 5, Some(sum)).unwrap();
        writer.segment(b"").unwrap();
        writer.file("d/", 0, None).unwrap();
        let text = writer.into_inner();
        let shown = String::from_utf8(text.clone()).unwrap();
        let last = r#"{"type":1,"name":"d/","payload":null,"position":3}"#;
        assert_eq!(shown.lines().last(), Some(last));
        let mut reader = Reader::new(text.as_slice());
        let file = |name: &[u8], size| Piece::File {
            name: name.to_vec(),
            size,
        };
        for expected in [
            Piece::Segment(b"head\0".to_vec()),
            file(b"a", 5),
            Piece::Segment(Vec::new()),
            file(b"d/", 0),
        ] {
            assert_eq!(reader.piece().unwrap(), Some(expected));
        }
        assert_eq!(reader.piece().unwrap(), None);
        let raw = br#"{"type":1,"name_raw":"/w==","size":3,"payload":"","position":0}"#;
        assert_eq!(parse(raw).unwrap(), file(b"\xff", 3));
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        for (text, why) in [
            ("{\"type\":2,\"payload\":\"\",\"position\":0}", "cut short"),
            ("{}\n", "missing field"),
            ("{\"type\":3,\"payload\":\"\",\"position\":0}\n", "a kind"),
            ("{\"type\":2,\"payload\":\"?\",\"position\":0}\n", "base64"),
            ("\n", "not valid"),
        ] {
            let error = Reader::new(text.as_bytes()).piece().unwrap_err();
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
        let long = io::BufReader::new(io::repeat(b' '));
        let error = Reader::new(long).piece().unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}
