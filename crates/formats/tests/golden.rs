//! Every version of a format that was ever released must still be read, and what is written today does not
//! change: one tree as a dump and as images. What wrote them: `elea` 0.1.0; the image of the format V2, which is
//! read only, is the `composefs` crate's.

use elea_formats::digest::Algorithm;
use elea_formats::erofs::{self, Version};
use elea_formats::{dump, verity};

const DUMP: &[u8] = include_bytes!("golden/tree-1.dump");
const V0: &[u8] = include_bytes!("golden/tree-1.v0.erofs");
const V1: &[u8] = include_bytes!("golden/tree-1.v1.erofs");
const V2: &[u8] = include_bytes!("golden/tree-1.v2.erofs");
/// The name of the second.
const DIGEST: &str = "0bab1ac42b0f04c4cac4e43939a21daa2c18f67c810546ca091f6503a2249c12";

#[test]
fn a_dump_of_the_first_version() {
    let tree = dump::parse(DUMP).unwrap();
    assert!(dump::encode(&tree).as_bytes() == DUMP);
}

#[test]
fn images_of_every_version() {
    let tree = dump::parse(DUMP).unwrap();
    for (version, image) in [(Version::V0, V0), (Version::V1, V1)] {
        assert!(erofs::write(&tree, version) == image, "{version}");
    }
    let text = String::from_utf8(DUMP.to_vec()).unwrap();
    // The crate takes no times before 1970 and none within a second.
    let whole = text
        .replace(" -5.500000000 ", " 5.0 ")
        .replace(" 1600000000.123456789 ", " 1600000000.0 ")
        .replace(" 8589934592.1 ", " 8589934592.0 ");
    for (image, text) in [(V0, &text), (V1, &text), (V2, &whole)] {
        assert_eq!(dump::encode(&erofs::read(image).unwrap()), *text);
    }
    assert_eq!(verity::measure(Algorithm::Sha256, V1).to_string(), DIGEST);
}
