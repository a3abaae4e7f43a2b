//! Bytes to values and back, without I/O.
//!
//! Every format that Elea reads or writes has its room here, so that parsing can be
//! tested and fuzzed apart from disks and networks. Nothing in this crate opens a file.

pub mod digest;
pub mod generation;
pub mod release;
pub mod tree;
pub mod verity;
