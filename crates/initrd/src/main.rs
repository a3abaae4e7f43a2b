//! Mounts a generation and hands over to systemd.
//!
//! This is process 1 of an initramfs of its own. It finds the physical root, checks the image
//! that the boot entry names, mounts it with its objects, `/etc` and the machine's state, and
//! runs the image's init. What fails is said, kept and answered by a restart; only the rescue
//! entry ever waits for a person.

mod boot;
mod console;
mod disk;
mod dog;
mod drivers;
mod error;
mod esp;
mod etc;
mod fail;
mod fresh;
mod handover;
mod image;
mod loader;
mod memory;
mod request;
mod rescue;
mod reset;
mod state;
mod tries;

use boot::{Boot, Next};
use std::io::Write as _;
use std::time::{Duration, Instant};

fn main() {
    if !rustix::process::getpid().is_init() {
        let version = env!("CARGO_PKG_VERSION");
        let text =
            format!("elea-initrd {version}: runs as process 1 of an initramfs and nowhere else\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
        std::process::exit(2);
    }
    std::panic::set_hook(Box::new(|panic| console::error(&panic.to_string())));
    run(Instant::now())
}

/// Never comes back: it becomes the system's init, or the machine restarts.
fn run(begun: Instant) -> ! {
    if let Err(e) = boot::mount_kernel() {
        fail::end(None, &e.to_string())
    }
    let mut boot = match Boot::begin(begun) {
        Ok(boot) => boot,
        Err(e) => fail::end(None, &e.to_string()),
    };
    let mounted = boot.mount_disk();
    if boot.request.rescue {
        rescue::run(boot, mounted.err().map(|e| e.to_string()))
    }
    let next = mounted.and_then(|()| boot.judge());
    match next {
        Ok(Next::Go) => {}
        Ok(Next::Reboot(reason)) => {
            console::error(&reason);
            fail::restart(Duration::from_secs(3))
        }
        Ok(Next::Rescue(reason)) => rescue::run(boot, Some(reason)),
        Err(e) => fail::end(Some(&boot), &e.to_string()),
    }
    match boot.start(boot.request.target, false) {
        Ok(never) => match never {},
        Err(e) => fail::end(Some(&boot), &e.to_string()),
    }
}
