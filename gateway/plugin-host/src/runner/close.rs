//! The end of contexts.

use std::time::Instant;

use super::Runner;
use crate::action::CallToken;
use crate::contexts::Ending;
use crate::contexts::root_id;
use crate::error::CallError;
use crate::event::StreamId;

impl Runner {
    /// Ends a stream. Its context is kept if `proxy_on_done` says so. A trap is kept for [`Self::take_trap`].
    pub(crate) fn close(&mut self, stream: StreamId) {
        if !self.is_open(stream) {
            return;
        }
        let result = self.end(stream.0).and_then(|()| self.settle()).and_then(|()| self.report_cancelled());
        if result.is_err() {
            self.vm.host_mut().contexts.remove(stream);
        }
    }

    /// Ends the root contexts. Returns true once all of them are deleted or the instance is dead.
    pub(crate) fn stop(&mut self) -> bool {
        let roots: Vec<_> = self.vm.host().contexts.roots().map(root_id).collect();
        for root in &roots {
            if self.vm.host().contexts.ending(*root) == Ending::Open && self.end(*root).is_err() {
                return true;
            }
        }
        let is_settled = self.settle().is_ok();
        !is_settled || roots.iter().all(|root| self.is_deleted(*root))
    }

    /// Forgets the callouts of a stream and returns their tokens. The guest sees them fail when the stream has ended.
    pub(crate) fn cancel_callouts(&mut self, stream: StreamId) -> Vec<CallToken> {
        let cancelled = self.vm.host_mut().callouts.remove_of(stream);
        if cancelled.is_empty() {
            return Vec::new();
        }
        let pending = cancelled.iter().map(|(token, callout)| (*token, callout.kind, callout.root));
        self.cancelled.extend(pending);
        if !self.is_open(stream) {
            // A trap is kept for `take_trap`.
            let _ = self.report_cancelled();
        }
        cancelled.into_iter().map(|(token, _)| token).collect()
    }

    /// Deletes the contexts that finished in a call. What takes longer than a call may is left to the next one.
    pub(super) fn settle(&mut self) -> Result<(), CallError> {
        let mut began_at = None;
        while let Some(id) = self.vm.host_mut().contexts.pop_finished() {
            let began_at = *began_at.get_or_insert_with(Instant::now);
            self.delete(id)?;
            if began_at.elapsed() > self.vm.host().config.limits.call {
                break;
            }
        }
        Ok(())
    }

    /// Returns true if a context does not exist any more.
    pub(super) fn is_deleted(&self, id: u32) -> bool {
        self.vm.host().contexts.ending(id) == Ending::Deleted
    }

    fn is_open(&self, stream: StreamId) -> bool {
        self.vm.host().contexts.get(stream).is_some_and(|context| context.ending == Ending::Open)
    }

    fn report_cancelled(&mut self) -> Result<(), CallError> {
        if self.cancelled.is_empty() {
            return Ok(());
        }
        self.deliver_cancelled()?;
        self.settle()
    }

    /// Asks the guest to end a context, and deletes it if it agrees.
    fn end(&mut self, id: u32) -> Result<(), CallError> {
        self.vm.host_mut().contexts.set_ending(id, Ending::Asked);
        let answer = self.vm.call_if(self.exports.done.as_ref(), id, id)?;
        // A guest may call `proxy_done` at once and return false.
        let is_finished = self.vm.host().contexts.ending(id) == Ending::Finished;
        if answer == Some(0) && !is_finished {
            self.vm.host_mut().contexts.keep(id);
            return Ok(());
        }
        self.delete(id)
    }

    /// Logs and deletes a context.
    fn delete(&mut self, id: u32) -> Result<(), CallError> {
        self.vm.host_mut().contexts.set_ending(id, Ending::Finished);
        self.vm.call_if(self.exports.log.as_ref(), id, id)?;
        self.vm.call_if(self.exports.delete.as_ref(), id, id)?;
        let contexts = &mut self.vm.host_mut().contexts;
        if contexts.remove(StreamId(id)).is_none() {
            contexts.set_ending(id, Ending::Deleted);
        }
        Ok(())
    }
}
