//! Pushing and pulling, against a real registry, other people's programs, and a server that lies.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends where something fails, and says when a program is missing"
)]

mod access;
mod beside;
mod cosign;
mod docker_registry;
mod environment;
mod fixture;
mod hostile;
mod indexes;
mod liar;
mod local;
mod mirrors;
mod parts;
mod podman;
mod power;
mod pushing;
mod registry;
mod repair;
mod server;
mod tls;
mod transfers;
mod trust;
