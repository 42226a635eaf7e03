//! The values of the metrics page that only a Reload has.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::object::Name;

use super::Reload;
use crate::observe::control_metrics::ControlSample;

impl Reload {
    /// Returns the present values. The cost grows with the table and the number of endpoints.
    pub fn sample(&self) -> ControlSample {
        let mut problems = BTreeMap::new();
        for problem in self.problems.all() {
            *problems.entry(problem.reason.to_string()).or_default() += 1;
        }
        let live = self.live.load();
        ControlSample {
            problems,
            ingresses: Arc::clone(&live.ingresses),
            generation: live.generation,
            published_at: self.published_at,
            table_hash: live.table.digest(),
            certificates: self.secrets.expiries().map(|(name, expiry)| (Name::clone(name), expiry)).collect(),
            endpoints: self.endpoints_by_state(),
            watches: Vec::new(),
        }
    }

    /// Counts endpoints as EndpointSlices have them: an endpoint in two slices counts twice.
    fn endpoints_by_state(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::from([("ready", 0), ("terminating", 0), ("unready", 0)]);
        for endpoint in self.compiler.slices().flat_map(|slice| &slice.endpoints) {
            let state = match (endpoint.terminating, endpoint.ready) {
                (true, _) => "terminating",
                (false, true) => "ready",
                (false, false) => "unready",
            };
            *counts.entry(state).or_default() += 1;
        }
        counts
    }
}
