//! A small HTTP server that serves an OCI layout as a repository, or lies about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a client asks.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    /// The first bytes that it sends along.
    pub(crate) body: Vec<u8>,
}

/// What it gets.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// After how many bytes of the body the connection is cut.
    pub(crate) cut: Option<usize>,
    /// A pause before each kilobyte.
    pub(crate) pause: Duration,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), kind.into())],
            body: body.into(),
            cut: None,
            pause: Duration::ZERO,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A server on a free port of loopback, ended when it is dropped.
pub(crate) struct Server {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers each request by `answer`.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(answer, false)
    }

    /// Answers so too, but reads no upload while it lives.
    pub(crate) fn stalling(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(answer, true)
    }

    fn new(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static, stalls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let thread = std::thread::spawn({
            let (stop, asked) = (stop.clone(), asked.clone());
            move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (answer, asked) = (answer.clone(), asked.clone());
                    let stall = stalls.then(|| stop.clone());
                    std::thread::spawn(move || {
                        let _ = serve(&stream.unwrap(), &*answer, &asked, stall.as_deref());
                    });
                }
            }
        });
        Self {
            port,
            stop,
            thread: Some(thread),
            asked,
        }
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests had a path that contains `part`.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked()
            .iter()
            .filter(|a| a.path.contains(part))
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request on one connection.
fn serve(
    stream: &TcpStream,
    answer: &dyn Fn(&Asked) -> Reply,
    asked: &Mutex<Vec<Asked>>,
    stall: Option<&AtomicBool>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let mut request = Asked {
        method: words.next().unwrap_or_default().into(),
        path: words.next().unwrap_or_default().into(),
        headers: BTreeMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            request
                .headers
                .insert(name.to_ascii_lowercase(), value.trim().into());
        }
    }
    while request.method == "PUT" && stall.is_some_and(|stop| !stop.load(Ordering::SeqCst)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let length = request.headers.get("content-length");
    let length: u64 = length.and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = reader.take(length);
    (&mut body).take(4096).read_to_end(&mut request.body)?;
    std::io::copy(&mut body, &mut std::io::sink())?;
    asked.lock().unwrap().push(request.clone());
    send(stream, &request, &answer(&request))
}

fn send(mut stream: &TcpStream, request: &Asked, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!(
        "HTTP/1.1 {} X\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method != "HEAD" {
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len()).min(reply.body.len())];
        if reply.pause.is_zero() {
            stream.write_all(body)?;
        } else {
            for piece in body.chunks(1024) {
                std::thread::sleep(reply.pause);
                stream.write_all(piece)?;
            }
        }
    }
    stream.flush()?;
    stream.shutdown(Shutdown::Both)
}

/// An OCI layout served as the repository `hello`.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    layout: PathBuf,
}

impl Repository {
    pub(crate) fn new(layout: &Path) -> Self {
        Self {
            layout: layout.to_owned(),
        }
    }

    /// The honest answer.
    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        let missing = || Reply::new(404, "application/json", "{}");
        let Some((kind, name)) = asked
            .path
            .strip_prefix("/v2/hello/")
            .and_then(|rest| rest.split_once('/'))
        else {
            return missing();
        };
        let digest = match name.strip_prefix("sha256:") {
            Some(digest) => digest.to_owned(),
            None => match self.tag(name) {
                Some(digest) => digest,
                None => return missing(),
            },
        };
        let Ok(body) = fs::read(self.layout.join("blobs/sha256").join(digest)) else {
            return missing();
        };
        if kind == "manifests" {
            return Reply::new(200, "application/vnd.oci.image.manifest.v1+json", body);
        }
        let range = asked.headers.get("range").and_then(|range| {
            let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let last = last.parse().unwrap_or(body.len() - 1);
            Some((start.parse::<usize>().ok()?, last.min(body.len() - 1)))
        });
        match range {
            Some((start, last)) if start <= last => {
                let range = format!("bytes {start}-{last}/{}", body.len());
                Reply::new(206, "application/octet-stream", &body[start..=last])
                    .header("content-range", range)
            }
            Some(_) => Reply::new(416, "application/octet-stream", ""),
            None => Reply::new(200, "application/octet-stream", body),
        }
    }

    fn tag(&self, tag: &str) -> Option<String> {
        let text = fs::read_to_string(self.layout.join("index.json")).ok()?;
        let index: serde_json::Value = serde_json::from_str(&text).ok()?;
        let entry = index["manifests"].as_array()?.iter().find(|m| {
            m["annotations"]["org.opencontainers.image.ref.name"].as_str() == Some(tag)
        })?;
        Some(
            entry["digest"]
                .as_str()?
                .strip_prefix("sha256:")?
                .to_owned(),
        )
    }
}
