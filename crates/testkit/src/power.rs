//! A power cut after any system call: what a program did to a folder is recorded as it really did it, and
//! then a file system is asked what it may have kept of it.
//!
//! strace(1) tells every call that changes the folder, with its data. [`Record`] makes of it a list of
//! changes to inodes and names, and of syncs; [`Record::state`] is what the next boot may find after a
//! prefix of that list.
//!
//! The model is the weakest one of Pillai et al., "All File Systems Are Not Created Equal: On the Complexity of
//! Crafting Crash-Consistent Applications" (OSDI 2014, the tool ALICE), as POSIX allows it and no more:
//!
//! - A change is durable once a sync that covers it has returned: `fsync` of a file its content, size
//!   and mode, and **not** its name; `fdatasync` the same without the mode; `fsync` of a folder the names
//!   in it; `syncfs` and `sync` everything.
//! - Whatever is not durable is there or not, in any combination; one change never waits for another,
//!   be it of the same file or folder. What is kept happens in the order in which it was done.
//! - One name changes in one step. A rename is one step, also between folders and over another file, and
//!   the sync of either folder makes all of it durable.
//! - The content of a file that is not durable is old, new, or a mixture by sectors of 512 bytes or blocks
//!   of 4 KiB; its size is the old one, the new one, or between; what was never written reads as zeros.
//!
//! Ext4, XFS and btrfs keep more in order than that (names of a file that is synced, all metadata by the order of
//! the journal), so that what holds here holds there. It is not asked of a disk that it writes one
//! sector in one step and tells the truth about its cache; both are assumed.

mod record;
mod state;
mod trace;

pub use record::Record;
pub use state::{Cut, State};

/// The number of an inode in a record; the folder that is watched is the first.
type Inode = usize;
/// A place for an inode: a folder, and a name in it.
type Place = (Inode, Vec<u8>);

/// A file, folder or link.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    kind: Kind,
    /// Permission bits.
    mode: u32,
    /// The content of a file, the target of a link.
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Folder,
    File,
    Link,
}

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    /// Names that change together.
    Names(Vec<(Place, Option<Inode>)>),
    Data {
        file: Inode,
        at: u64,
        bytes: Vec<u8>,
    },
    Size {
        file: Inode,
        size: u64,
    },
    Mode {
        node: Inode,
        mode: u32,
    },
    /// `fsync`, or `fdatasync` if it is for the content alone.
    Sync {
        node: Inode,
        content: bool,
    },
    SyncAll,
}
