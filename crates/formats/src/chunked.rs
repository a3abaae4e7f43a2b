//! zstd:chunked: layers of which single files can be fetched (`docs/formats/chunked.md`).
//!
//! Source: containers/storage, `pkg/chunked/internal/minimal/compression.go` (names of annotations,
//! skippable frames, footer); RFC 8878, 3.1.2 (skippable frames).

pub mod cut;
pub mod split;
pub mod table;

use crate::digest::Sha256;
use crate::oci::{Descriptor, sha256_text};
use std::collections::BTreeMap;
use std::ops::Range;

/// The annotation with the SHA-256 of the table as it is packed.
const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// The annotation with the table's place: `offset:packed size:size:type`.
const TABLE: &str = "io.github.containers.zstd-chunked.manifest-position";
/// The annotation with the place of what stands between contents: `offset:packed size:size`.
const SPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// The one type of table: CRFS's.
const KIND: u64 = 1;
/// What a footer ends with.
const FOOTER: &[u8; 8] = b"GNUlInUx";
/// What a skippable frame begins with, before its length (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184d_2a50;
/// Bytes of a skippable frame before its content.
pub const FRAME_HEADER: u64 = 8;
/// The largest table or split that is read, packed, in bytes: it is held in memory.
pub const MAX_PACKED: u64 = 16 << 20;
/// The largest table or split that is read, unpacked, in bytes: it is read piece by piece.
pub const MAX_UNPACKED: u64 = 1 << 30;

/// Why a layer's table is not used.
#[derive(Debug, thiserror::Error)]
pub enum ChunkedError {
    /// An annotation that is not what it should be.
    #[error("its annotation `{name}` is `{value}`, and {reason}")]
    Annotation {
        /// The annotation.
        name: &'static str,
        /// Its value, cut short.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The table, or a line of the tar-split, is not JSON of the right shape.
    #[error("its table or tar-split is not valid: {0}")]
    Json(#[from] serde_json::Error),
    /// The table as a whole.
    #[error("its table {0}")]
    Table(&'static str),
    /// An entry of the table.
    #[error("`{name}` in its table {reason}")]
    Entry {
        /// The entry's name, cut short.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What stands between contents.
    #[error("its tar-split {0}")]
    Split(&'static str),
}

/// Where a packed part stands in a layer, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where its content begins, behind the head of the frame.
    pub offset: u64,
    /// How long it is, packed.
    pub packed: u64,
    /// How long it is, unpacked.
    pub size: u64,
}

impl Part {
    /// The bytes of the layer that it takes.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset.saturating_add(self.packed)
    }
}

/// Where a layer has its table, as the annotations of its descriptor say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The table.
    pub table: Part,
    /// SHA-256 of the table, packed. A signature of the manifest covers it.
    pub checksum: Sha256,
    /// What stands between contents; the table has its SHA-256. Old layers have none.
    pub split: Option<Part>,
}

impl Position {
    /// Reads a descriptor's annotations; none if the layer has no table. Both parts lie inside the
    /// layer and are of a size that is read.
    pub fn of(layer: &Descriptor) -> Result<Option<Self>, ChunkedError> {
        let all = &layer.annotations;
        let Some(text) = all.get(CHECKSUM) else {
            return Ok(None);
        };
        let wrong = |name, value: &str, reason| ChunkedError::Annotation {
            name,
            value: value.chars().take(100).collect(),
            reason,
        };
        let checksum = sha256_text::parse(text)
            .ok_or_else(|| wrong(CHECKSUM, text, "a SHA-256 digest belongs there"))?;
        let part = |name, text: &str, numbers: &[u64]| {
            let [offset, packed, size] = *numbers else {
                return Err(wrong(name, text, "it has too many or too few numbers"));
            };
            let end = offset.checked_add(packed);
            if offset < FRAME_HEADER || end.is_none_or(|end| end > layer.size) {
                return Err(wrong(name, text, "that is not inside the layer"));
            }
            if packed == 0 || packed > MAX_PACKED || size > MAX_UNPACKED {
                return Err(wrong(name, text, "parts of that size are not read"));
            }
            Ok(Part {
                offset,
                packed,
                size,
            })
        };
        let text = all.get(TABLE).map_or("", String::as_str);
        let table = match numbers(text).as_deref() {
            Some([place @ .., KIND]) => part(TABLE, text, place)?,
            _ => return Err(wrong(TABLE, text, "four numbers belong there, the last 1")),
        };
        let split = all.get(SPLIT).map(|text| match numbers(text) {
            Some(place) => part(SPLIT, text, &place),
            None => Err(wrong(SPLIT, text, "three numbers belong there")),
        });
        Ok(Some(Self {
            table,
            checksum,
            split: split.transpose()?,
        }))
    }

    /// The annotations that say it.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let place = |part: &Part| format!("{}:{}:{}", part.offset, part.packed, part.size);
        let mut all = BTreeMap::from([
            (CHECKSUM.to_owned(), format!("sha256:{}", self.checksum)),
            (TABLE.to_owned(), format!("{}:{KIND}", place(&self.table))),
        ]);
        if let Some(split) = &self.split {
            all.insert(SPLIT.to_owned(), place(split));
        }
        all
    }

    /// The content of the last frame, which says the same for those who have no annotations. It has no
    /// checksum, so it is of no use to those who have.
    pub fn footer(&self) -> Vec<u8> {
        let split = self.split.unwrap_or(Part {
            offset: 0,
            packed: 0,
            size: 0,
        });
        let table = &self.table;
        let numbers = [
            table.offset,
            table.packed,
            table.size,
            KIND,
            split.offset,
            split.packed,
            split.size,
        ];
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(FOOTER);
        bytes
    }
}

/// Decimal numbers with colons between them.
fn numbers(text: &str) -> Option<Vec<u64>> {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    text.split(':')
        .map(|part| part.parse().ok().filter(|_| digits(part)))
        .collect()
}

/// A skippable frame: whoever unpacks the layer passes over it. None if the content is too long for one.
pub fn skippable(content: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(content.len()).ok()?;
    let mut frame = SKIPPABLE.to_le_bytes().to_vec();
    frame.extend(length.to_le_bytes());
    frame.extend_from_slice(content);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(size: u64, annotations: &[(&str, &str)]) -> Descriptor {
        Descriptor {
            media_type: crate::oci::media::LAYER_ZSTD.into(),
            digest: Sha256::of(b"x"),
            size,
            annotations: annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            platform: None,
        }
    }

    #[test]
    fn positions_are_annotations_and_back() {
        let position = Position {
            table: Part {
                offset: 100,
                packed: 50,
                size: 700,
            },
            checksum: Sha256::of(b"table"),
            split: Some(Part {
                offset: 158,
                packed: 20,
                size: 300,
            }),
        };
        for split in [position.split, None] {
            let position = Position { split, ..position };
            let mut layer = layer(250, &[]);
            assert_eq!(Position::of(&layer).unwrap(), None);
            layer.annotations = position.annotations();
            assert_eq!(Position::of(&layer).unwrap(), Some(position));
        }
        let footer = position.footer();
        assert_eq!(footer.len(), 64);
        assert_eq!(footer[..8], 100_u64.to_le_bytes());
        assert_eq!(footer[24..32], 1_u64.to_le_bytes());
        assert_eq!(footer[32..40], 158_u64.to_le_bytes());
        assert_eq!(&footer[56..], b"GNUlInUx");
    }

    #[test]
    fn positions_that_lie_are_refused() {
        let sum = format!("sha256:{}", Sha256::of(b"table"));
        let refused = |sum: &str, table: &str, split: Option<&str>| {
            let mut all = vec![(CHECKSUM, sum), (TABLE, table)];
            all.extend(split.map(|split| (SPLIT, split)));
            Position::of(&layer(1000, &all)).unwrap_err().to_string()
        };
        assert!(refused("sha256:0", "8:9:9:1", None).contains("SHA-256"));
        for (table, why) in [
            ("", "four numbers"),
            ("8:9:9", "four numbers"),
            ("8:9:9:2", "four numbers"),
            ("8:9:1", "too few"),
            ("8:9:9:9:1", "too many"),
            ("+8:9:9:1", "four numbers"),
            ("8:-9:9:1", "four numbers"),
            ("7:9:9:1", "inside"),
            ("8:0:9:1", "of that size"),
            ("8:993:9:1", "inside"),
            ("18446744073709551615:9:9:1", "inside"),
            ("8:9:9999999999999:1", "of that size"),
        ] {
            let error = refused(&sum, table, None);
            assert!(error.contains(why), "{table}: {error}");
        }
        for (split, why) in [("8:9", "too few"), ("990:11:1", "inside"), ("a", "three")] {
            let error = refused(&sum, "8:9:9:1", Some(split));
            assert!(error.contains(why), "{split}: {error}");
        }
    }

    #[test]
    fn frames_that_are_passed_over_say_how_long_they_are() {
        assert_eq!(skippable(b"ab").unwrap(), b"\x50\x2a\x4d\x18\x02\0\0\0ab");
    }
}
