//! Admission: the route and the plan of a request.
//!
//! The head itself is parsed once, by [`super::destination::parse_destination`].

use std::sync::Arc;

use super::destination::{HeadParts, check_method, find_route};
use super::reply_reason::ReplyReason;
use super::{Exchange, ExchangeError};
use crate::data::drain::Phase;
use crate::live::Live;
use crate::plan::Plan;

impl<D> Exchange<'_, D> {
    /// Finds the request's route, and applies the limits of its plan.
    pub(super) fn admit(&mut self) -> Result<Arc<Plan>, ExchangeError> {
        let live = self.worker.live.load();
        if let Some(reply) = self.health_reply(&live) {
            return Err(reply.into());
        }
        let destination = self.destination.map_err(ExchangeError::from)?;
        check_method(self.request.head, self.worker.settings.requests.trace)?;
        let request = HeadParts(self.request.head);
        let route = find_route(&live.table, &destination.host, &destination.path, &request)?;
        let plan = Arc::clone(live.plans.get(route.policy.id));
        self.route = Some(Arc::clone(route));
        if route.is_closed {
            return Err(ReplyReason::AnnotationNotHonoured.into());
        }
        if self.worker.pressure.is_critical() {
            return Err(ReplyReason::MemoryExhausted.into());
        }
        self.received.max_bytes = plan.body_limit;
        if let Some(span) = plan.timeouts.request {
            self.timer.set_total_deadline(span);
        }
        Ok(plan)
    }

    /// Returns the reply to the health check of a load balancer, or `None` for all other requests.
    fn health_reply(&self, live: &Live) -> Option<ReplyReason> {
        let path = self.worker.settings.requests.health_path.as_ref()?;
        let head = self.request.head;
        if head.path() != path.as_bytes() || !matches!(head.method(), b"GET" | b"HEAD") {
            return None;
        }
        let is_ready = live.generation > 0 && self.worker.drain.phase() == Phase::Serving;
        Some(if is_ready { ReplyReason::HealthCheck } else { ReplyReason::NotReady })
    }
}
