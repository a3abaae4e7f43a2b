//! Homes.

pub mod merge;
