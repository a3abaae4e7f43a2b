//! The Debian packages that the tests and the demo need, installed by name.

use crate::run;
use std::process::Command;

/// What the tests use as oracles and engines.
pub(crate) const TEST: &[&str] = &["fsverity"];

/// Installs the packages that are missing, naming them first.
pub(crate) fn install(wanted: &[&str]) -> Result<(), String> {
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    #[expect(clippy::print_stderr, reason = "a person should see what is installed")]
    {
        eprintln!("installing Debian packages: {}", missing.join(" "));
    }
    run(Command::new("apt-get").args(["update", "-qq"]))?;
    run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing))
}

fn is_installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["-W", "-f=${db:Status-Status}", name])
        .output()
        .is_ok_and(|out| out.stdout == b"installed")
}
