//! Large contents cut into chunks where their own bytes say so, so that a change moves few of the cuts.
//!
//! Source: W. Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage
//! Systems", 2020 (`FastCDC`). Where a table was made by the same cuts, chunks of an older file are found again.

use fastcdc::v2020::FastCDC;

/// The least bytes of a chunk, but for the last one.
const LEAST: usize = 16 << 10;
/// About as many bytes it has.
const USUAL: usize = 64 << 10;
/// The most bytes of a chunk.
pub const MOST: usize = 256 << 10;
/// Contents of so many bytes are cut; smaller ones cost little as a whole.
pub const CUT_FROM: u64 = 1 << 20;

/// Cuts a content that comes in pieces.
#[derive(Debug, Default)]
pub struct Cutter {
    pending: Vec<u8>,
}

impl Cutter {
    /// Takes bytes in, and gives `chunk` what is cut off.
    pub fn push<E>(
        &mut self,
        bytes: &[u8],
        mut chunk: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for piece in bytes.chunks(MOST) {
            self.pending.extend_from_slice(piece);
            // What comes later cannot move a cut that has so much behind it.
            self.cut(MOST, &mut chunk)?;
        }
        Ok(())
    }

    /// Gives what is left at the end.
    pub fn finish<E>(mut self, mut chunk: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        self.cut(1, &mut chunk)
    }

    /// Cuts as long as so many bytes are there.
    fn cut<E>(
        &mut self,
        enough: usize,
        chunk: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut start = 0;
        while self.pending.len() - start >= enough {
            let rest = &self.pending[start..];
            let (_, length) = FastCDC::new(rest, LEAST, USUAL, MOST).cut(0, rest.len());
            chunk(&rest[..length])?;
            start += length;
        }
        self.pending.drain(..start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..length).map(|_| next()).collect()
    }

    fn cut(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let mut take = |chunk: &[u8]| {
            chunks.push(chunk.to_vec());
            Ok::<(), Infallible>(())
        };
        let mut cutter = Cutter::default();
        for piece in bytes.chunks(piece) {
            cutter.push(piece, &mut take).unwrap();
        }
        cutter.finish(&mut take).unwrap();
        chunks
    }

    #[test]
    fn the_bytes_alone_say_where_the_cuts_are() {
        let bytes = noise(3 << 20);
        let chunks = cut(&bytes, 1 << 22);
        assert_eq!(chunks.concat(), bytes);
        assert!(chunks.len() > 20, "{}", chunks.len());
        let (last, others) = chunks.split_last().unwrap();
        assert!(others.iter().all(|c| (LEAST..=MOST).contains(&c.len())));
        assert!(!last.is_empty() && last.len() <= MOST);
        for piece in [1000, 65_536, 300_000] {
            assert_eq!(cut(&bytes, piece), chunks, "{piece}");
        }
        assert!(cut(&[], 9).is_empty());
        assert_eq!(cut(&vec![0; 1_000_000], 5000).concat().len(), 1_000_000);
    }

    #[test]
    fn a_change_moves_few_cuts() {
        let bytes = noise(3 << 20);
        let mut changed = bytes.clone();
        changed.splice(1_000_000..1_000_000, *b"something more");
        let (before, after) = (cut(&bytes, 1 << 20), cut(&changed, 1 << 20));
        let new = after.iter().filter(|chunk| !before.contains(chunk));
        assert!(new.count() <= 3);
    }

    #[test]
    fn cuts_are_those_of_other_versions_of_this_program() {
        let lengths: Vec<usize> = cut(&noise(400_000), 1 << 20).iter().map(Vec::len).collect();
        assert_eq!(lengths, [79_735, 121_239, 80_500, 102_689, 15_837]);
    }
}
