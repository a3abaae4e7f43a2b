//! Why the store could not do what was asked.

use elea_formats::digest::{Algorithm, Digest, Sha256};
use elea_formats::erofs::ReadError;
use elea_formats::tree::TooManyLinks;
use elea_sys::PathError;
use elea_sys::mount::MountError;
use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no store in the folder.
    #[error("{} is no store: it has no meta.json; make one by importing something, or name another folder", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// A store is not made in a folder that holds something else.
    #[error("{} is not empty, so no store is made in it; name an empty or a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The names of a store are symbolic links.
    #[error("{} cannot become a store: its file system has no symbolic links, which images and references are named by; name a folder on another", path.display())]
    NoLinks {
        /// The folder.
        path: PathBuf,
    },
    /// What is to go into a store, or to use it, names objects in another way.
    #[error("{} names its objects by {found}, and {wanted} is needed here; use another store (`elea store init --algorithm {wanted}` makes one)", path.display())]
    Algorithm {
        /// The store.
        path: PathBuf,
        /// What it has.
        found: Algorithm,
        /// What is needed.
        wanted: Algorithm,
    },
    /// `meta.json` says something that this version does not know.
    #[error("{} cannot be used: {what}", path.display())]
    Meta {
        /// The store.
        path: PathBuf,
        /// What is wrong, and what to do.
        what: String,
    },
    /// The store was made by a newer program, which knows how to write it.
    #[error("{} can only be read: it has the features {}, which this version of elea does not know; use the newer one", path.display(), features.join(", "))]
    ReadOnly {
        /// The store.
        path: PathBuf,
        /// The unknown features.
        features: Vec<String>,
    },
    /// An image's policy gives no labels.
    #[error("the SELinux policy in the image cannot be used: {reason}")]
    Policy {
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing has this name.
    #[error("the store has no image `{name}`; `elea image list` shows those that it has")]
    NoImage {
        /// A reference, a digest or the beginning of one.
        name: String,
    },
    /// An image says nothing of packages.
    #[error(
        "the image {image} has no database of dpkg, so its packages are not known; bills are made of images of Debian and its like"
    )]
    NoPackages {
        /// The image.
        image: Digest,
    },
    /// Several images begin so.
    #[error("{count} images begin with `{name}`; write more digits")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// A reference has a name that cannot be one.
    #[error(
        "`{name}` cannot be the name of a reference: 1 to 200 bytes without control characters are needed, and not a digest"
    )]
    RefName {
        /// The name.
        name: String,
    },
    /// An object's content is not what its name says.
    #[error("{} is damaged: its content is {found}; `elea store fsck --repair` fetches it again", path.display())]
    Damaged {
        /// The object.
        path: PathBuf,
        /// The fs-verity digest of what is there.
        found: Digest,
    },
    /// The store's folder cannot be written to by whoever asks.
    #[error("the store {} can only be read: {source}; write to it as its owner, or name another by `--store`", path.display())]
    NotWritable {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A tree names an object that is not in the store.
    #[error("the object {digest} is not in the store; import what holds it again")]
    NoObject {
        /// The object.
        digest: Digest,
    },
    /// A tree that came without contents names objects that are not in the store.
    #[error("{count} of the objects that the tree names are not in the store: {}{}; import or pull what holds them first", first.join(", "), if *count > first.len() { ", …" } else { "" })]
    NoObjects {
        /// The first of them, each with a path that names it.
        first: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// A file is larger than the caller reads.
    #[error("{what} has {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The file.
        what: String,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file was written to while it was imported.
    #[error("{} changed while it was read; stop what writes to it and import again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An image's bytes are not an image.
    #[error("the image {digest} cannot be read: {source}")]
    Image {
        /// The image.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: ReadError,
    },
    /// A document of the store is not valid.
    #[error("{} is not valid: {source}", path.display())]
    Document {
        /// The document; inside an image, its path there.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// A path inside a tree leads nowhere in more than 40 links.
    #[error(transparent)]
    Links(#[from] TooManyLinks),
    /// An entry of an archive that is not taken.
    #[error("the archive's entry `{entry}` {reason}")]
    Entry {
        /// Its name; bytes that are not printable are escaped.
        entry: String,
        /// What is wrong, as the end of a sentence.
        reason: String,
    },
    /// An archive that cannot be read.
    #[error("the archive cannot be read: {reason}")]
    Archive {
        /// What is wrong, and where.
        reason: String,
    },
    /// A layer's bytes are not those that its digest names.
    #[error("the layer sha256:{wanted} has other content (sha256:{found}); fetch it again")]
    Blob {
        /// What it should be.
        wanted: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// A layer of a kind that is not read.
    #[error("a layer of the media type `{media_type}` cannot be read")]
    MediaType {
        /// What it says that it is.
        media_type: String,
    },
    /// A tree holds something that an archive or a layer cannot.
    #[error("`{path}` cannot be exported: {reason}")]
    Export {
        /// The path in the tree.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A layer cannot be put together of its parts; as a whole it may still be good.
    #[error("the layer cannot be put together of its parts: {reason}")]
    Parts {
        /// What is wrong.
        reason: String,
    },
    /// A program that writes for us is not on this machine.
    #[error("there is no `{program}` on this machine; install {package}")]
    NoProgram {
        /// The program.
        program: &'static str,
        /// The package that has it, by its name in Debian.
        package: &'static str,
    },
    /// A program that writes for us did not do it, or not all of it.
    #[error("`{program}` did not write it: {said}")]
    Program {
        /// The program.
        program: &'static str,
        /// The last that it said, or how it ended.
        said: String,
    },
    /// The store's file system has too little room.
    #[error("{} has {available} bytes free, and {needed} are needed; free some, or collect with `elea gc`", path.display())]
    NoSpace {
        /// The store.
        path: PathBuf,
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        available: u64,
    },
    /// The threads that work could not be started.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// A mount failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The person asked to stop; nothing is half done.
    #[error("cancelled")]
    Cancelled,
}
