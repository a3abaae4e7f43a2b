//! Makes a tree: config, lock, packages, outputs.
