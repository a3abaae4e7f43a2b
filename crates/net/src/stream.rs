//! Requests and answers that can be left at any moment.
//!
//! The client blocks, at the worst for the whole time that a server may be silent. So each
//! wait is in a thread of its own, and the caller looks every few moments whether the person
//! asked to stop. A thread that is left ends with its connection.

use crate::NetError;
use crate::http::connection;
use elea_sys::At as _;
use elea_sys::progress::Progress;
use reqwest::Url;
use reqwest::blocking::{Body, RequestBuilder, Response};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often a wait looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// How much is read at once, in bytes.
const PIECE: usize = 128 << 10;
/// How many pieces are read ahead.
const AHEAD: usize = 4;
/// A server that brings fewer bytes than this in a window is given up.
const SLOWEST: u64 = 16 << 10;

/// What is known of an upload while it goes on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Bytes of this attempt that the client took.
    sent: AtomicU64,
    /// The most bytes that were told to the listener.
    told: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    /// A body that is read from a file of `size` bytes and counted here.
    pub(crate) fn body(&self, path: &Path, size: u64) -> Result<Body, NetError> {
        self.0.sent.store(0, Ordering::SeqCst);
        let file = File::open(path).at("open", path)?;
        let metered = Metered {
            file,
            counts: self.0.clone(),
        };
        Ok(Body::sized(metered, size))
    }

    /// Tells the listener of what was sent since; a repeated attempt counts once.
    fn tell(&self, progress: &dyn Progress) {
        let sent = self.0.sent.load(Ordering::SeqCst);
        let told = self.0.told.fetch_max(sent, Ordering::SeqCst);
        if sent > told {
            progress.advance(sent - told);
        }
    }
}

struct Metered {
    file: File,
    counts: Arc<Counts>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.counts.stop.load(Ordering::SeqCst) {
            return Err(io::Error::other("the upload was stopped"));
        }
        let count = self.file.read(buffer)?;
        self.counts.sent.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }
}

/// Sends a request and waits for the head of the answer.
pub(crate) fn perform(
    builder: RequestBuilder,
    url: &Url,
    meter: Option<&Meter>,
    progress: &dyn Progress,
) -> Result<Response, NetError> {
    let (sender, receiver) = sync_channel(1);
    spawn(url, move || {
        // The caller may have left.
        let _ = sender.send(builder.send());
    })?;
    loop {
        let answer = wait(&receiver, progress);
        if let Some(meter) = meter {
            meter.tell(progress);
        }
        match answer {
            Ok(Some(answer)) => return answer.map_err(|e| connection("reach", url, &e)),
            Ok(None) => {}
            Err(error) => {
                if let Some(meter) = meter {
                    meter.0.stop.store(true, Ordering::SeqCst);
                }
                return Err(error.unwrap_or_else(|| ended(url)));
            }
        }
    }
}

/// One look: a value, nothing yet, or the end (with an error if the person asked for it).
fn wait<T>(receiver: &Receiver<T>, progress: &dyn Progress) -> Result<Option<T>, Option<NetError>> {
    match receiver.recv_timeout(LOOK) {
        Ok(value) => Ok(Some(value)),
        Err(RecvTimeoutError::Disconnected) => Err(None),
        Err(RecvTimeoutError::Timeout) if progress.cancelled() => Err(Some(NetError::Cancelled)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
    }
}

fn spawn(url: &Url, work: impl FnOnce() + Send + 'static) -> Result<(), NetError> {
    std::thread::Builder::new()
        .name("elea-net".into())
        .spawn(work)
        .map(|_| ())
        .map_err(|e| connection("reach", url, &e))
}

fn ended(url: &Url) -> NetError {
    connection("read", url, &io::Error::from(io::ErrorKind::BrokenPipe))
}

/// The content of an answer, piece by piece.
#[derive(Debug)]
pub(crate) struct Stream {
    receiver: Receiver<io::Result<Vec<u8>>>,
    url: Url,
    what: String,
    /// How long a server may stay below [`SLOWEST`].
    window: Duration,
    began: Instant,
    /// Bytes since `began`.
    got: u64,
}

impl Stream {
    /// Begins to read; `what` is for messages.
    pub(crate) fn new(response: Response, what: &str, window: Duration) -> Result<Self, NetError> {
        let url = response.url().clone();
        let (sender, receiver) = sync_channel(AHEAD);
        spawn(&url, move || pump(response, &sender))?;
        Ok(Self {
            receiver,
            url,
            what: what.to_owned(),
            window,
            began: Instant::now(),
            got: 0,
        })
    }

    /// The next piece; none at the end.
    pub(crate) fn next(&mut self, progress: &dyn Progress) -> Result<Option<Vec<u8>>, NetError> {
        loop {
            if progress.cancelled() {
                return Err(NetError::Cancelled);
            }
            let piece = match wait(&self.receiver, progress) {
                Ok(None) => continue,
                Ok(Some(piece)) => piece.map_err(|e| connection("read", &self.url, &e))?,
                Err(error) => return Err(error.unwrap_or_else(|| ended(&self.url))),
            };
            if piece.is_empty() {
                return Ok(None);
            }
            self.got += piece.len() as u64;
            if self.began.elapsed() >= self.window {
                if self.got < SLOWEST {
                    return Err(NetError::Slow {
                        what: self.what.clone(),
                        got: self.got,
                        window: self.window,
                    });
                }
                self.began = Instant::now();
                self.got = 0;
            }
            return Ok(Some(piece));
        }
    }

    /// All of it, which must not be more than `limit` bytes.
    pub(crate) fn read(mut self, limit: u64, progress: &dyn Progress) -> Result<Vec<u8>, NetError> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next(progress)? {
            if bytes.len() as u64 + piece.len() as u64 > limit {
                return Err(NetError::TooLarge {
                    what: self.what,
                    limit,
                });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }
}

/// Reads until the end, an error, or nobody listens any more. The end is an empty piece.
fn pump(mut response: Response, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let piece = match response.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map(|count| {
                piece.truncate(count);
                piece
            }),
        };
        let last = piece.as_ref().map_or(true, Vec::is_empty);
        if sender.send(piece).is_err() || last {
            return;
        }
    }
}
