//! A repository in a registry, by the OCI distribution specification 1.1.

use crate::http::{Failed, Http, Request, Upload, header_text};
use crate::stream::Meter;
use crate::{NetError, Options};
use elea_formats::digest::Sha256;
use elea_formats::oci::media;
use elea_formats::oci::reference::{Location, Target};
use elea_formats::oci::{Descriptor, MAX_DOCUMENT};
use elea_sys::progress::Progress;
use reqwest::blocking::Response;
use reqwest::{Method, StatusCode, header};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One repository in a registry, and the places where it is to be had.
pub struct Registry {
    location: Location,
    /// Mirrors, and last the repository itself.
    places: Vec<Place>,
    /// The first place that is still asked.
    current: AtomicUsize,
}

/// One place that is asked.
struct Place {
    http: Http,
    location: Location,
}

/// A manifest or index as it was fetched; the digest is that of its bytes.
#[derive(Debug, Clone)]
pub struct Document {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What the registry called it, if it did.
    pub media_type: Option<String>,
    /// SHA-256 of the bytes.
    pub digest: Sha256,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({})", self.location)
    }
}

impl Registry {
    /// Prepares to talk to a repository itself; nothing is sent yet.
    pub fn new(location: &Location, options: &Options) -> Result<Self, NetError> {
        Ok(Self {
            places: vec![Place::new(location, options)?],
            location: location.clone(),
            current: AtomicUsize::new(0),
        })
    }

    /// The same to read from it, by way of its mirrors. A mirror is asked once where the registry
    /// itself would be asked again and again.
    pub(crate) fn to_read(location: &Location, options: &Options) -> Result<Self, NetError> {
        let places = options.registries.places(location)?;
        let last = places.len() - 1;
        let places = places.into_iter().enumerate().map(|(at, place)| {
            let is_plain = options.plain_hosts.contains(&place.location.host);
            let options = Options {
                plain_http: options.plain_http || place.insecure || is_plain,
                attempts: if at == last { options.attempts } else { 1 },
                ..options.clone()
            };
            Place::new(&place.location, &options)
        });
        Ok(Self {
            places: places.collect::<Result<_, _>>()?,
            location: location.clone(),
            current: AtomicUsize::new(0),
        })
    }

    /// The repository, and what of it was asked for.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// How the registry itself is talked to.
    pub(crate) fn http(&self) -> &Http {
        &self.itself().http
    }

    fn itself(&self) -> &Place {
        &self.places[self.places.len() - 1]
    }

    /// The mirrors that are still asked, before the registry itself.
    fn mirrors(&self) -> impl Iterator<Item = (usize, &Place)> {
        let mirrors = self.places.iter().enumerate().take(self.places.len() - 1);
        mirrors.skip(self.place())
    }

    /// Whether to go on to the next place after a mirror's error. One that merely lacks something
    /// is asked again for the next thing.
    fn passes(&self, at: usize, error: &NetError, progress: &dyn Progress) -> bool {
        match error {
            NetError::NotFound { .. } => true,
            // Stopped, or this machine's own trouble.
            NetError::Cancelled | NetError::Path(_) | NetError::Store(_) => false,
            error => {
                self.current.fetch_max(at + 1, Ordering::Relaxed);
                let mirror = self.places[at].location.repository();
                progress.note(&format!("the mirror {mirror} is passed over: {error}"));
                true
            }
        }
    }

    /// The place that is asked first for what comes next.
    pub(crate) fn place(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Gives up a place that something wrong came from (several workers may find that out, each of
    /// the place that it asked); false if it is the registry itself.
    pub(crate) fn leave(&self, place: usize, error: &NetError, progress: &dyn Progress) -> bool {
        let lacks = matches!(error, NetError::NotFound { .. });
        place + 1 < self.places.len() && !lacks && self.passes(place, error, progress)
    }

    /// Waits before a blob is asked for again, or goes on to the next place at once; gives the
    /// error back if it is to be given up.
    pub(crate) fn pause(
        &self,
        place: usize,
        attempt: u32,
        failed: Failed,
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        if self.leave(place, failed.error(), progress) {
            return Ok(());
        }
        self.http().pause(attempt, failed, progress)
    }

    /// Fetches a manifest or index; none if there is none. One asked for by digest must have it.
    pub fn manifest(
        &self,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<Option<Document>, NetError> {
        for (at, mirror) in self.mirrors() {
            match mirror.manifest(target, progress) {
                Ok(None) => {}
                Err(error) if self.passes(at, &error, progress) => {}
                answer => return answer,
            }
        }
        self.itself().manifest(target, progress)
    }

    /// Fetches a small blob whole; `limit` is in bytes, and so is what the descriptor announces.
    pub(crate) fn small_blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<Vec<u8>, NetError> {
        let what = format!("blob sha256:{}", descriptor.digest);
        loop {
            let place = self.place();
            let read = self.http().retry(progress, || {
                let (response, _) = self.blob(descriptor, 0, progress)?;
                let stream = self.http().stream(response, &what)?;
                Ok(stream.read(limit.min(descriptor.size), progress)?)
            });
            let checked = read.and_then(|bytes| match Sha256::of(&bytes) {
                actual if actual == descriptor.digest => Ok(bytes),
                actual => Err(NetError::Digest {
                    what: what.clone(),
                    expected: descriptor.digest,
                    actual,
                }),
            });
            match checked {
                Err(error) if self.leave(place, &error, progress) => {}
                checked => return checked,
            }
        }
    }

    /// Begins to read a blob at an offset in bytes; gives the reader and the offset at which it really
    /// begins, which is 0 where the registry cannot resume. The content is not checked here.
    pub(crate) fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        progress: &dyn Progress,
    ) -> Result<(Response, u64), Failed> {
        for (at, mirror) in self.mirrors() {
            match mirror.blob(descriptor, offset, progress) {
                Err(failed) if self.passes(at, failed.error(), progress) => {}
                answer => return answer,
            }
        }
        self.itself().blob(descriptor, offset, progress)
    }

    /// Begins to read a part of a blob; none if the registry gives no parts. The content is not checked here.
    pub(crate) fn part(
        &self,
        descriptor: &Descriptor,
        range: &Range<u64>,
        progress: &dyn Progress,
    ) -> Result<Option<Response>, Failed> {
        for (at, mirror) in self.mirrors() {
            match mirror.part(descriptor, range, progress) {
                Err(failed) if self.passes(at, failed.error(), progress) => {}
                answer => return answer,
            }
        }
        self.itself().part(descriptor, range, progress)
    }

    /// Whether the repository has a blob.
    pub fn has_blob(&self, digest: &Sha256, progress: &dyn Progress) -> Result<bool, NetError> {
        let url = self.itself().path("blobs", &format!("sha256:{digest}"));
        let request = Request::new(Method::HEAD, url);
        self.http().retry(progress, || {
            let response = self
                .http()
                .send(&request, &[StatusCode::NOT_FOUND], progress)?;
            Ok(response.status() != StatusCode::NOT_FOUND)
        })
    }

    /// Uploads a blob from memory.
    pub fn put_bytes(&self, bytes: &[u8], progress: &dyn Progress) -> Result<Sha256, NetError> {
        let digest = Sha256::of(bytes);
        if !self.has_blob(&digest, progress)? {
            self.upload(&digest, Upload::Bytes(bytes), progress)?;
        }
        Ok(digest)
    }

    /// Uploads a blob from a file of `size` bytes whose SHA-256 is `digest`.
    pub fn put_file(
        &self,
        digest: &Sha256,
        path: &Path,
        size: u64,
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        let meter = &Meter::default();
        self.upload(digest, Upload::File { path, size, meter }, progress)
    }

    /// "Pushing a blob monolithically: POST then PUT". A failed PUT spoils the upload's address, so
    /// both are repeated together.
    fn upload(
        &self,
        digest: &Sha256,
        body: Upload<'_>,
        progress: &dyn Progress,
    ) -> Result<(), NetError> {
        self.http().retry(progress, || {
            let begin = Request::new(Method::POST, self.itself().path("blobs", "uploads/"))
                .body(Upload::Bytes(&[]));
            let mut url = self
                .http()
                .location(&self.http().send(&begin, &[], progress)?)?;
            url.query_pairs_mut()
                .append_pair("digest", &format!("sha256:{digest}"));
            let request = Request::new(Method::PUT, url)
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .body(body);
            self.http().send(&request, &[], progress)?;
            Ok(())
        })
    }

    /// Stores a manifest under a tag or its digest.
    pub fn put_manifest(
        &self,
        name: &str,
        media_type: &str,
        bytes: &[u8],
        progress: &dyn Progress,
    ) -> Result<Sha256, NetError> {
        let request = Request::new(Method::PUT, self.itself().path("manifests", name))
            .header(header::CONTENT_TYPE, media_type)
            .body(Upload::Bytes(bytes));
        self.http()
            .retry(progress, || self.http().send(&request, &[], progress))?;
        Ok(Sha256::of(bytes))
    }
}

impl Place {
    fn new(location: &Location, options: &Options) -> Result<Self, NetError> {
        let location = at_home(location);
        let http = Http::new(
            &location.host,
            location.is_loopback(),
            &location.repository(),
            options,
        )?;
        Ok(Self { http, location })
    }

    fn path(&self, kind: &str, name: &str) -> reqwest::Url {
        self.http
            .url(&format!("{}/{kind}/{name}", self.location.name))
    }

    fn manifest(
        &self,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<Option<Document>, NetError> {
        let name = match target {
            Target::Tag(tag) => tag.clone(),
            Target::Digest(digest) => format!("sha256:{digest}"),
        };
        let url = self.path("manifests", &name);
        let request =
            Request::new(Method::GET, url.clone()).header(header::ACCEPT, media::ACCEPT.join(", "));
        let what = format!("the manifest of {}", self.location.with(target.clone()));
        let answer = self.http.retry(progress, || {
            let response = self
                .http
                .send(&request, &[StatusCode::NOT_FOUND], progress)?;
            if response.status() == StatusCode::NOT_FOUND {
                return Ok(None);
            }
            let media_type = header_text(response.headers(), &header::CONTENT_TYPE).to_owned();
            let stream = self.http.stream(response, &what)?;
            Ok(Some((media_type, stream.read(MAX_DOCUMENT, progress)?)))
        })?;
        let Some((media_type, bytes)) = answer else {
            return Ok(None);
        };
        let digest = Sha256::of(&bytes);
        if let Target::Digest(expected) = target
            && *expected != digest
        {
            return Err(NetError::Digest {
                what,
                expected: *expected,
                actual: digest,
            });
        }
        Ok(Some(Document {
            bytes,
            media_type: Some(media_type).filter(|m| !m.is_empty()),
            digest,
        }))
    }

    fn blob(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        progress: &dyn Progress,
    ) -> Result<(Response, u64), Failed> {
        let url = self.path("blobs", &format!("sha256:{}", descriptor.digest));
        let mut request = Request::new(Method::GET, url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let also = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.http.send(&request, &also, progress)?;
        match response.status() {
            StatusCode::NOT_FOUND => Err(Failed::from(self.no_blob(descriptor))),
            StatusCode::OK => Ok((response, 0)),
            StatusCode::PARTIAL_CONTENT
                if header_text(response.headers(), &header::CONTENT_RANGE)
                    .starts_with(&format!("bytes {offset}-")) =>
            {
                Ok((response, offset))
            }
            _ if offset > 0 => self.blob(descriptor, 0, progress),
            other => Err(Failed::from(NetError::Status {
                url: response.url().to_string(),
                status: other.as_u16(),
                detail: "a whole blob was asked for".into(),
            })),
        }
    }

    fn part(
        &self,
        descriptor: &Descriptor,
        range: &Range<u64>,
        progress: &dyn Progress,
    ) -> Result<Option<Response>, Failed> {
        let url = self.path("blobs", &format!("sha256:{}", descriptor.digest));
        let place = format!("{}-{}", range.start, range.end.saturating_sub(1));
        let request =
            Request::new(Method::GET, url).header(header::RANGE, format!("bytes={place}"));
        let also = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let response = self.http.send(&request, &also, progress)?;
        let given = header_text(response.headers(), &header::CONTENT_RANGE);
        let asked = given.starts_with(&format!("bytes {place}/"));
        match response.status() {
            StatusCode::NOT_FOUND => Err(Failed::from(self.no_blob(descriptor))),
            StatusCode::PARTIAL_CONTENT if asked => Ok(Some(response)),
            _ => Ok(None),
        }
    }

    fn no_blob(&self, descriptor: &Descriptor) -> NetError {
        NetError::NotFound {
            what: format!(
                "blob sha256:{} in {}",
                descriptor.digest,
                self.location.repository()
            ),
        }
    }
}

/// Where a repository is asked for: Docker's own registry has another host than its images'
/// names, and the names of its official images have a part that nobody writes.
fn at_home(location: &Location) -> Location {
    if !matches!(location.host.as_str(), "docker.io" | "index.docker.io") {
        return location.clone();
    }
    let name = if location.name.contains('/') {
        location.name.clone()
    } else {
        format!("library/{}", location.name)
    };
    Location {
        host: "registry-1.docker.io".into(),
        name,
        target: location.target.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_own_registry_is_asked_at_its_home() {
        let shown = |host: &str, name: &str| {
            let target = Target::Tag("1".into());
            at_home(&Location {
                host: host.into(),
                name: name.into(),
                target,
            })
            .to_string()
        };
        for (host, name, wanted) in [
            (
                "docker.io",
                "debian",
                "registry-1.docker.io/library/debian:1",
            ),
            ("docker.io", "a/b", "registry-1.docker.io/a/b:1"),
            ("my.docker.io", "debian", "my.docker.io/debian:1"),
        ] {
            assert_eq!(shown(host, name), wanted);
        }
    }
}
