//! Admission: the route and the plan of a request.
//!
//! The head itself is parsed once, by [`super::destination::parse_destination`].

use std::sync::Arc;

use super::destination::find_route;
use super::reply_reason::ReplyReason;
use super::{Exchange, ExchangeError};
use crate::plan::Plan;

impl<D> Exchange<'_, D> {
    /// Finds the request's route, and applies the limits of its plan.
    pub(super) fn admit(&mut self) -> Result<Arc<Plan>, ExchangeError> {
        let destination = self.destination.map_err(ExchangeError::from)?;
        let live = self.worker.live.load();
        let route = find_route(&live.table, &destination.host, &destination.path)?;
        let plan = Arc::clone(live.plans.get(route.policy.id));
        self.route = Some(Arc::clone(route));
        if route.is_closed {
            return Err(ReplyReason::AnnotationNotHonoured.into());
        }
        self.received.max_bytes = plan.body_limit;
        if let Some(span) = plan.timeouts.request {
            self.timer.set_total_deadline(span);
        }
        Ok(plan)
    }
}
