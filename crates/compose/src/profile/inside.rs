//! A tree of packages as the root folder of its own programs, for who is not root, on a machine that has none of them.
//!
//! They have no network, no device, no path, process, name, key and clock of the machine but the tree and a folder of
//! files, which they only read. [`enter()`] begins, and starts this program again as the first process in there, which
//! goes on with [`become_program`].

use super::unpack;
use elea_sys::mount::{self, Attributes, Filesystem, MountError};
use elea_sys::root::Root;
use elea_sys::{At as _, PathError, confine, enter};
use std::convert::Infallible;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the files are shown.
pub(super) const FILES: &str = "/mnt";
/// Folders of the tree where something is mounted, with their modes if they are absent.
const PLACES: [(&str, u32); 6] = [
    ("dev", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];
/// Devices that are no part of any machine.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// What of `/proc` is the machine's and can be written by some, and what tells of it.
const LOCKED: [&str; 8] = [
    "acpi",
    "bus",
    "fs",
    "irq",
    "scsi",
    "sys",
    "sysrq-trigger",
    "tty",
];
const HIDDEN: [&str; 10] = [
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "sched_debug",
    "timer_list",
    "vmallocinfo",
];

/// What is done in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The tree.
    pub tree: PathBuf,
    /// The folder of files.
    pub files: PathBuf,
    /// Files of it that are unpacked into the tree first: packages, and tar files.
    pub unpack: Vec<PathBuf>,
    /// The program that is run then, with what it is told; none is none.
    pub command: Vec<OsString>,
}

/// Why nothing could be done in there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine does not let its users have namespaces.
    #[error(
        "{0}; packages of a home are installed in a user namespace, which this machine refuses: its administrator allows them by `user.max_user_namespaces` of sysctl(8), and on Ubuntu by `kernel.apparmor_restrict_unprivileged_userns=0`"
    )]
    Namespace(PathError),
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something could not be mounted.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// A folder of the tree is none.
    #[error("`/{0}` of the packages is no folder")]
    NoFolder(&'static str),
    /// A file makes no sense.
    #[error("{} cannot be unpacked: {source}", path.display())]
    Unpack {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("the packages' {} cannot be run: {source}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Leaves the machine, for what this process starts. No other thread may run.
pub fn enter() -> Result<(), Error> {
    enter::end_with_parent()?;
    enter::own_machine().map_err(Error::Namespace)
}

/// Makes the tree the root folder of this process, which is the first one in there, and does the job. It returns only
/// if there is no program to become. No other thread may run.
pub fn become_program(job: &Job) -> Result<Option<Infallible>, Error> {
    enter::end_with_parent()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    mount(job)?;
    enter::change_root(&job.tree)?;
    rustix::system::sethostname(b"localhost").at("name the machine of", "/")?;
    // One of its own has no terminal whose keys it could press.
    rustix::process::setsid().at("make a session in", "/")?;
    enter::give_up_mounts().map_err(Error::Namespace)?;
    for name in &job.unpack {
        let path = Path::new(FILES).join(name);
        unpack::unpack(&path, Path::new("/")).map_err(|source| Error::Unpack { path, source })?;
    }
    let Some((program, rest)) = job.command.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(program);
    command.args(rest);
    confine::refuse_calls(&mut command);
    confine::pretend_owners(&mut command);
    // The tree is synced when it is whole.
    confine::pretend_synced(&mut command);
    Err(Error::Program {
        program: program.into(),
        source: command.exec(),
    })
}

/// Mounts the tree on itself, and what there is besides it.
fn mount(job: &Job) -> Result<(), Error> {
    let tree = &job.tree;
    let files = mount::tree(&job.files, false)?.read_only()?;
    mount::tree(tree, false)?.attach(tree)?;
    // What packages made of them is not followed.
    let root = Root::open(tree)?;
    for (name, mode) in PLACES {
        let path = Path::new(name);
        match root.kind(path) {
            Ok(kind) if kind.is_dir() => {}
            Ok(_) => return Err(Error::NoFolder(name)),
            Err(_) => root.create_dir(path, mode)?,
        }
    }
    let plain = Attributes::NO_SUID.and(Attributes::NO_DEVICES);
    let memory = |name: &str, mode: &str| {
        let new = Filesystem::new("tmpfs").source("elea").value("mode", mode);
        new.attributes(plain).mount(&tree.join(name))
    };
    files.attach(&tree.join("mnt"))?;
    memory("run", "0755")?;
    memory("tmp", "1777")?;
    memory("dev", "0755")?;
    let dev = tree.join("dev");
    for name in DEVICES {
        let at = dev.join(name);
        fs::write(&at, "").at("write", &at)?;
        let once = Attributes::READ_ONLY.and(Attributes::NO_EXEC);
        mount::bind(&Path::new("/dev").join(name), &at, once)?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        let at = dev.join(name);
        symlink(to, &at).at("make a link at", &at)?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        let at = dev.join(name);
        fs::create_dir(&at).at("make the folder", &at)?;
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&at, mode).at("set the mode of", &at)?;
    }
    let proc = tree.join("proc");
    let kind = Filesystem::new("proc").source("proc");
    kind.attributes(plain.and(Attributes::NO_EXEC))
        .mount(&proc)?;
    for at in LOCKED.map(|name| proc.join(name)) {
        if at.exists() {
            mount::bind(&at, &at, Attributes::READ_ONLY)?;
        }
    }
    for at in HIDDEN.map(|name| proc.join(name)) {
        if at.exists() {
            mount::bind(&dev.join("null"), &at, Attributes::NONE)?;
        }
    }
    Ok(())
}
