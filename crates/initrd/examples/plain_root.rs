//! What `elea-initrd` is measured against: the same program and the same modules, but the root is
//! a plain file system.
//!
//! `cargo xtask bench` puts it in the place of `elea-initrd` in an image's own initrd, so that two
//! boots differ in what the root is and in nothing else. It is in no image.

#![expect(dead_code, reason = "it uses a part of the modules that it shares")]

#[path = "../src/console.rs"]
mod console;
#[path = "../src/drivers.rs"]
mod drivers;
#[path = "../src/error.rs"]
mod error;

use drivers::Drivers;
use elea_formats::cmdline::CommandLine;
use elea_formats::superblock;
use elea_sys::At as _;
use elea_sys::device;
use elea_sys::mount::{Attributes, Filesystem, relocate};
use error::Error;
use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROOT: &str = "/sysroot";
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    if rustix::process::getpid().is_init() {
        let Err(e) = run(Instant::now());
        console::error(&e.to_string());
        // Process 1 ends and the kernel panics: the measurement ends.
    }
    std::process::exit(2);
}

fn run(begun: Instant) -> Result<Infallible, Error> {
    for (kind, path) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
    ] {
        let path = Path::new(path);
        fs::create_dir_all(path).at("create", path)?;
        let mut filesystem = Filesystem::new(kind).source(kind);
        if kind == "tmpfs" {
            filesystem = filesystem.value("mode", "0755");
        }
        filesystem.mount(path)?;
    }
    let mut drivers = Drivers::open()?;
    drivers.load_always();
    drivers.load_for_devices();
    drivers.ask("fs-efivarfs");
    let line = fs::read_to_string("/proc/cmdline").at("read", "/proc/cmdline")?;
    let line = CommandLine::parse(&line);
    let root = line.value("root").unwrap_or_default();
    let uuid = root.strip_prefix("UUID=").unwrap_or(root);
    let found = device::wait(LIMIT, || {
        drivers.load_for_devices();
        let mut kind = None;
        let device = device::find(superblock::NEEDED, |_, start| {
            kind = superblock::read(start)
                .filter(|s| s.uuid == uuid)
                .map(|s| s.kind.to_string());
            kind.is_some()
        });
        Some((device.ok()??, kind?))
    });
    let Some((device, kind)) = found else {
        return Err(Error::NoRoot {
            uuid: uuid.to_owned(),
            waited: LIMIT,
            seen: String::new(),
        });
    };
    drivers.ask(&format!("fs-{kind}"));
    let root = Path::new(ROOT);
    fs::create_dir_all(root).at("create", root)?;
    Filesystem::new(&kind)
        .source(device.path())
        .attributes(Attributes::NO_ACCESS_TIME)
        .mount(root)?;
    console::note(&format!(
        "plain root after {:.2} s in the initrd",
        begun.elapsed().as_secs_f64()
    ));
    for name in ["dev", "proc", "sys", "run"] {
        relocate(&Path::new("/").join(name), &root.join(name))?;
    }
    std::env::set_current_dir(root).at("enter", root)?;
    rustix::mount::mount_move(".", "/").at("move to /", root)?;
    rustix::process::chroot(".").at("make / of", root)?;
    std::env::set_current_dir("/").at("enter", "/")?;
    let error = Command::new("/sbin/init").exec();
    Err(Error::NoInit(error))
}
