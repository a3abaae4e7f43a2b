//! Bytes to values and back, without I/O.
//!
//! Every format that Elea reads or writes has its room here, so that parsing can be
//! tested and fuzzed apart from disks and networks. Nothing in this crate opens a file.

pub mod accounts;
pub mod bls;
pub mod booted;
pub mod chunked;
pub mod cmdline;
pub mod control;
pub mod copyright;
pub mod cpio;
pub mod digest;
pub mod dump;
pub mod erofs;
pub mod form;
pub mod fstab;
pub mod generation;
pub mod modules;
pub mod mountinfo;
pub mod oci;
pub mod oplog;
pub mod release;
pub mod sbom;
pub mod signature;
pub mod state;
pub mod superblock;
pub mod table;
pub mod tree;
pub mod unit;
pub mod verity;
pub mod version;
