//! What a plugin may ask about a request besides its messages.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use hashbrown::HashMap;
use routing::table::Route;

use crate::filter::FilterContext;
use crate::message::Scheme;

/// Maximum bytes of names and values that the plugins of one request may store.
const MAX_STORED_BYTES: usize = 64 << 10;

/// The request, its connection and its route. It outlives the exchange: logs of a stream may come later.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) scheme: Scheme,
    pub(super) client: IpAddr,
    pub(super) is_http2: bool,
    pub(super) tls: Option<&'static str>,
    pub(super) request_id: RequestId,
    pub(super) received_at: SystemTime,
    pub(super) route: Option<Arc<Route>>,
    /// Properties that the plugins of this request set.
    pub(super) stored: Option<Arc<StoredProperties>>,
}

/// A copy of a request's ID.
#[derive(Clone, Debug)]
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
    pub(super) fn new(cx: &FilterContext<'_>) -> Self {
        Self {
            scheme: cx.scheme,
            client: cx.client,
            is_http2: cx.exchange.is_some_and(|exchange| exchange.is_http2),
            tls: cx.exchange.and_then(|exchange| exchange.tls),
            request_id: RequestId::new(cx.exchange.map_or(b"", |exchange| exchange.request_id)),
            received_at: SystemTime::now(),
            route: cx.exchange.and_then(|exchange| exchange.route.cloned()),
            stored: cx.stored.cloned(),
        }
    }
}

/// Properties that the plugins of one request set; later plugins of its chain read them.
#[derive(Debug, Default)]
pub struct StoredProperties(Mutex<Stored>);

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
