//! The store, on real file systems and against other people's programs.

#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stdout, reason = "what is skipped is told")]

mod check;
mod collect;
mod composefs;
mod crash;
mod generated;
mod golden;
mod hostile;
mod images;
mod inject;
mod mounts;
mod odd;
mod oracle;
mod parts;
mod power;
mod repair;
mod roads;
mod sample;
mod sha512;
mod squash;
mod stats;
mod together;
mod works;
