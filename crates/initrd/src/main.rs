//! Mounts a generation and hands over to systemd.

fn main() {}
