//! Mounts, by the kernel's newer calls (`fsopen(2)`, `fsconfig(2)`, `fsmount(2)`,
//! `move_mount(2)`, `open_tree(2)`, `mount_setattr(2)`), whose errors say what was wrong.

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    self, FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MountPropagationFlags,
    MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Why a mount failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}{}", target.display(), told(kernel))]
pub struct MountError {
    /// What was tried: "mount ext4 at", "bind", "detach".
    pub action: String,
    /// Where.
    pub target: PathBuf,
    /// What the kernel said of it, one message a line; often empty.
    pub kernel: String,
    /// The error number.
    #[source]
    pub source: io::Error,
}

fn told(kernel: &str) -> String {
    if kernel.is_empty() {
        String::new()
    } else {
        format!(" ({})", kernel.replace('\n', "; "))
    }
}

fn failed(action: impl Into<String>, target: &Path, errno: Errno) -> MountError {
    MountError {
        action: action.into(),
        target: target.to_owned(),
        kernel: String::new(),
        source: errno.into(),
    }
}

/// Flags of a mount point (not of the file system).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(MountAttrFlags);

impl Attributes {
    /// None.
    pub const NONE: Self = Self(MountAttrFlags::empty());
    /// Nothing can be written through this mount point.
    pub const READ_ONLY: Self = Self(MountAttrFlags::MOUNT_ATTR_RDONLY);
    /// Set-user-id bits are ignored.
    pub const NO_SUID: Self = Self(MountAttrFlags::MOUNT_ATTR_NOSUID);
    /// Device files are ignored.
    pub const NO_DEVICES: Self = Self(MountAttrFlags::MOUNT_ATTR_NODEV);
    /// Programs are not run.
    pub const NO_EXEC: Self = Self(MountAttrFlags::MOUNT_ATTR_NOEXEC);
    /// Times of access are not kept.
    pub const NO_ACCESS_TIME: Self = Self(MountAttrFlags::MOUNT_ATTR_NOATIME);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0.union(other.0))
    }
}

/// A file system to be mounted: its kind and its options.
#[derive(Debug, Clone)]
pub struct Filesystem {
    kind: String,
    options: Vec<(String, Option<Vec<u8>>)>,
    attributes: Attributes,
}

impl Filesystem {
    /// A file system of a kind as `/proc/filesystems` names it.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            options: Vec::new(),
            attributes: Attributes::NONE,
        }
    }

    /// A block device, an image file or a name that shows in `/proc/mounts`.
    #[must_use]
    pub fn source(self, source: impl AsRef<Path>) -> Self {
        self.value("source", source)
    }

    /// An option without a value, such as `ro`.
    #[must_use]
    pub fn flag(mut self, key: &str) -> Self {
        self.options.push((key.to_owned(), None));
        self
    }

    /// An option with a value; an option may be given more than once (`lowerdir+`).
    #[must_use]
    pub fn value(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        let bytes = value.as_ref().as_os_str().as_bytes().to_owned();
        self.options.push((key.to_owned(), Some(bytes)));
        self
    }

    /// Flags of the mount point.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Makes the mount without a place in the tree of folders.
    pub fn detached(&self, target: &Path) -> Result<Mount, MountError> {
        let action = || format!("mount {} at", self.kind);
        let context = mount::fsopen(self.kind.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|e| failed(action(), target, e))?;
        self.configure(context.as_fd())
            .and_then(|()| {
                mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes.0)
            })
            .map(Mount)
            .map_err(|errno| MountError {
                kernel: messages(&context),
                ..failed(action(), target, errno)
            })
    }

    /// Mounts at a folder (or at a file, for a bind).
    pub fn mount(&self, target: &Path) -> Result<(), MountError> {
        self.detached(target)?.attach(target)
    }

    fn configure(&self, context: BorrowedFd<'_>) -> rustix::io::Result<()> {
        for (key, value) in &self.options {
            match value {
                None => mount::fsconfig_set_flag(context, key.as_str())?,
                Some(value) => {
                    mount::fsconfig_set_string(context, key.as_str(), value.as_slice())?;
                }
            }
        }
        mount::fsconfig_create(context)
    }
}

/// What the kernel logged on a configuration context, without its `e `, `w ` or `i `.
fn messages(context: &OwnedFd) -> String {
    let mut lines = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer)
        && length > 0
        && lines.len() < 16
    {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let text = text.trim();
        lines.push(text.get(2..).unwrap_or(text).to_owned());
    }
    lines.join("\n")
}

/// A mount that has no place yet; it is gone when dropped.
#[derive(Debug)]
pub struct Mount(OwnedFd);

impl Mount {
    /// Gives it its place.
    pub fn attach(self, target: &Path) -> Result<(), MountError> {
        mount::move_mount(
            &self.0,
            c"",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|e| failed("attach a mount at", target, e))
    }
}

impl Mount {
    /// Lets nothing be written through it.
    pub fn read_only(self) -> Result<Self, MountError> {
        let target = Path::new("a copy of a mount");
        let set = Attributes::READ_ONLY;
        set_attributes(self.0.as_fd(), c"", target, set, Attributes::NONE)?;
        Ok(self)
    }

    /// Lets what is mounted on the mount that this is a copy of, and on this, not show on each other. Where it is
    /// attached to a mount that is shared it is shared with the copies of that alone.
    pub fn private(self) -> Result<Self, MountError> {
        let attr = MountAttr {
            propagation: libc::MS_PRIVATE,
            ..MountAttr::default()
        };
        mount_setattr(self.0.as_fd(), c"", Path::new("a copy of a mount"), &attr)?;
        Ok(self)
    }

    /// Gives it a place below the mount that is on top at `target`: it shows once that one is
    /// detached, and at no moment is there nothing (Linux 6.5, `MOVE_MOUNT_BENEATH`).
    pub fn attach_beneath(self, target: &Path) -> Result<(), MountError> {
        mount::move_mount(
            &self.0,
            c"",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_BENEATH,
        )
        .map_err(|e| failed("attach a mount beneath the one at", target, e))
    }
}

impl AsFd for Mount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A copy of the mount that holds `path`, showing `path`, without a place; `recursive` takes
/// the mounts below it too.
pub fn tree(path: &Path, recursive: bool) -> Result<Mount, MountError> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    mount::open_tree(CWD, path, flags)
        .map(Mount)
        .map_err(|e| failed("take the mount of", path, e))
}

/// Shows `from` at `target` too.
pub fn bind(from: &Path, target: &Path, attributes: Attributes) -> Result<(), MountError> {
    let mount = tree(from, false)?;
    if attributes != Attributes::NONE {
        set_attributes(mount.as_fd(), c"", target, attributes, Attributes::NONE)?;
    }
    mount.attach(target)
}

/// Moves a mount to another place.
pub fn relocate(from: &Path, target: &Path) -> Result<(), MountError> {
    mount::move_mount(CWD, from, CWD, target, MoveMountFlags::empty())
        .map_err(|e| failed(format!("move {} to", from.display()), target, e))
}

/// Takes a mount away at once; what uses it keeps it until it lets go (`umount -l`).
pub fn detach(target: &Path) -> Result<(), MountError> {
    mount::unmount(target, UnmountFlags::DETACH).map_err(|e| failed("detach", target, e))
}

/// Takes a mount away; fails while it is used.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    mount::unmount(target, UnmountFlags::empty()).map_err(|e| failed("unmount", target, e))
}

/// Sets and clears flags of one mount point (not of the file system below it).
pub fn change(target: &Path, set: Attributes, clear: Attributes) -> Result<(), MountError> {
    let path = CString::new(target.as_os_str().as_bytes())
        .map_err(|_| failed("change the mount at", target, Errno::INVAL))?;
    set_attributes(CWD, &path, target, set, clear)
}

/// `struct mount_attr` of `linux/mount.h`.
#[derive(Default)]
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn set_attributes(
    at: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    target: &Path,
    set: Attributes,
    clear: Attributes,
) -> Result<(), MountError> {
    // The kernel wants the whole field of access time cleared before it is set.
    let atime = if set.0.contains(MountAttrFlags::MOUNT_ATTR_NOATIME) {
        0x70
    } else {
        0
    };
    let attr = MountAttr {
        set: set.0.bits().into(),
        clear: u64::from(clear.0.bits()) | atime,
        ..MountAttr::default()
    };
    mount_setattr(at, path, target, &attr)
}

fn mount_setattr(
    at: BorrowedFd<'_>,
    path: &std::ffi::CStr,
    target: &Path,
    attr: &MountAttr,
) -> Result<(), MountError> {
    // SAFETY: `path` ends with a zero byte and `attr` is a live `struct mount_attr` whose size
    // is given; the kernel only reads both during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            at.as_raw_fd(),
            path.as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(MountError {
        action: "change the mount at".to_owned(),
        target: target.to_owned(),
        kernel: String::new(),
        source: io::Error::last_os_error(),
    })
}

/// Reconfigures the file system that is mounted at `target`: `rw`, `ro`.
pub fn reconfigure(target: &Path, flag: &str) -> Result<(), MountError> {
    let action = || format!("set {flag} on the file system at");
    let context = mount::fspick(CWD, target, FsPickFlags::FSPICK_CLOEXEC)
        .map_err(|e| failed(action(), target, e))?;
    mount::fsconfig_set_flag(&context, flag)
        .and_then(|()| mount::fsconfig_reconfigure(&context))
        .map_err(|errno| MountError {
            kernel: messages(&context),
            ..failed(action(), target, errno)
        })
}

/// Gives the calling thread (and threads and processes that it starts later) a tree of mounts
/// of its own, from which nothing spreads back. Call it before other threads are started.
pub fn own_namespace() -> Result<(), MountError> {
    let root = Path::new("/");
    // SAFETY: CLONE_NEWNS touches no memory and no file descriptor of this process; it only
    // changes which mounts this thread sees (and, by the kernel's rule, unshares its working
    // folder and umask from other threads).
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
        .map_err(|e| failed("make a mount namespace of", root, e))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount::mount_change(root, private).map_err(|e| failed("make private", root, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Runs in a thread with its own mounts; `None` where that is not allowed.
    fn in_namespace(test: impl FnOnce(&Path) + Send + 'static) {
        let joined = std::thread::spawn(move || {
            if !rustix::process::geteuid().is_root() || own_namespace().is_err() {
                eprintln!("skipped: not root");
                return;
            }
            let dir = tempfile::tempdir().unwrap();
            Filesystem::new("tmpfs")
                .source("elea-test")
                .mount(dir.path())
                .unwrap();
            test(dir.path());
            detach(dir.path()).unwrap();
        });
        joined.join().unwrap();
    }

    #[test]
    fn a_mount_takes_the_place_of_another_without_a_gap() {
        in_namespace(|dir| {
            let names = ["lower", "old", "old-work", "new", "new-work", "etc"];
            let [lower, old, old_work, new, new_work, etc] = names.map(|name| dir.join(name));
            for folder in [&lower, &old, &old_work, &new, &new_work, &etc] {
                fs::create_dir(folder).unwrap();
            }
            let overlay = |upper: &Path, work: &Path| {
                let overlay = Filesystem::new("overlay").value("lowerdir", &lower);
                overlay.value("upperdir", upper).value("workdir", work)
            };
            fs::write(new.join("name"), "new").unwrap();
            fs::write(old.join("name"), "old").unwrap();
            overlay(&old, &old_work).mount(&etc).unwrap();
            let mut late = fs::File::create(etc.join("late")).unwrap();
            let mount = overlay(&new, &new_work).detached(&etc).unwrap();
            mount.attach_beneath(&etc).unwrap();
            assert_eq!(fs::read(etc.join("name")).unwrap(), b"old");
            detach(&etc).unwrap();
            assert_eq!(fs::read(etc.join("name")).unwrap(), b"new");
            // Who has a file of the old one open still writes there: it is looked through again.
            std::io::Write::write_all(&mut late, b"x").unwrap();
            assert_eq!(fs::read(old.join("late")).unwrap(), b"x");
            assert!(!etc.join("late").exists());
            detach(&etc).unwrap();
            assert_eq!(fs::read_dir(&etc).unwrap().count(), 0);
        });
    }

    #[test]
    fn read_only_is_of_the_mount_and_not_of_the_file_system() {
        in_namespace(|dir| {
            let (a, b) = (dir.join("a"), dir.join("b"));
            fs::create_dir(&a).unwrap();
            fs::create_dir(&b).unwrap();
            bind(&a, &b, Attributes::READ_ONLY).unwrap();
            fs::write(a.join("file"), "x").unwrap();
            let error = fs::write(b.join("other"), "x").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
            assert_eq!(fs::read(b.join("file")).unwrap(), b"x");
            change(&b, Attributes::NONE, Attributes::READ_ONLY).unwrap();
            fs::write(b.join("other"), "x").unwrap();
            change(
                &b,
                Attributes::READ_ONLY.and(Attributes::NO_ACCESS_TIME),
                Attributes::NONE,
            )
            .unwrap();
            assert!(fs::write(b.join("other"), "y").is_err());
            unmount(&b).unwrap();
            assert!(!b.join("file").exists());
        });
    }

    #[test]
    fn an_overlay_is_mounted_and_a_bad_one_says_why() {
        in_namespace(|dir| {
            for name in ["lower", "upper", "work", "at", "moved"] {
                fs::create_dir(dir.join(name)).unwrap();
            }
            fs::write(dir.join("lower/f"), "lower").unwrap();
            let overlay = Filesystem::new("overlay")
                .value("lowerdir+", dir.join("lower"))
                .value("upperdir", dir.join("upper"))
                .value("workdir", dir.join("work"));
            overlay.mount(&dir.join("at")).unwrap();
            fs::write(dir.join("at/f"), "upper").unwrap();
            assert_eq!(fs::read(dir.join("upper/f")).unwrap(), b"upper");
            assert_eq!(fs::read(dir.join("lower/f")).unwrap(), b"lower");
            relocate(&dir.join("at"), &dir.join("moved")).unwrap();
            assert_eq!(fs::read(dir.join("moved/f")).unwrap(), b"upper");
            unmount(&dir.join("moved")).unwrap();
            let bad = Filesystem::new("overlay").flag("no-such-option");
            let error = bad.mount(&dir.join("at")).unwrap_err();
            assert!(error.to_string().contains("no-such-option"), "{error}");
            let gone = Filesystem::new("no-such-fs")
                .mount(&dir.join("at"))
                .unwrap_err();
            assert!(
                gone.to_string().starts_with("cannot mount no-such-fs at"),
                "{gone}"
            );
        });
    }
}
