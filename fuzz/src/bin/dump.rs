//! Dumps. What was read can be written, and read again as the same tree.
#![no_main]

use elea_formats::dump;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(tree) = dump::parse(text) {
        let written = dump::encode(&tree);
        let again = dump::parse(written.as_bytes()).expect("what we wrote can be read");
        assert_eq!(dump::encode(&again), written);
    }
});
