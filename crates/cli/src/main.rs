//! The program `elea`.

fn main() {}
