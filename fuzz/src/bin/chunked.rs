//! Tables of zstd:chunked layers, unpacked; behind a zero byte tar-splits.
#![no_main]

use elea_formats::chunked::split::{Piece, Reader, Writer};
use elea_formats::chunked::table::Table;
use libfuzzer_sys::fuzz_target;
use std::collections::HashSet;

/// Where contents end.
const END: u64 = 1 << 40;

fn table(text: &[u8]) {
    let Ok(table) = Table::parse(text, END) else {
        return;
    };
    let mut free = 0;
    let mut names = HashSet::new();
    for file in &table.files {
        assert!(free <= file.range.start && file.range.start < file.range.end);
        assert!(file.size > 0 && names.insert(&file.name));
        free = file.range.end;
        let (mut size, mut at) = (0, file.range.start);
        for chunk in &file.chunks {
            assert!(chunk.range.start == at && !chunk.range.is_empty());
            size += chunk.size;
            at = chunk.range.end;
        }
        assert!(file.chunks.is_empty() || (size == file.size && at == file.range.end));
    }
    assert!(free <= END);
}

fn split(text: &[u8]) {
    let mut reader = Reader::new(text);
    let mut again = Writer::new(Vec::new());
    let mut pieces = Vec::new();
    while let Ok(Some(piece)) = reader.piece() {
        match &piece {
            Piece::Segment(bytes) => again.segment(bytes).expect("memory takes it"),
            Piece::File { name, size } => match std::str::from_utf8(name) {
                Ok(name) => again.file(name, *size, None).expect("memory takes it"),
                Err(_) => continue,
            },
        }
        pieces.push(piece);
    }
    let text = again.into_inner();
    let mut reader = Reader::new(text.as_slice());
    for piece in pieces {
        assert_eq!(reader.piece().expect("what we wrote can be read"), Some(piece));
    }
}

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((0, text)) => split(text),
    _ => table(input),
});
