//! Layers in parts: the table, then the contents that the store lacks, by range.
//!
//! A layer that cannot come so comes whole; nothing is lost by trying. What was fetched of it is in the
//! store, so that another try goes on from there.

use crate::NetError;
use crate::fetch;
use crate::layers::{Listener, Quiet, Wanted};
use crate::registry::Registry;
use elea_formats::chunked::table::File;
use elea_formats::chunked::{Part, Position};
use elea_formats::oci::Descriptor;
use elea_store::layer::Layer;
use elea_store::parts::{Contents, Held, Outline};
use elea_store::{Error as StoreError, Store};
use elea_sys::At as _;
use elea_sys::progress::Progress as _;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A layer of fewer bytes than this comes whole, by one request.
const SMALL: u64 = 64 << 10;
/// Two ranges with fewer bytes than this between them are one: a request costs as much.
const GAP: u64 = 4 << 10;
/// At most so many ranges of a layer are asked for; the nearest ones become one.
const MAX_RANGES: usize = 128;

/// A layer that comes in parts.
pub(crate) struct Parts<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) store: &'a Store,
    pub(crate) contents: &'a Contents,
    pub(crate) folder: &'a Path,
    pub(crate) listener: &'a Listener<'a>,
    /// Bytes that came over the network.
    pub(crate) received: u64,
}

/// Why a layer comes whole.
enum Stop {
    /// There is nothing to gain.
    Whole,
    /// It would have been good to have it in parts.
    Because(String),
    Error(NetError),
}

impl<E: Into<NetError>> From<E> for Stop {
    fn from(error: E) -> Self {
        match error.into() {
            // What is wrong may be the table: only the layer as a whole can tell.
            NetError::Store(
                error @ (StoreError::Parts { .. }
                | StoreError::NoObject { .. }
                | StoreError::Damaged { .. }),
            ) => Self::Because(error.to_string()),
            // A registry that will not give parts may give the whole.
            error @ (NetError::Status { .. } | NetError::TooLarge { .. })
                if !error.is_transient() =>
            {
                Self::Because(error.to_string())
            }
            error => Self::Error(error),
        }
    }
}

/// Whether a layer says that it has a table.
pub(crate) fn has_table(layer: &Descriptor) -> bool {
    !matches!(Position::of(layer), Ok(None))
}

impl Parts<'_> {
    /// Fetches of a layer what the store lacks; none if it must come whole.
    pub(crate) fn bring(&mut self, wanted: &Wanted) -> Result<Option<Layer>, NetError> {
        match self.try_bring(wanted) {
            Ok(layer) => {
                let rest = wanted.layer.size.saturating_sub(self.received);
                self.listener.advance(rest);
                Ok(Some(layer))
            }
            Err(Stop::Whole) => Ok(None),
            Err(Stop::Because(reason)) => {
                let layer = wanted.layer.digest.short();
                self.listener
                    .note(&format!("layer {layer} comes whole: {reason}"));
                Ok(None)
            }
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn try_bring(&mut self, wanted: &Wanted) -> Result<Layer, Stop> {
        let layer = &wanted.layer;
        if layer.size < SMALL || self.contents.is_empty() {
            return Err(Stop::Whole);
        }
        let position = match Position::of(layer) {
            Ok(Some(position)) => position,
            Ok(_) => return Err(Stop::Whole),
            Err(error) => return Err(Stop::Because(error.to_string())),
        };
        // Without it the archive cannot be made again, and nothing would say that it is the right one.
        let Some(split) = position.split else {
            return Err(Stop::Whole);
        };
        let table = self.small(layer, &position.table)?;
        let split = self.small(layer, &split)?;
        let outline = Outline::read(&position, &table, split)?;
        let quiet = Quiet(self.listener);
        let missing = self.contents.missing(outline.files(), &quiet)?;
        // Of large files at least some chunks may be here.
        let (mut whole, mut cut) = (Vec::new(), Vec::new());
        for file in missing {
            let held = self.contents.chunks(file, &quiet)?;
            if held.iter().any(Option::is_some) {
                cut.push((file, held));
            } else {
                whole.push(file);
            }
        }
        let size = |range: &Range<u64>| range.end - range.start;
        let of_cut = cut.iter().flat_map(|(file, held)| absent(file, held));
        let needed = whole.iter().map(|file| &file.range).chain(of_cut);
        if needed.map(size).sum::<u64>() > layer.size / 8 * 7 {
            return Err(Stop::Whole);
        }
        for range in plan(whole.iter().map(|file| &file.range)) {
            self.fetch(layer, range, &whole)?;
        }
        for (file, held) in cut {
            self.fetch_chunks(layer, file, &held)?;
        }
        let (blob, diff_id) = (&layer.digest, &wanted.diff_id);
        Ok(self
            .store
            .import_parts(blob, diff_id, &outline, self.contents, &quiet)?)
    }

    /// Fetches the table or the tar-split.
    fn small(&mut self, layer: &Descriptor, part: &Part) -> Result<Vec<u8>, Stop> {
        let mut bytes = Vec::new();
        self.part(layer, part.range(), &mut bytes)?;
        Ok(bytes)
    }

    fn part(
        &mut self,
        layer: &Descriptor,
        range: Range<u64>,
        to: &mut impl std::io::Write,
    ) -> Result<(), Stop> {
        let (received, all) = fetch::part(self.registry, layer, range, to, self.listener)?;
        self.received += received;
        if all {
            return Ok(());
        }
        Err(Stop::Because("the registry gives no parts of blobs".into()))
    }

    /// Fetches a range, and gives the files in it to the store.
    fn fetch(
        &mut self,
        layer: &Descriptor,
        range: Range<u64>,
        files: &[&File],
    ) -> Result<(), Stop> {
        let mut piece = tempfile::tempfile_in(self.folder).at("create a file in", self.folder)?;
        self.part(layer, range.clone(), &mut piece)?;
        let begin = files.partition_point(|file| file.range.start < range.start);
        for file in &files[begin..] {
            if file.range.end > range.end {
                break;
            }
            let place = SeekFrom::Start(file.range.start - range.start);
            piece.seek(place).at("read", self.folder)?;
            let packed = (&piece).take(file.range.end - file.range.start);
            self.contents.add(file, packed)?;
        }
        Ok(())
    }

    /// Fetches the chunks of a file that are not held, and gives the whole to the store.
    fn fetch_chunks(
        &mut self,
        layer: &Descriptor,
        file: &File,
        held: &[Option<Held>],
    ) -> Result<(), Stop> {
        let mut pieces = tempfile::tempfile_in(self.folder).at("create a file in", self.folder)?;
        // What was fetched, and where it is in the file.
        let mut places: Vec<(Range<u64>, u64)> = Vec::new();
        let mut end = 0;
        for range in plan(absent(file, held)) {
            self.part(layer, range.clone(), &mut pieces)?;
            places.push((range.clone(), end));
            end += range.end - range.start;
        }
        let packed = |number: usize| {
            let chunk = &file.chunks[number].range;
            let after = places.partition_point(|(range, _)| range.start <= chunk.start);
            let (range, at) = &places[after - 1];
            let start = at + chunk.start - range.start;
            Ok(Slice {
                file: &pieces,
                range: start..start + chunk.end - chunk.start,
            })
        };
        Ok(self.contents.add_chunks(file, held, packed)?)
    }
}

/// The ranges of a file's chunks that are not held.
fn absent<'f>(
    file: &'f File,
    held: &'f [Option<Held>],
) -> impl Iterator<Item = &'f Range<u64>> + Clone {
    let chunks = file.chunks.iter().zip(held);
    chunks
        .filter(|(_, held)| held.is_none())
        .map(|(chunk, _)| &chunk.range)
}

/// A part of a file.
struct Slice<'f> {
    file: &'f std::fs::File,
    range: Range<u64>,
}

impl Read for Slice<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let length = into.len().min(left);
        let read = self.file.read_at(&mut into[..length], self.range.start)?;
        self.range.start += read as u64;
        Ok(read)
    }
}

/// The ranges to ask for, of ranges in their order: near ones together, and not too many.
fn plan<'a>(ranges: impl Iterator<Item = &'a Range<u64>> + Clone) -> Vec<Range<u64>> {
    let gap = |before: u64, next: &Range<u64>| next.start.saturating_sub(before);
    let mut gaps: Vec<u64> = ranges
        .clone()
        .zip(ranges.clone().skip(1))
        .map(|(before, next)| gap(before.end, next))
        .collect();
    gaps.sort_unstable_by_key(|gap| std::cmp::Reverse(*gap));
    // So many gaps may stay, the largest.
    let near = gaps.get(MAX_RANGES - 1).map_or(GAP, |gap| GAP.max(*gap));
    let mut planned: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match planned.last_mut() {
            Some(last) if gap(last.end, range) <= near => last.end = range.end,
            _ => planned.push(range.clone()),
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ranges_become_one() {
        let ranges = [
            10..20,
            20..30,
            30 + GAP..40 + GAP,
            41 + 2 * GAP..50 + 2 * GAP,
        ];
        assert_eq!(
            plan(ranges.iter()),
            [10..40 + GAP, 41 + 2 * GAP..50 + 2 * GAP]
        );
        assert!(plan([].iter()).is_empty());
    }

    #[test]
    fn there_are_not_too_many_ranges() {
        // Each gap is larger than the one before.
        let mut at = 0;
        let ranges: Vec<Range<u64>> = (0..1000)
            .map(|n| {
                at += GAP + n;
                let begin = at;
                at += 5;
                begin..at
            })
            .collect();
        let planned = plan(ranges.iter());
        assert_eq!(planned.len(), MAX_RANGES);
        let covers = |range: &Range<u64>| {
            let holds = |p: &Range<u64>| p.start <= range.start && range.end <= p.end;
            planned.iter().any(holds)
        };
        assert!(ranges.iter().all(covers));
        // Those that are near each other went together, those that are far from each other did not.
        assert_eq!(planned.last(), ranges.last());
    }
}
