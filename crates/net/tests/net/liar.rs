//! A server that lies until it is told to be honest.

use crate::fixture::{Place, anything, options, reference};
use crate::server::{Asked, Reply, Repository, Server};
use elea_formats::oci::reference::Reference;
use elea_net::{Offer, Pulled, push};
use elea_sys::progress::Silent;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A way to spoil an honest answer.
type Lie = dyn Fn(&Asked, Reply, usize) -> Reply + Send + Sync;

/// A server that lies until it is told to be honest.
pub(crate) struct Liar {
    pub(crate) server: Server,
    honest: Arc<AtomicBool>,
    /// The large layer's path.
    pub(crate) large: String,
    _source: Place,
}

impl Liar {
    /// `lie` gets the request, the honest answer, and how many requests came for that path before.
    pub(crate) fn new(lie: impl Fn(&Asked, Reply, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::boxed(Box::new(lie))
    }

    fn boxed(lie: Box<Lie>) -> Self {
        let source = Place::new();
        let image = source.system("hello", "1.0", 0);
        let layout = source.path("layout");
        let to = reference(&format!("oci:{}:1.0", layout.display()));
        push(&image.image, &source.store, &to, &options(), None, &Silent).unwrap();
        let offer = source.check(&to, &anything()).unwrap();
        let large = offer.layers.iter().max_by_key(|l| l.size).unwrap();
        let repository = Repository::new(&layout);
        let honest = Arc::new(AtomicBool::new(false));
        let before = std::sync::Mutex::new(std::collections::BTreeMap::new());
        Self {
            large: format!("/v2/hello/blobs/sha256:{}", large.digest),
            server: Server::start({
                let honest = honest.clone();
                move |asked| {
                    let reply = repository.answer(asked);
                    if honest.load(Ordering::SeqCst) {
                        return reply;
                    }
                    let count = {
                        let mut before = before.lock().unwrap();
                        let count: &mut usize = before.entry(asked.path.clone()).or_default();
                        *count += 1;
                        *count - 1
                    };
                    lie(asked, reply, count)
                }
            }),
            honest,
            _source: source,
        }
    }

    pub(crate) fn reference(&self) -> Reference {
        reference(&format!("registry:{}/hello:1.0", self.server.host()))
    }

    /// Takes the lie away, and sees whether another try works.
    pub(crate) fn comes_right(&self, place: &Place) -> Pulled {
        place.assert_empty();
        self.honest.store(true, Ordering::SeqCst);
        let pulled = place.pull(&self.reference(), &anything()).unwrap();
        assert!(place.partial().is_empty());
        pulled
    }

    pub(crate) fn offer(&self, place: &Place) -> Offer {
        place.check(&self.reference(), &anything()).unwrap()
    }
}

/// A liar about its large layer alone.
pub(crate) fn about_the_large_layer(
    lie: impl Fn(Reply, usize) -> Reply + Send + Sync + 'static,
) -> Liar {
    let lengths = AtomicUsize::new(0);
    Liar::new(move |asked, reply, count| {
        let large = asked.path.contains("/blobs/") && reply.body.len() > 1 << 20;
        if large || lengths.load(Ordering::SeqCst) > 0 && asked.headers.contains_key("range") {
            lengths.store(1, Ordering::SeqCst);
            return lie(reply, count);
        }
        reply
    })
}
