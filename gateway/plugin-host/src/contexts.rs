//! The contexts of an instance: one root for each configuration, and one for each stream.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::event::RootIndex;
use crate::event::StreamId;
use crate::view::HttpView;

/// Maximum ended streams that wait for `proxy_done`. The oldest is deleted beyond: each pins the view of its stream.
pub(crate) const MAX_KEPT_STREAMS: usize = 256;

/// How far the end of a context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In use.
    Open,
    /// `proxy_on_done` runs.
    Asked,
    /// `proxy_on_done` returned false.
    Kept,
    /// `proxy_done` was called: `proxy_on_log` and `proxy_on_delete` follow.
    Finished,
    /// Deleted.
    Deleted,
}

/// The context of a stream.
pub(crate) struct StreamContext {
    pub(crate) root: RootIndex,
    pub(crate) view: Box<dyn HttpView>,
    pub(crate) ending: Ending,
    /// A local response was sent in this call.
    pub(crate) is_voided: bool,
    pub(crate) has_replied: bool,
    /// A further local response was sent in this call. It has no effect: the first one goes on.
    pub(crate) has_replied_again: bool,
    /// A warning about ignored edits was logged.
    pub(crate) has_warned: bool,
}

/// All contexts of an instance, and which of them a host function is about.
pub(crate) struct Contexts {
    /// Root contexts by index. The context ID is the index plus one.
    roots: Vec<Ending>,
    streams: HashMap<u32, StreamContext>,
    next: u32,
    effective: u32,
    kept: VecDeque<u32>,
    finished: Vec<u32>,
}

impl Contexts {
    pub(crate) fn new(roots: usize) -> Self {
        Self {
            roots: vec![Ending::Open; roots],
            streams: HashMap::new(),
            next: root_id(RootIndex(roots)),
            effective: 0,
            kept: VecDeque::new(),
            finished: Vec::new(),
        }
    }

    /// Adds the context of a stream. Gives the view back if the root does not exist or ends.
    pub(crate) fn insert(
        &mut self,
        root: RootIndex,
        view: Box<dyn HttpView>,
    ) -> Result<StreamId, Box<dyn HttpView>> {
        if self.roots.get(root.0) != Some(&Ending::Open) {
            return Err(view);
        }
        while self.next == 0 || self.is_known(self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let stream = StreamContext {
            root,
            view,
            ending: Ending::Open,
            is_voided: false,
            has_replied: false,
            has_replied_again: false,
            has_warned: false,
        };
        self.streams.insert(id, stream);
        Ok(StreamId(id))
    }

    pub(crate) fn remove(&mut self, stream: StreamId) -> Option<StreamContext> {
        self.streams.remove(&stream.0)
    }

    /// Begins a call for a context.
    pub(crate) fn enter(&mut self, id: u32) {
        self.effective = id;
    }

    /// Makes the rest of the call be about another context. Returns false if it is unknown.
    pub(crate) fn set_effective(&mut self, id: u32) -> bool {
        let is_known = self.is_known(id);
        if is_known {
            self.effective = id;
        }
        is_known
    }

    /// Returns the stream that host functions are about.
    pub(crate) fn effective(&self) -> Option<&StreamContext> {
        self.streams.get(&self.effective)
    }

    /// Returns the stream that host functions are about.
    pub(crate) fn effective_mut(&mut self) -> Option<&mut StreamContext> {
        self.streams.get_mut(&self.effective)
    }

    /// Returns the ID of the stream that host functions are about.
    pub(crate) fn effective_stream(&self) -> Option<StreamId> {
        self.streams.contains_key(&self.effective).then_some(StreamId(self.effective))
    }

    /// Returns the root context that host functions are about, itself or through its stream.
    pub(crate) fn effective_root(&self) -> RootIndex {
        match self.effective() {
            Some(stream) => stream.root,
            None => root_index(self.effective),
        }
    }

    pub(crate) fn get(&self, stream: StreamId) -> Option<&StreamContext> {
        self.streams.get(&stream.0)
    }

    pub(crate) fn get_mut(&mut self, stream: StreamId) -> Option<&mut StreamContext> {
        self.streams.get_mut(&stream.0)
    }

    pub(crate) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    pub(crate) fn open_streams(&self) -> impl Iterator<Item = (StreamId, &dyn HttpView)> {
        let streams = self.streams.iter().filter(|(_, stream)| stream.ending == Ending::Open);
        streams.map(|(id, stream)| (StreamId(*id), &*stream.view))
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = RootIndex> + use<> {
        (0..self.roots.len()).map(RootIndex)
    }

    /// Returns how far the end of a context is.
    pub(crate) fn ending(&self, id: u32) -> Ending {
        let root = || self.roots.get(root_index(id).0).copied();
        self.streams.get(&id).map(|stream| stream.ending).or_else(root).unwrap_or(Ending::Deleted)
    }

    pub(crate) fn set_ending(&mut self, id: u32, ending: Ending) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ending = ending;
        } else if let Some(root) = self.roots.get_mut(root_index(id).0) {
            *root = ending;
        }
    }

    /// Notes `proxy_done` for the effective context. Returns false if it does not end.
    pub(crate) fn finish_effective(&mut self) -> bool {
        let id = self.effective;
        match self.ending(id) {
            Ending::Kept => {
                self.kept.retain(|kept| *kept != id);
                self.finished.push(id);
            }
            Ending::Asked => {}
            Ending::Open | Ending::Finished | Ending::Deleted => return false,
        }
        self.set_ending(id, Ending::Finished);
        true
    }

    /// Keeps an ended context until `proxy_done`.
    pub(crate) fn keep(&mut self, id: u32) {
        self.set_ending(id, Ending::Kept);
        if self.streams.contains_key(&id) {
            self.kept.push_back(id);
        }
        if self.kept.len() > MAX_KEPT_STREAMS
            && let Some(oldest) = self.kept.pop_front()
        {
            self.set_ending(oldest, Ending::Finished);
            self.finished.push(oldest);
        }
    }

    /// Returns a context that finished since, if there is one.
    pub(crate) fn pop_finished(&mut self) -> Option<u32> {
        self.finished.pop()
    }

    fn is_known(&self, id: u32) -> bool {
        self.streams.contains_key(&id)
            || self.roots.get(root_index(id).0).is_some_and(|root| *root != Ending::Deleted)
    }
}

/// Returns the context ID of a root context.
pub(crate) fn root_id(root: RootIndex) -> u32 {
    u32::try_from(root.0 + 1).unwrap_or(u32::MAX)
}

/// Returns the index of a root context. It is out of range for context 0.
fn root_index(id: u32) -> RootIndex {
    RootIndex(usize::try_from(id).unwrap_or(0).wrapping_sub(1))
}
