//! One HTTP client for one registry: authentication, redirects, retries and limits.

mod client;
mod login;

use crate::auth::{Credentials, Login};
use crate::stream::{Meter, Stream, perform};
use crate::{NetError, Options};
use client::client;
use elea_sys::progress::Progress;
use reqwest::blocking::{Client, Response};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How many redirects are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// The longest pause between two attempts, whatever a server asks for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The largest error answer or token that is read, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// A client for one registry.
pub(crate) struct Http {
    client: Client,
    base: Url,
    options: Options,
    credentials: Option<Credentials>,
    /// What a helper said, once it was asked.
    login_known: OnceLock<Option<Login>>,
    /// The `Authorization` that was got last.
    authorization: Mutex<Option<HeaderValue>>,
    /// Held while one is got, so that parallel requests do not all ask for one.
    login: Mutex<()>,
}

/// One request, which can be made again.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(HeaderName, String)>,
    pub(crate) body: Upload<'a>,
}

/// An attempt that failed, and how long the server asks to wait before the next.
pub(crate) struct Failed {
    error: Box<NetError>,
    after: Option<Duration>,
}

impl Failed {
    /// Why.
    pub(crate) fn error(&self) -> &NetError {
        &self.error
    }
}

impl<E: Into<NetError>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self {
            error: Box::new(error.into()),
            after: None,
        }
    }
}

/// What is sent along.
#[derive(Clone, Copy)]
pub(crate) enum Upload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    File {
        path: &'a Path,
        size: u64,
        meter: &'a Meter,
    },
}

impl<'a> Request<'a> {
    pub(crate) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Upload::Nothing,
        }
    }

    pub(crate) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Upload<'a>) -> Self {
        self.body = body;
        self
    }
}

impl Http {
    /// A client for the registry at `host`; `repository` chooses the credentials.
    pub(crate) fn new(
        host: &str,
        loopback: bool,
        repository: &str,
        options: &Options,
    ) -> Result<Self, NetError> {
        let plain = options.plain_http || (loopback && options.ca_file.is_none());
        let scheme = if plain { "http" } else { "https" };
        let base = format!("{scheme}://{host}/v2/");
        let base = Url::parse(&base).map_err(|e| NetError::Connection {
            action: "reach",
            url: base,
            reason: e.to_string(),
        })?;
        Ok(Self {
            client: client(host, loopback, plain, options)?,
            base,
            options: options.clone(),
            credentials: Credentials::find(options, repository)?,
            login_known: OnceLock::new(),
            authorization: Mutex::new(None),
            login: Mutex::new(()),
        })
    }

    /// The address of something below `/v2/`.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{path}"));
        url
    }

    /// What an upload's `Location` means, relative to the address that answered with it.
    pub(crate) fn location(&self, response: &Response) -> Result<Url, NetError> {
        let url = response.url();
        let text = header_text(response.headers(), &header::LOCATION);
        url.join(text)
            .ok()
            .filter(|to| !text.is_empty() && self.may_go(to))
            .ok_or_else(|| NetError::Redirect {
                url: url.to_string(),
                to: text.chars().take(200).collect(),
                reason: "that is no address to upload to",
            })
    }

    /// Does something until it succeeds, within the attempts of the options; only what may succeed
    /// a moment later is tried again.
    pub(crate) fn retry<T>(
        &self,
        progress: &dyn Progress,
        mut work: impl FnMut() -> Result<T, Failed>,
    ) -> Result<T, NetError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match work() {
                Ok(value) => return Ok(value),
                Err(failed) => self.pause(attempt, failed, progress)?,
            }
        }
    }

    /// Waits before the next attempt, longer each time; gives the error back if there is to be none.
    pub(crate) fn pause(
        &self,
        attempt: u32,
        failed: Failed,
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        if attempt >= self.options.attempts || !failed.error.is_transient() {
            return Err(*failed.error);
        }
        let doubled = self.options.backoff * (1 << (attempt - 1).min(10));
        let pause = failed.after.unwrap_or(doubled).min(MAX_PAUSE);
        progress.note(&format!("{}; trying again", failed.error));
        let end = Instant::now() + pause;
        while Instant::now() < end {
            if progress.cancelled() {
                return Err(NetError::Cancelled);
            }
            std::thread::sleep(Duration::from_millis(50).min(pause));
        }
        Ok(())
    }

    /// Makes a request once, with authentication and redirects; the answer is success or `expected`.
    pub(crate) fn send(
        &self,
        request: &Request<'_>,
        expected: &[StatusCode],
        progress: &dyn Progress,
    ) -> Result<Response, Failed> {
        let mut url = request.url.clone();
        let mut logged_in = false;
        let mut redirects = 0;
        loop {
            let sent = self.authorization();
            let response = self.transmit(request, &url, sent.clone(), progress)?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && !logged_in && self.is_ours(&url) {
                logged_in = true;
                if self.answer_challenge(&response, sent.as_ref(), progress)? {
                    continue;
                }
            }
            if status.is_redirection() && request.is_safe() {
                redirects += 1;
                url = self.follow(&response, redirects)?;
                continue;
            }
            let busy = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
            if is_page(&response) && !busy {
                return Err(Failed::from(NetError::NotRegistry {
                    url: shown(&url),
                    status: status.as_u16(),
                    content_type: header_text(response.headers(), &header::CONTENT_TYPE).into(),
                }));
            }
            if status.is_success() || expected.contains(&status) {
                return Ok(response);
            }
            let seconds = header_text(response.headers(), &header::RETRY_AFTER).parse();
            return Err(Failed {
                after: seconds.ok().map(Duration::from_secs),
                error: Box::new(self.refusal(response, &url, progress)),
            });
        }
    }

    fn transmit(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<HeaderValue>,
        progress: &dyn Progress,
    ) -> Result<Response, NetError> {
        let mut builder = self.client.request(request.method.clone(), url.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        if let Some(value) = authorization.filter(|_| self.is_ours(url)) {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder = match request.body {
            Upload::Nothing => builder,
            Upload::Bytes(bytes) => builder.body(bytes.to_vec()),
            Upload::File { path, size, meter } => {
                // The client's time limit counts silence; for an upload it would count all of it.
                let slowest = Duration::from_secs(60 + size / (64 << 10));
                builder.body(meter.body(path, size)?).timeout(slowest)
            }
        };
        let meter = match request.body {
            Upload::File { meter, .. } => Some(meter),
            Upload::Nothing | Upload::Bytes(_) => None,
        };
        perform(builder, url, meter, progress)
    }

    /// The content of an answer; a server may be as slow as it may be silent.
    pub(crate) fn stream(&self, response: Response, what: &str) -> Result<Stream, NetError> {
        Stream::new(response, what, self.options.idle_timeout)
    }

    /// Where a redirect goes, if it may be followed.
    fn follow(&self, response: &Response, redirects: usize) -> Result<Url, NetError> {
        let url = response.url();
        let text = header_text(response.headers(), &header::LOCATION);
        let fail = |reason| NetError::Redirect {
            url: shown(url),
            to: text.chars().take(200).collect(),
            reason,
        };
        if redirects > MAX_REDIRECTS {
            return Err(fail("that is one redirect too many"));
        }
        let to = url.join(text).map_err(|_| fail("that is not an address"))?;
        if !self.may_go(&to) {
            return Err(fail("that would leave TLS"));
        }
        Ok(to)
    }

    /// Whether an address may be asked at all: TLS, or plain HTTP where the registry itself uses it.
    fn may_go(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => true,
            "http" => self.base.scheme() == "http",
            _ => false,
        }
    }

    /// Whether an address is the registry's own: only there the `Authorization` goes.
    fn is_ours(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// The error of an answer that is not success.
    fn refusal(&self, response: Response, url: &Url, progress: &dyn Progress) -> NetError {
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return NetError::Denied {
                url: shown(url),
                status: status.as_u16(),
                had_credentials: matches!(self.login_known.get(), Some(Some(_))),
            };
        }
        // What it says is a help; the status stands without it.
        let bytes = self
            .stream(response, "the error")
            .and_then(|stream| stream.read(MAX_ANSWER, progress))
            .unwrap_or_default();
        NetError::Status {
            url: shown(url),
            status: status.as_u16(),
            detail: error_detail(&bytes),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Request<'_> {
    /// Whether the request changes nothing, so that it may follow a redirect.
    fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// A header's value, empty if it is absent or not text.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn is_page(response: &Response) -> bool {
    header_text(response.headers(), &header::CONTENT_TYPE).starts_with("text/html")
}

/// An address without its query, which may hold a signature or token.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// What a registry's JSON says of an error (distribution specification, "Error Codes").
fn error_detail(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(bytes) else {
        return String::new();
    };
    let text: Vec<_> = answer
        .errors
        .iter()
        .take(3)
        .map(|e| format!("{} ({})", e.message, e.code))
        .collect();
    text.join("; ")
        .chars()
        .filter(|c| !c.is_control())
        .take(300)
        .collect()
}

/// The error of a connection that failed, with the innermost reason.
pub(crate) fn connection(
    action: &'static str,
    url: &Url,
    error: &(dyn std::error::Error + 'static),
) -> NetError {
    NetError::Connection {
        action,
        url: shown(url),
        reason: reason(error),
    }
}

fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
