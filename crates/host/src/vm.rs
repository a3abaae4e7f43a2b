//! A machine in memory: an image boots in QEMU from the store, and leaves nothing behind.
//!
//! There is no disk. The initramfs is the image's own with a second one behind it, in which the store's objects of the
//! image and the manifest of one generation lie; `elea-initrd` makes the physical root of them (`docs/formats/initrd.md`).
//! From there on it is a boot like any other.

mod initramfs;
mod qemu;

pub use qemu::{Accelerator, Hardware};

use crate::install::{self, Bootable};
use crate::machine::now;
use elea_formats::cmdline::CommandLine;
use elea_formats::digest::Digest;
use elea_formats::generation::MEMORY_ARGUMENT;
use elea_store::Store;
use elea_sys::{At as _, PathError};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{BufWriter, IntoInnerError, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Where QEMU finds room for an initramfs: below 2 GiB, and the kernel needs some of it.
const MOST: u64 = 1800 << 20;

/// Why a machine does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image is not one that boots.
    #[error(transparent)]
    Install(#[from] install::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] elea_store::Error),
    /// A file, or memory.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The second initramfs cannot be made.
    #[error(transparent)]
    Archive(#[from] elea_formats::cpio::Error),
    /// Too much for memory.
    #[error(
        "the image has {size} bytes, and a machine in memory takes at most {MOST}; make a disk with `elea build -o disk:FILE`"
    )]
    Large {
        /// Its size in bytes.
        size: u64,
    },
    /// No QEMU.
    #[error("cannot start {program}: {source}; install the package qemu-system-x86")]
    Qemu {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A machine that is ready to start.
#[derive(Debug)]
pub struct Machine {
    kernel: OwnedFd,
    initramfs: OwnedFd,
    /// The kernel's command line.
    pub arguments: String,
    /// The size of the initramfs in bytes.
    pub size: u64,
}

impl Machine {
    /// Puts an image of the store into memory. `login` lets root in on the console without a password; `more` are
    /// kernel arguments, laid behind those of the release.
    pub fn prepare(
        store: &Store,
        image: &Digest,
        login: bool,
        more: &[String],
    ) -> Result<Self, Error> {
        let contents = Bootable::load(store, image)?;
        let objects = store.objects_of(image)?;
        let size = objects.values().sum();
        if size > MOST {
            return Err(Error::Large { size });
        }
        let console = "console=ttyS0".to_owned();
        let mut own = more.to_vec();
        if login {
            own.extend(LOGIN.map(str::to_owned));
        }
        own.push(console);
        let mut generation = contents.generation("none", &own, now())?;
        generation.options = in_memory(&generation.options);
        let mut payloads = contents.bytes();
        let kernel = memory("the kernel", |file| {
            let bytes = payloads.next().transpose()?.unwrap_or_default();
            Ok(file.write_all(&bytes).at("write", "the kernel")?)
        })?;
        let mut written = 0;
        let initramfs = memory("the initramfs", |file| {
            for bytes in payloads {
                written += initramfs::pad(file, &bytes?)?;
            }
            written += initramfs::write(store, &objects, &generation, file)?;
            Ok(())
        })?;
        Ok(Self {
            kernel,
            initramfs,
            arguments: generation.options,
            size: written,
        })
    }

    /// Becomes QEMU: this process ends with the machine. Comes back only with an error.
    pub fn run(&self, hardware: &Hardware) -> Error {
        let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        let words = hardware.words(
            &path(&self.kernel),
            &path(&self.initramfs),
            &self.arguments,
            self.size,
        );
        let source = Command::new(qemu::PROGRAM).args(words).exec();
        Error::Qemu {
            program: qemu::PROGRAM,
            source,
        }
    }
}

/// Credentials by which agetty(8) and login(1) let root in.
const LOGIN: [&str; 2] = [
    "systemd.set_credential=agetty.autologin:root",
    "systemd.set_credential=login.noauth:yes",
];

/// The command line with the root in memory.
fn in_memory(options: &str) -> String {
    let line = CommandLine::parse(options);
    let words = line.arguments().iter().map(|word| match word.key.as_str() {
        "root" => MEMORY_ARGUMENT.to_owned(),
        _ => word.to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A file in memory that the program which this one becomes can open too.
fn memory(
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<(), Error>,
) -> Result<OwnedFd, Error> {
    let fd = memfd_create(name, MemfdFlags::empty()).at("make a file in memory for", name)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::from(fd));
    write(&mut file)?;
    let file = file.into_inner().map_err(IntoInnerError::into_error);
    Ok(file.at("write", name)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_in_memory() {
        let line = in_memory("composefs.digest=v1 root=UUID=none ro a=\"b c\"");
        assert_eq!(line, "composefs.digest=v1 elea.memory ro a=\"b c\"");
    }
}
