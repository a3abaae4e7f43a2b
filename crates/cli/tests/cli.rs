//! The command line as a person and a script see it: the program itself is run.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/config.rs"]
mod config;
#[path = "cli/described.rs"]
mod described;
#[path = "cli/help.rs"]
mod help;
#[path = "cli/home.rs"]
mod home;
#[path = "cli/home_foreign.rs"]
mod home_foreign;
#[path = "cli/home_packages.rs"]
mod home_packages;
#[path = "cli/images.rs"]
mod images;
#[path = "cli/install.rs"]
mod install;
#[path = "cli/machine.rs"]
mod machine;
#[path = "cli/memory.rs"]
mod memory;
#[path = "cli/oci_form.rs"]
mod oci_form;
#[path = "cli/program.rs"]
mod program;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/registry.rs"]
mod registry;
#[path = "cli/sbom.rs"]
mod sbom;
#[path = "cli/sha512.rs"]
mod sha512;
