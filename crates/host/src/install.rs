//! Installing to a disk.
