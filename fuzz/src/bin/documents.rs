//! JSON and text that registries, disks and boot partitions give. What can be written again says the same.
#![no_main]

use elea_formats::bls::{Entry, FileName};
use elea_formats::booted::{Booted, Try};
use elea_formats::cmdline::CommandLine;
use elea_formats::generation::Generation;
use elea_formats::oci::{Document, ImageConfig, Index, Manifest};
use elea_formats::{cpio, oplog, release, signature, superblock, version};
use elea_store::trust;
use libfuzzer_sys::fuzz_target;

fn text(text: &str) {
    if let Ok(entry) = Entry::parse(text) {
        let again = Entry::parse(&entry.encode()).expect("what we wrote can be read");
        assert_eq!(again, entry);
    }
    if let Some(name) = FileName::parse(text) {
        assert_eq!(FileName::parse(&name.to_string()), Some(name));
    }
    let line = CommandLine::parse(text);
    assert_eq!(CommandLine::parse(&line.to_string()), line);
    assert!(version::compare(text, text).is_eq());
    let _ = trust::PublicKey::parse_pem(text);
    let _ = elea_compose::lock::parse(text);
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Document::parse(bytes, None);
    if let Ok(manifest) = Manifest::parse(bytes) {
        let again = Manifest::parse(&manifest.encode()).expect("what we wrote can be read");
        assert_eq!(again.encode(), manifest.encode());
    }
    let _ = Index::parse(bytes);
    let _ = ImageConfig::parse(bytes);
    let _ = signature::parse(bytes);
    let _ = serde_json::from_slice::<Generation>(bytes);
    let _ = serde_json::from_slice::<Booted>(bytes);
    let _ = serde_json::from_slice::<Try>(bytes);
    let _ = serde_json::from_slice::<release::Release>(bytes);
    let _ = oplog::parse(bytes);
    let _ = cpio::read(bytes);
    let _ = superblock::read(bytes);
    if let Ok(words) = std::str::from_utf8(bytes) {
        text(words);
    }
});
