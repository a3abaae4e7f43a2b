//! What goes wrong between machines.

use elea_formats::digest::Sha256;
use elea_formats::oci::OciError;
use elea_store::trust::{KeyError, Refusal};
use elea_sys::PathError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why something was not fetched or pushed.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection, or it broke.
    #[error("cannot {action} {url}: {reason}")]
    Connection {
        /// What was tried, as a verb: "reach", "read".
        action: &'static str,
        /// The address.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// An answer that is not the one asked for.
    #[error("{url} answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Status {
        /// The address.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// What the registry says of it, cut short.
        detail: String,
    },
    /// A web page.
    #[error("{url} answered {status} with {content_type}; is it a registry?")]
    NotRegistry {
        /// The address.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// The media type of the answer.
        content_type: String,
    },
    /// There is no such thing.
    #[error("there is no {what}")]
    NotFound {
        /// What was asked for: "image localhost:5000/hello:9".
        what: String,
    },
    /// The registry wants other credentials.
    #[error(
        "{url} refuses access ({status}){}; credentials are read from the files of `podman login` and `docker login`, or --auth-file",
        if *had_credentials { " with the credentials that were given" } else { "" }
    )]
    Denied {
        /// The address.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether credentials were sent.
        had_credentials: bool,
    },
    /// A program that keeps credentials failed.
    #[error("`{program} get`, which credentials are to come from, failed: {reason}")]
    Helper {
        /// The program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// A file about registries is malformed.
    #[error("{} makes no sense (containers-registries.conf(5)): {reason}", path.display())]
    RegistriesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Images of that place are not to be used on this machine.
    #[error("{what} is blocked by {}", path.display())]
    Blocked {
        /// What was asked for.
        what: String,
        /// The file that blocks it.
        path: PathBuf,
    },
    /// The credentials file is malformed.
    #[error("{} does not hold credentials: {reason}", path.display())]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The CA file is malformed.
    #[error("{} does not hold certificates: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A redirect that is not followed.
    #[error("{url} sends to `{to}`: {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it sends.
        to: String,
        /// Why that is not followed.
        reason: &'static str,
    },
    /// More than was announced or is allowed.
    #[error("{what} has more than the {limit} bytes that it may have")]
    TooLarge {
        /// What was read.
        what: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Less than was announced.
    #[error("{what} ended after {got} of {size} bytes; another try resumes there")]
    Truncated {
        /// What was read.
        what: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were announced.
        size: u64,
    },
    /// A server that gives a few bytes now and then.
    #[error("{what} comes too slowly: {got} bytes in {} seconds; another try resumes there", window.as_secs())]
    Slow {
        /// What was read.
        what: String,
        /// Bytes that came in the window.
        got: u64,
        /// The window.
        window: Duration,
    },
    /// Other content than the one that was named.
    #[error(
        "{what} has the SHA-256 {actual}, not {expected}; it was changed or damaged on its way"
    )]
    Digest {
        /// What was read.
        what: String,
        /// The digest by which it was asked for.
        expected: Sha256,
        /// The digest that it has.
        actual: Sha256,
    },
    /// A document is malformed.
    #[error("{what}: {source}")]
    Document {
        /// Where it came from.
        what: String,
        /// What is wrong with it.
        #[source]
        source: OciError,
    },
    /// No image for this machine in an index.
    #[error(
        "{what} has no image for linux/{architecture}; it has {}",
        list(offered)
    )]
    Platform {
        /// The index.
        what: String,
        /// This machine's architecture, as Go names it.
        architecture: String,
        /// What it has instead, the first few.
        offered: Vec<String>,
    },
    /// An index that names an index.
    #[error("{what} is an index of indexes, which is not read")]
    Nested {
        /// The reference.
        what: String,
    },
    /// A manifest of another size than the index says.
    #[error(
        "the manifest {digest} of {what} has {actual} bytes, and its index says {announced}; it was put together wrongly"
    )]
    Size {
        /// The reference.
        what: String,
        /// The manifest.
        digest: Sha256,
        /// Bytes that the index announces.
        announced: u64,
        /// Bytes that it has.
        actual: u64,
    },
    /// The image must not be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The layers do not make the image that was signed.
    #[error(
        "the layers of {what} make the image {made}, and {expected} was signed; it is not what its signer made"
    )]
    Image {
        /// The reference.
        what: String,
        /// The image that the signature or label names.
        expected: String,
        /// The image that was made from the layers.
        made: String,
    },
    /// Beside an image stands another one than it names.
    #[error("{what} is the image {found}, and the specialisation {name} is {expected}")]
    Beside {
        /// The reference.
        what: String,
        /// The name of the specialisation.
        name: String,
        /// The image that is named.
        expected: String,
        /// The image that was found.
        found: String,
    },
    /// A specialisation cannot be pushed along.
    #[error(
        "the image names the specialisation {name}, {image}, and that is not in this store; `elea build` makes it, `elea image pull` brings it"
    )]
    Absent {
        /// Its name.
        name: String,
        /// Its image.
        image: String,
    },
    /// A layer's content is not what the config says.
    #[error(
        "layer sha256:{blob} of {what} unpacks to sha256:{actual}, and its config says sha256:{expected}; it was put together wrongly"
    )]
    DiffId {
        /// The reference.
        what: String,
        /// The layer.
        blob: Sha256,
        /// What the config says.
        expected: Sha256,
        /// The digest of what came out.
        actual: Sha256,
    },
    /// The config does not fit the manifest.
    #[error("{what} has {layers} layers, and its config names {named}")]
    Layers {
        /// The reference.
        what: String,
        /// Layers in the manifest.
        layers: usize,
        /// Digests in the config.
        named: usize,
    },
    /// A label or member of the config that should be a digest.
    #[error("the config of {what} has `{label}` where a digest belongs")]
    NoDigest {
        /// The reference.
        what: String,
        /// What is there, cut short.
        label: String,
    },
    /// The release in the image is malformed.
    #[error("the release in {what} (/usr/lib/elea/release.json) is not valid: {source}")]
    Release {
        /// The reference.
        what: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The label and the signature name different images.
    #[error("the label of {what} names the image {label}, and {signed} was signed")]
    Label {
        /// The reference.
        what: String,
        /// What the label says.
        label: String,
        /// What the signature says.
        signed: String,
    },
    /// After a push, something else is served.
    #[error(
        "{what} was pushed as sha256:{pushed}, and {} is served; does someone else push there?",
        served.map_or("nothing".to_owned(), |digest| format!("sha256:{digest}"))
    )]
    Served {
        /// The reference.
        what: String,
        /// The manifest that was pushed.
        pushed: Sha256,
        /// The manifest that is served.
        served: Option<Sha256>,
    },
    /// A form that this version cannot make.
    #[error("{what} was sealed in the form `{form}`, which this version does not make")]
    Form {
        /// The reference.
        what: String,
        /// The form.
        form: String,
    },
    /// The file system is too full.
    #[error(
        "{} has {} MB free and {} MB are needed; `elea store gc` frees what nothing names",
        path.display(), free / 1_000_000, needed.div_ceil(1_000_000)
    )]
    Space {
        /// The store.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A layout or archive is not one.
    #[error("{} is not an OCI layout with one such image: {reason}", path.display())]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A reference that cannot be pulled from or pushed to.
    #[error("`{reference}` cannot be {verb}; registry:, oci: and (for pulling) oci-archive: can")]
    Transport {
        /// The reference.
        reference: String,
        /// "pulled" or "pushed to".
        verb: &'static str,
    },
    /// Signing failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file could not be read or written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store failed.
    #[error(transparent)]
    Store(elea_store::Error),
    /// The file system became full in the middle.
    #[error(
        "{} is full; what was fetched is kept, so make room (`elea store gc`) and try again", path.display()
    )]
    Full {
        /// The store.
        path: PathBuf,
    },
    /// The person asked to stop.
    #[error("stopped; what came or went so far is kept, and another try goes on from there")]
    Cancelled,
}

/// A few things, or the word for none.
fn list(things: &[String]) -> String {
    match things {
        [] => "none at all".into(),
        things => things.join(", "),
    }
}

impl From<elea_store::Error> for NetError {
    fn from(error: elea_store::Error) -> Self {
        match error {
            elea_store::Error::Cancelled => Self::Cancelled,
            elea_store::Error::Blob { wanted, found } => Self::Digest {
                what: format!("layer sha256:{wanted}"),
                expected: wanted,
                actual: found,
            },
            other => Self::Store(other),
        }
    }
}

impl NetError {
    /// Whether the image itself failed a check (exit code 5), as opposed to the way to it.
    pub fn is_verification(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Digest { .. }
                | Self::Image { .. }
                | Self::Beside { .. }
                | Self::Label { .. }
                | Self::Layers { .. }
                | Self::DiffId { .. }
                | Self::Size { .. }
                | Self::Store(elea_store::Error::Damaged { .. })
        )
    }

    /// Says of a full file system that the store is full, whoever met it first.
    pub(crate) fn in_store(self, store: &Path) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&self);
        while let Some(error) = cause {
            let full = error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
            let path_full = error
                .downcast_ref::<PathError>()
                .is_some_and(|e| e.kind() == io::ErrorKind::StorageFull);
            if full || path_full {
                return Self::Full {
                    path: store.to_owned(),
                };
            }
            cause = error.source();
        }
        self
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Truncated { .. } | Self::Slow { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}
