//! Plans: merged policies compiled for the data plane.
//!
//! Control builds one [`Plan`] for each distinct policy and publishes all of them with the table, so a request reads
//! its limits instead of working them out. Not here: which policy a route has (`routing`), what filters do
//! (`filter`).

use std::sync::Arc;

use routing::{Policy, PolicyId};

use crate::filter::plugin::{PluginSet, UnavailablePlugin};
use crate::filter::{self, Chain, Filter};
use crate::settings::Settings;

mod timeouts;
mod upstream;

pub use timeouts::{Timeouts, effective_timeout};
pub use upstream::{ConnectTimeouts, UpstreamPolicy};

/// What the data plane does with the requests of routes that have the same policy.
#[derive(Debug)]
pub struct Plan {
    /// Connecting, balancing and retries.
    pub upstream: UpstreamPolicy,
    /// Timeouts of the exchange.
    pub timeouts: Timeouts,
    /// Maximum bytes of a request body. Larger requests get a 413. `u64::MAX`: no limit.
    pub body_limit: u64,
    /// The filters of the policy; `None` if it asks for none.
    pub chain: Option<Arc<Chain>>,
}

impl Plan {
    /// Compiles what a policy sets, and the settings where it is silent. `further` are filters
    /// besides those of the policy's own fields.
    pub fn new(policy: &Policy, settings: &Settings, further: Vec<Arc<dyn Filter>>) -> Self {
        let mut filters = filter::from_policy(policy);
        filters.extend(further);
        Self {
            upstream: UpstreamPolicy::new(&policy.spec, settings),
            timeouts: Timeouts::new(&policy.spec, settings),
            body_limit: policy.spec.body_size.map_or(u64::MAX, |size| size.0),
            chain: Chain::new(filters).map(Arc::new),
        }
    }
}

/// The plans of a table's policies. Clones share them.
#[derive(Clone, Debug)]
pub struct Plans {
    /// The plan of routes on which no policy sets a field.
    default: Arc<Plan>,
    /// By [`PolicyId`].
    by_policy: Arc<[Arc<Plan>]>,
}

impl Plans {
    /// Returns the plan of a policy of the same table.
    pub fn get(&self, policy: PolicyId) -> &Arc<Plan> {
        self.by_policy.get(policy.index()).unwrap_or(&self.default)
    }
}

/// Builds plans, off the workers.
#[derive(Clone, Debug, Default)]
pub struct Planner {
    settings: Arc<Settings>,
    custom: Vec<Arc<dyn Filter>>,
    /// Loaded plugins.
    pub plugins: PluginSet,
}

impl Planner {
    /// Begins with the process's settings. `custom` are filters that every route gets besides those of its policy:
    /// for programs that embed the gateway, and for tests.
    pub fn new(settings: Arc<Settings>, custom: Vec<Arc<dyn Filter>>) -> Self {
        Self { settings, custom, plugins: PluginSet::default() }
    }

    /// Begins with the default settings, for commands that compile a table and serve no request. Plugins let all requests
    /// pass.
    pub fn offline() -> Self {
        Self { plugins: PluginSet::bypassed(), ..Self::default() }
    }

    /// Returns the plans of a table without policies.
    pub fn empty(&mut self) -> Plans {
        Plans { default: Arc::new(self.plan(&Policy::default())), by_policy: Arc::default() }
    }

    /// Returns the plans of a table that has some more policies than the one of `plans`, or the same ones with other
    /// plugins.
    pub fn extend(&mut self, plans: &Plans, new: &[Arc<Policy>]) -> Plans {
        if new.is_empty() {
            return plans.clone();
        }
        let count =
            new.iter().map(|policy| policy.id.index() + 1).max().unwrap_or(0).max(plans.by_policy.len());
        let mut by_policy = plans.by_policy.to_vec();
        by_policy.resize_with(count, || Arc::clone(&plans.default));
        for policy in new {
            if let Some(slot) = by_policy.get_mut(policy.id.index()) {
                *slot = Arc::new(self.plan(policy));
            }
        }
        Plans { default: Arc::clone(&plans.default), by_policy: by_policy.into() }
    }

    fn plan(&mut self, policy: &Policy) -> Plan {
        let missing =
            policy.missing_plugin.iter().map(|_| Arc::new(UnavailablePlugin::missing()) as Arc<dyn Filter>);
        let plugins = policy.plugins.iter().map(|plugin| self.plugins.filter(plugin));
        let further = missing.chain(plugins).chain(self.custom.iter().cloned()).collect();
        Plan::new(policy, &self.settings, further)
    }
}

#[cfg(test)]
mod tests {
    use api::ByteSize;

    use super::*;

    fn policy(id: u32, bytes: u64) -> Arc<Policy> {
        let mut policy = Policy::default();
        policy.id = PolicyId(id);
        policy.spec.body_size = Some(ByteSize(bytes));
        Arc::new(policy)
    }

    #[test]
    fn plans_are_found_by_policy_number() {
        let mut planner = Planner::new(Arc::default(), Vec::new());
        let empty = planner.empty();
        let first = planner.extend(&empty, &[policy(0, 1), policy(3, 30)]);
        let second = planner.extend(&first, &[policy(3, 31), policy(1, 10)]);
        let limits = |plans: &Plans| [0, 1, 2, 3, 9].map(|id| plans.get(PolicyId(id)).body_limit);
        assert_eq!(limits(&empty), [u64::MAX; 5]);
        assert_eq!(limits(&first), [1, u64::MAX, u64::MAX, 30, u64::MAX]);
        assert_eq!(limits(&second), [1, 10, u64::MAX, 31, u64::MAX]);
        assert!(Arc::ptr_eq(first.get(PolicyId(0)), second.get(PolicyId(0))));
    }
}
