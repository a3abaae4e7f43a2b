//! What a machine boots from the image: kernel, initrd, loader, and the program `elea`.

use super::Job;
use super::tree::{ROOT, Tree};
use crate::initrd::{self, Drivers};
use crate::lock::Error;
use crate::program;
use elea_formats::version;
use elea_sys::At as _;
use elea_sys::root::Root;
use std::path::Path;

/// Where the loader's package has its program, and where the image has it.
const LOADER_SOURCE: &str = "usr/lib/systemd/boot/efi/systemd-bootx64.efi";
const LOADER: &str = "usr/lib/elea/boot/systemd-bootx64.efi";
/// A boot loader is never larger, in bytes.
const LOADER_LIMIT: u64 = 16 << 20;

/// The files that a machine boots, by their paths in the image.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) kernel: String,
    pub(super) initrd: String,
    pub(super) loader: &'static str,
}

/// Installs `elea`.
pub(super) fn programs(job: &Job<'_>, tree: &Tree) -> Result<(), Error> {
    let path = &job.options.elea;
    let elea = std::fs::read(path).at("read", path)?;
    Ok(tree.put_as("usr/bin/elea", &elea, 0o755, ROOT)?)
}

/// Puts kernel, initrd and loader where Elea looks for them.
pub(super) fn payload(job: &Job<'_>, tree: &Tree) -> Result<Payload, Error> {
    let release = kernel_release(tree)?;
    let folder = format!("usr/lib/modules/{release}");
    for (from, to) in [
        (format!("boot/vmlinuz-{release}"), "vmlinuz"),
        (format!("boot/config-{release}"), "config"),
        (format!("boot/System.map-{release}"), "System.map"),
    ] {
        if let Some(content) = tree.read(&from)? {
            tree.put(&format!("{folder}/{to}"), &content)?;
        }
    }
    let path = &job.options.initrd;
    let init = std::fs::read(path).at("read", path)?;
    let drivers = Drivers {
        usual: job.config.kernel.usual_drivers,
        more: job.config.kernel.drivers.clone(),
    };
    let archive = match initrd::build(job.tree, &release, &init, &drivers) {
        Err(initrd::Error::Missing { names, .. }) => {
            let wrong = names
                .into_iter()
                .map(|name| {
                    let what = format!("the kernel {release} has no module `{name}`");
                    (format!("kernel.drivers[{name}]"), what, None)
                })
                .collect();
            return Err(Error::Config(job.config.errors(wrong)));
        }
        result => result?,
    };
    let initrd = format!("{folder}/elea-initrd.img");
    tree.put(&initrd, &archive)?;
    loader(job, tree)?;
    Ok(Payload {
        kernel: format!("{folder}/vmlinuz"),
        initrd,
        loader: LOADER,
    })
}

/// The newest kernel of the tree.
fn kernel_release(tree: &Tree) -> Result<String, Error> {
    let mut releases: Vec<String> = tree
        .names("usr/lib/modules")?
        .into_iter()
        .filter(|release| tree.has(&format!("boot/vmlinuz-{release}")))
        .collect();
    releases.sort_by(|a, b| version::compare(a, b));
    releases.pop().ok_or_else(|| {
        Error::Tree("the packages brought no kernel; name one as [kernel] package".into())
    })
}

fn loader(job: &Job<'_>, tree: &Tree) -> Result<(), Error> {
    let folder = job.work.join("loader-files");
    let mut command = program::program("dpkg-deb");
    command.arg("--extract").arg(&job.loader).arg(&folder);
    program::run(command, "dpkg", job.log, job.progress)?;
    let content = Root::open(&folder)?.read(Path::new(LOADER_SOURCE), LOADER_LIMIT)?;
    Ok(tree.put(LOADER, &content)?)
}
