//! What a plugin may ask about a request besides its messages.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hashbrown::HashMap;
use http1::Head;
use routing::table::Route;

use super::maps::ResponseSource;
use crate::filter::FilterContext;
use crate::message::{Original, Scheme, forwarded_target};

/// Maximum bytes of names and values that the plugins of one request may store.
const MAX_STORED_BYTES: usize = 64 << 10;

/// What the plugins of one request share. Empty until a plugin is called.
#[derive(Debug, Default)]
pub struct SharedFacts {
    request: OnceCell<Arc<Facts>>,
    /// The present response.
    response: OnceCell<Arc<ResponseSource>>,
}

impl SharedFacts {
    /// Forgets the response, since another one takes its place.
    pub(in crate::filter) fn forget_response(&mut self) {
        self.response.take();
    }

    /// Returns the response that the plugins of a request share.
    pub(super) fn response(cx: &FilterContext<'_>, original: Original<'_>) -> Arc<ResponseSource> {
        let new = || Arc::new(ResponseSource::new(original));
        cx.facts.map_or_else(new, |shared| Arc::clone(shared.response.get_or_init(new)))
    }
}

/// The request, its connection and its route. It outlives the exchange: logs of a stream may come later.
#[derive(Debug)]
pub(super) struct Facts {
    /// The request head as the client sent it.
    pub(super) request: Head,
    /// The target that the endpoint gets if it is not the client's, since that has dot segments.
    pub(super) target: Option<Box<[u8]>>,
    pub(super) scheme: Scheme,
    pub(super) client: IpAddr,
    pub(super) is_http2: bool,
    pub(super) tls: Option<&'static str>,
    pub(super) request_id: RequestId,
    pub(super) received_at: SystemTime,
    pub(super) route: Option<Arc<Route>>,
    /// Properties that the plugins of this request set.
    pub(super) stored: StoredProperties,
}

/// A copy of a request's ID.
#[derive(Debug)]
pub(super) struct RequestId {
    bytes: [u8; 32],
    len: usize,
}

impl RequestId {
    fn new(id: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let len = id.len().min(bytes.len());
        for (slot, byte) in bytes.iter_mut().zip(id) {
            *slot = *byte;
        }
        Self { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Facts {
    /// Returns the facts that the plugins of a request share.
    pub(super) fn of(cx: &FilterContext<'_>) -> Arc<Self> {
        let new = || Arc::new(Self::new(cx));
        cx.facts.map_or_else(new, |shared| Arc::clone(shared.request.get_or_init(new)))
    }

    /// Returns the target that the endpoint gets without edits: plugins decide about the path that is served.
    pub(super) fn target(&self) -> &[u8] {
        self.target.as_deref().unwrap_or(self.request.target())
    }

    fn new(cx: &FilterContext<'_>) -> Self {
        let (path, query) = forwarded_target(cx.request, cx.path);
        let is_unchanged = query.is_empty() && path == cx.request.target();
        Self {
            target: (!is_unchanged).then(|| [path, query].concat().into()),
            request: cx.request.clone(),
            scheme: cx.scheme,
            client: cx.client,
            is_http2: cx.exchange.is_some_and(|exchange| exchange.is_http2),
            tls: cx.exchange.and_then(|exchange| exchange.tls),
            request_id: RequestId::new(cx.exchange.map_or(b"", |exchange| exchange.request_id)),
            received_at: SystemTime::now(),
            route: cx.exchange.and_then(|exchange| exchange.route.cloned()),
            stored: StoredProperties::default(),
        }
    }
}

/// Properties that the plugins of one request set; later plugins of its chain read them.
#[derive(Debug, Default)]
pub(super) struct StoredProperties(Mutex<Stored>);

#[derive(Debug, Default)]
struct Stored {
    values: HashMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

impl StoredProperties {
    /// Stores a value. Returns false if there is no space for it.
    pub(super) fn set(&self, path: &[u8], value: &[u8]) -> bool {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = stored.values.get(path).map_or(0, |value| path.len() + value.len());
        let bytes = stored.bytes - before + path.len() + value.len();
        if bytes > MAX_STORED_BYTES {
            return false;
        }
        stored.bytes = bytes;
        stored.values.insert(path.into(), value.into());
        true
    }

    /// Returns a copy of a value.
    pub(super) fn get(&self, path: &[u8]) -> Option<Vec<u8>> {
        let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.values.get(path).map(|value| value.to_vec())
    }
}
