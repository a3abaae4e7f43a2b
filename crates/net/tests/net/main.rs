//! Pushing and pulling, against a real registry, other people's programs, and a server that lies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends where something fails, and says when a program is missing"
)]

mod access;
mod cosign;
mod docker_registry;
mod fixture;
mod hostile;
mod liar;
mod local;
mod parts;
mod pushing;
mod registry;
mod repair;
mod server;
mod transfers;
mod trust;
