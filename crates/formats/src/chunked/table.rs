//! The table of contents: which bytes of a layer hold which file.
//!
//! Source: containers/storage, `pkg/chunked/internal/minimal/compression.go`, `TOC` and `FileMetadata`;
//! a superset of CRFS's (google/crfs, `stargz/stargz.go`, `TOCEntry`).

use super::ChunkedError;
use crate::digest::Sha256;
use crate::oci::sha256_text;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read, Write};
use std::ops::Range;

/// The most entries that are read.
pub const MAX_ENTRIES: usize = 1 << 20;
/// The most bytes of names that are read.
const MAX_NAMES: usize = 64 << 20;

/// A regular file that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Sha256,
    /// The bytes of the layer that hold it: zstd frames of nothing else.
    pub range: Range<u64>,
    /// The chunks that it is cut into, in their order; none if it is not, or if what the table says of them does not
    /// fit together.
    pub chunks: Vec<Chunk>,
}

/// A chunk of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: Sha256,
    /// The bytes of the layer that hold it: zstd frames of nothing else.
    pub range: Range<u64>,
}

/// What is read of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The files, in the order of their ranges, which do not overlap.
    pub files: Vec<File>,
    /// SHA-256 of the tar-split, packed.
    pub split: Option<Sha256>,
}

impl Table {
    /// Reads a table. `end` is where the contents must end in the layer, in bytes.
    ///
    /// Refused are tables in which an entry contradicts another one or the layer: ranges that overlap or
    /// leave it, a name twice, one digest with two sizes. What is said of a file's chunks may be wrong without harm: the file is then read as a whole.
    pub fn parse(from: impl Read, end: u64) -> Result<Self, ChunkedError> {
        let raw: Raw = serde_json::from_reader(from)?;
        if raw.version != 1 {
            return Err(ChunkedError::Table("is of a version that is not known"));
        }
        let split = match raw.split.as_deref() {
            None | Some("") => None,
            Some(text) => Some(
                sha256_text::parse(text)
                    .ok_or(ChunkedError::Table("names its tar-split by no SHA-256"))?,
            ),
        };
        let mut files = raw.entries.0;
        files.sort_by_key(|file| file.range.start);
        check(&files, end)?;
        Ok(Self { files, split })
    }
}

fn check(files: &[File], end: u64) -> Result<(), ChunkedError> {
    let mut names = HashSet::with_capacity(files.len());
    let mut sizes = HashMap::with_capacity(files.len());
    let mut free = 0;
    for file in files {
        let refuse = |reason| {
            Err(ChunkedError::Entry {
                name: file.name.chars().take(200).collect(),
                reason,
            })
        };
        if file.range.is_empty() {
            return refuse("has content, and no place in the layer");
        }
        if file.range.start < free {
            return refuse("begins before the file before it ends");
        }
        free = file.range.end;
        if free > end {
            return refuse("goes on behind the last content");
        }
        if !names.insert(&file.name) {
            return refuse("is there twice");
        }
        if *sizes.entry(file.digest).or_insert(file.size) != file.size {
            return refuse("has the digest of a file of another size");
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Raw {
    version: u64,
    entries: Files,
    #[serde(default, rename = "tarSplitDigest")]
    split: Option<String>,
}

/// One entry, as far as it is read.
#[derive(Deserialize)]
struct RawEntry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    offset: u64,
    #[serde(default, rename = "endOffset")]
    end: u64,
    #[serde(default, rename = "chunkSize")]
    chunk_size: u64,
    #[serde(default, rename = "chunkOffset")]
    chunk_offset: u64,
    #[serde(default, rename = "chunkDigest")]
    chunk_digest: String,
}

/// The files among the entries, gathered while the text is read.
struct Files(Vec<File>);

impl<'de> Deserialize<'de> for Files {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Gather;
        impl<'de> Visitor<'de> for Gather {
            type Value = Files;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Files, A::Error> {
                let mut files: Vec<File> = Vec::new();
                let mut cuts = Cuts::default();
                // Whether chunks may follow.
                let mut open = false;
                let (mut count, mut names) = (0, 0);
                while let Some(entry) = list.next_element::<RawEntry>()? {
                    count += 1;
                    names += entry.name.len();
                    if count > MAX_ENTRIES || names > MAX_NAMES {
                        return Err(A::Error::custom("it has too many entries"));
                    }
                    match entry.kind.as_str() {
                        "reg" if entry.size > 0 => {
                            cuts.settle(files.last_mut());
                            cuts.add(&entry);
                            files.push(file::<A::Error>(entry)?);
                        }
                        "chunk" => match files.last_mut() {
                            // Where the file ends is said in its first entry, or in its last chunk.
                            Some(last) if open => {
                                cuts.add(&entry);
                                last.range.end = last.range.end.max(entry.end);
                            }
                            _ => return Err(A::Error::custom("it has a chunk of no file")),
                        },
                        _ => {
                            open = false;
                            continue;
                        }
                    }
                    open = true;
                }
                cuts.settle(files.last_mut());
                Ok(Files(files))
            }
        }
        deserializer.deserialize_seq(Gather)
    }
}

fn file<E: serde::de::Error>(entry: RawEntry) -> Result<File, E> {
    let digest = sha256_text::parse(&entry.digest).ok_or_else(|| {
        let name: String = entry.name.chars().take(200).collect();
        E::custom(format_args!("`{name}` has no SHA-256 digest"))
    })?;
    Ok(File {
        name: entry.name,
        size: entry.size,
        digest,
        range: entry.offset..entry.end,
        chunks: Vec::new(),
    })
}

/// The chunks of a file, while its entries are read.
#[derive(Default)]
struct Cuts {
    chunks: Vec<Chunk>,
    /// Bytes of content that the chunks so far have.
    size: u64,
    /// Whether they do not fit together: then the file is read as a whole.
    broken: bool,
}

impl Cuts {
    fn add(&mut self, entry: &RawEntry) {
        let begin = entry.offset;
        let digest = sha256_text::parse(&entry.chunk_digest);
        let follows = entry.chunk_offset == self.size && entry.chunk_size > 0;
        match (digest, self.size.checked_add(entry.chunk_size)) {
            (Some(digest), Some(size)) if follows => {
                if let Some(last) = self.chunks.last_mut() {
                    last.range.end = begin;
                    self.broken |= last.range.is_empty();
                }
                self.chunks.push(Chunk {
                    size: entry.chunk_size,
                    digest,
                    range: begin..begin,
                });
                self.size = size;
            }
            _ => self.broken = true,
        }
    }

    /// Gives a file its chunks, if they are what it is, and begins anew.
    fn settle(&mut self, file: Option<&mut File>) {
        let Self {
            mut chunks,
            size,
            broken,
        } = std::mem::take(self);
        let (Some(file), Some(last)) = (file, chunks.last_mut()) else {
            return;
        };
        last.range.end = file.range.end;
        let is_cut = !last.range.is_empty() && chunks.len() > 1 && size == file.size;
        if is_cut && !broken {
            file.chunks = chunks;
        }
    }
}

/// What a table says of an entry of the archive: what the tar header says, and where the content is. Its
/// texts are UTF-8, since JSON is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry<'a> {
    /// `reg`, `dir`, `symlink`, `hardlink`, `char`, `block`, `fifo`, or `chunk` for all but the first one of a file.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// The name, with a slash at its end if it has one in the archive.
    pub name: &'a str,
    /// The target of a link.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub link_name: &'a str,
    /// The mode's lowest twelve bits.
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: u32,
    /// Bytes of content.
    #[serde(skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The owner.
    #[serde(skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group.
    #[serde(skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// The time, RFC 3339; chunks have none.
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// A device's numbers.
    #[serde(skip_serializing_if = "is_zero")]
    pub dev_major: u32,
    /// A device's numbers.
    #[serde(skip_serializing_if = "is_zero")]
    pub dev_minor: u32,
    /// Attributes as [`Entry::attribute`] puts them there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// SHA-256 of the content; an empty file has none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digest")]
    pub digest: Option<Sha256>,
    /// Where the content's frames begin.
    #[serde(skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// Where they end.
    #[serde(skip_serializing_if = "is_zero")]
    pub end_offset: u64,
    /// Bytes of a chunk, if the file is cut.
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_size: u64,
    /// Where it begins in the file.
    #[serde(skip_serializing_if = "is_zero")]
    pub chunk_offset: u64,
    /// SHA-256 of its content.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "digest")]
    pub chunk_digest: Option<Sha256>,
}

impl Entry<'_> {
    /// Adds an attribute, by the name that it has in the archive.
    pub fn attribute(&mut self, name: String, value: &[u8]) {
        self.xattrs.insert(name, BASE64.encode(value));
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

#[expect(clippy::ref_option, reason = "serde gives the field by reference")]
fn digest<S: serde::Serializer>(digest: &Option<Sha256>, to: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => sha256_text::serialize(digest, to),
        None => to.serialize_none(),
    }
}

/// Writes a table entry by entry, so that it need not be in memory.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    begun: bool,
}

impl<W: Write> Writer<W> {
    /// Begins a table.
    pub fn new(mut to: W) -> io::Result<Self> {
        to.write_all(br#"{"version":1,"entries":["#)?;
        Ok(Self { to, begun: false })
    }

    /// Where it is written.
    pub fn get_ref(&self) -> &W {
        &self.to
    }

    /// Adds an entry.
    pub fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            self.to.write_all(b",")?;
        }
        Ok(serde_json::to_writer(&mut self.to, entry)?)
    }

    /// Ends the table; `split` is the SHA-256 of the tar-split, packed.
    pub fn finish(mut self, split: &Sha256) -> io::Result<W> {
        write!(self.to, r#"],"tarSplitDigest":"sha256:{split}"}}"#)?;
        Ok(self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entries: &str) -> Result<Table, String> {
        let text = format!(r#"{{"version":1,"entries":[{entries}]}}"#);
        Table::parse(text.as_bytes(), 1000).map_err(|e| e.to_string())
    }

    /// An entry of a file whose digest is that of its name, or of another text.
    fn reg(name: &str, of: &str, size: u64, offset: u64, end: u64) -> String {
        let digest = Sha256::of(of.as_bytes());
        format!(
            r#"{{"type":"reg","name":"{name}","size":{size},"digest":"sha256:{digest}","offset":{offset},"endOffset":{end}}}"#
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let digest = Sha256::of(b"x");
        let mut entry = Entry {
            kind: "reg",
            name: "usr/bin/\"x\"",
            mode: 0o755,
            size: 7,
            time: "1970-01-01T00:00:00Z".into(),
            digest: Some(digest),
            offset: 20,
            end_offset: 30,
            ..Entry::default()
        };
        entry.attribute("user.a".into(), b"\0b");
        writer.entry(&entry).unwrap();
        writer
            .entry(&Entry {
                kind: "dir",
                name: "usr/",
                ..Entry::default()
            })
            .unwrap();
        let split = Sha256::of(b"split");
        let text = writer.finish(&split).unwrap();
        let shown = String::from_utf8(text.clone()).unwrap();
        assert!(shown.contains(r#""mode":493"#) && shown.contains(r#""endOffset":30"#));
        assert!(shown.contains(r#""xattrs":{"user.a":"AGI="}"#), "{shown}");
        let table = Table::parse(text.as_slice(), 30).unwrap();
        assert_eq!(table.split, Some(split));
        let file = File {
            name: entry.name.into(),
            size: 7,
            digest,
            range: 20..30,
            chunks: Vec::new(),
        };
        assert_eq!(table.files, [file]);
        assert!(Table::parse(text.as_slice(), 29).is_err());
    }

    #[test]
    fn chunks_belong_to_the_file_before_them() {
        let chunk = |end: u64| {
            format!(
                r#"{{"type":"chunk","name":"a","chunkOffset":5,"offset":15,"endOffset":{end}}}"#
            )
        };
        let first = reg("a", "a", 9, 10, 0);
        let table = parse(&format!("{first},{},{}", chunk(0), chunk(40))).unwrap();
        assert_eq!(table.files[0].range, 10..40);
        for before in [
            r#"{"type":"dir","name":"d"}"#,
            r#"{"type":"reg","name":"e"}"#,
        ] {
            let error = parse(&format!("{first},{before},{}", chunk(40))).unwrap_err();
            assert!(error.contains("chunk of no file"), "{error}");
        }
    }

    #[test]
    fn a_file_has_the_chunks_that_it_is_cut_into() {
        let digest = Sha256::of(b"chunk");
        let entry = |kind: &str, more: &str, at: u64, size: u64, offset: u64| {
            format!(
                r#"{{"type":"{kind}","name":"a",{more}"chunkOffset":{at},"chunkSize":{size},"chunkDigest":"sha256:{digest}","offset":{offset}}}"#
            )
        };
        let file = format!(
            r#""size":9,"digest":"sha256:{}","endOffset":40,"#,
            Sha256::of(b"a")
        );
        let first = |size| entry("reg", &file, 0, size, 10);
        let next = |at, size, offset| entry("chunk", "", at, size, offset);
        let chunks = |entries: &[String]| {
            // Another file after it takes nothing from it.
            let all = format!("{},{}", entries.join(","), reg("b", "b", 9, 50, 60));
            let [a, b] = &parse(&all).unwrap().files[..] else {
                panic!("{all}")
            };
            assert!(a.range == (10..40) && b.chunks.is_empty());
            a.chunks
                .iter()
                .map(|chunk| (chunk.size, chunk.range.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            chunks(&[first(5), next(5, 3, 20), next(8, 1, 30)]),
            [(5, 10..20), (3, 20..30), (1, 30..40)]
        );
        for wrong in [
            // A gap, an overlap, too little, too much, nothing.
            &[first(5), next(6, 3, 20)][..],
            &[first(5), next(4, 5, 20)],
            &[first(5), next(5, 3, 20)],
            &[first(5), next(5, 5, 20)],
            &[first(9), next(9, 0, 20)],
            // Places that do not go on, or leave the file.
            &[first(5), next(5, 4, 10)],
            &[first(5), next(5, 4, 9)],
            &[first(5), next(5, 4, 40)],
            // One chunk is the file.
            &[first(9)],
            &[first(5), next(5, 4, 20).replace("chunkDigest", "noDigest")],
            &[first(5).replace("chunkDigest", "noDigest"), next(5, 4, 20)],
        ] {
            assert_eq!(chunks(wrong), [], "{wrong:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let two = |one: String, other: String| parse(&format!("{one},{other}"));
        let a = || reg("a", "a", 9, 10, 20);
        assert_eq!(
            two(reg("b", "b", 9, 20, 30), a()).unwrap().files[0].name,
            "a"
        );
        for (result, why) in [
            (two(a(), reg("b", "b", 9, 19, 30)), "before the file"),
            (two(a(), reg("b", "b", 9, 5, 11)), "before the file"),
            (two(a(), reg("a", "b", 9, 20, 30)), "twice"),
            (two(a(), reg("b", "a", 8, 20, 30)), "another size"),
            (parse(&reg("b", "b", 9, 20, 20)), "no place"),
            (parse(&reg("b", "b", 9, 20, 10)), "no place"),
            (parse(&reg("b", "b", 9, 990, 1001)), "behind"),
            (parse(&a().replace("sha256:", "sha512:")), "no SHA-256"),
            (parse(&a().replace(":9,", ":-9,")), "invalid value"),
            (parse(r#"{"type":"reg"}"#), "missing field `name`"),
            (parse("["), "not valid"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        let error = Table::parse(br#"{"version":2,"entries":[]}"#.as_slice(), 9).unwrap_err();
        assert!(error.to_string().contains("version"), "{error}");
    }

    #[test]
    fn a_table_without_end_is_left() {
        /// Entries for ever.
        struct Endless(bool);
        impl Read for Endless {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let text: &[u8] = if std::mem::replace(&mut self.0, true) {
                    br#"{"type":"dir","name":"d"},"#
                } else {
                    br#"{"version":1,"entries":["#
                };
                into[..text.len()].copy_from_slice(text);
                Ok(text.len())
            }
        }
        let endless = io::BufReader::with_capacity(64, Endless(false));
        let error = Table::parse(endless, 1000).unwrap_err().to_string();
        assert!(error.contains("too many entries"), "{error}");
    }
}
