//! Pushing and pulling, against a real registry, other people's programs, and a server that lies.

#![expect(
    clippy::print_stderr,
    reason = "a test whose program is missing says so"
)]

mod cosign;
mod docker_registry;
mod fixture;
mod hostile;
mod local;
mod registry;
mod server;
mod trust;
