//! Image files. What was read can be written, and read again as the same tree.
#![no_main]

use elea_formats::erofs::{self, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|image: &[u8]| {
    if let Ok(tree) = erofs::read(image) {
        for version in [Version::V0, Version::V1] {
            let written = erofs::write(&tree, version);
            let again = erofs::read(&written).expect("what we wrote can be read");
            assert_eq!(erofs::write(&again, version), written);
        }
    }
});
