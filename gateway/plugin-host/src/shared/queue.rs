//! Shared queues: items from any instance of a namespace, announced to the instance that registered last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use super::lock;
use crate::event::RootIndex;
use crate::waker::Waker;

/// Maximum items of a queue. Adding more fails.
pub(crate) const MAX_ITEMS: usize = 1024;

/// Maximum bytes of a queue's items. Adding more fails.
pub(crate) const MAX_ITEMS_BYTES: usize = 512 << 10;

/// Why an operation on a queue fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueError {
    Unknown,
    Empty,
    Full,
}

/// A queue.
pub(super) struct Queue {
    id: u32,
    namespace: Arc<str>,
    name: Box<[u8]>,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    items: VecDeque<Bytes>,
    bytes: usize,
    /// Items that were added and not announced yet.
    notices: usize,
    /// The last one receives the notices.
    registrars: Vec<Registrar>,
}

/// An instance that registered a queue.
pub(super) struct Registrar {
    pub(super) instance: u64,
    pub(super) root: RootIndex,
    pub(super) waker: Waker,
}

impl Queue {
    pub(super) fn new(id: u32, namespace: &Arc<str>, name: &[u8]) -> Self {
        Self { id, namespace: Arc::clone(namespace), name: name.into(), state: Mutex::default() }
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Makes an instance receive the notices.
    pub(super) fn register(&self, registrar: Registrar) {
        let mut state = lock(&self.state);
        state.registrars.retain(|known| known.instance != registrar.instance);
        state.registrars.push(registrar);
    }

    /// Forgets an instance. Another one receives the notices that are left.
    pub(super) fn unregister(&self, instance: u64) {
        let mut state = lock(&self.state);
        state.registrars.retain(|known| known.instance != instance);
        let waker = if state.notices > 0 { state.waker() } else { None };
        drop(state);
        wake(waker);
    }

    /// Adds an item and wakes the instance that receives the notices.
    pub(super) fn push(&self, item: &[u8]) -> Result<(), QueueError> {
        let mut state = lock(&self.state);
        if state.items.len() >= MAX_ITEMS || state.bytes.saturating_add(item.len()) > MAX_ITEMS_BYTES {
            return Err(QueueError::Full);
        }
        state.items.push_back(Bytes::copy_from_slice(item));
        state.bytes += item.len();
        state.notices += 1;
        let waker = state.waker();
        drop(state);
        wake(waker);
        Ok(())
    }

    pub(super) fn pop(&self) -> Result<Bytes, QueueError> {
        let mut state = lock(&self.state);
        let item = state.items.pop_front().ok_or(QueueError::Empty)?;
        state.bytes -= item.len();
        Ok(item)
    }

    /// Takes one notice, if the instance receives them and items are left. Returns the root context that registered.
    pub(super) fn pop_notice(&self, instance: u64) -> Option<RootIndex> {
        let mut state = lock(&self.state);
        state.notices = state.notices.min(state.items.len());
        let root = state.registrars.last().filter(|last| last.instance == instance)?.root;
        state.notices = state.notices.checked_sub(1)?;
        Some(root)
    }
}

impl QueueState {
    fn waker(&self) -> Option<Waker> {
        self.registrars.last().map(|registrar| registrar.waker.clone())
    }
}

/// Wakes outside of the queue's lock.
fn wake(waker: Option<Waker>) {
    if let Some(Waker(wake)) = waker {
        wake();
    }
}
