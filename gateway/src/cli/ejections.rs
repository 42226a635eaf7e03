//! Ejected endpoints, as the admin pages, `explain` and the metrics show them.

use std::collections::BTreeMap;

use crate::data::upstream::SharedUpstreams;
use crate::data::upstream::ejection::EjectedEndpoint;
use crate::observe::ejection_metrics::EjectionSample;

/// Returns the endpoint of a Service, by the texts that a view prints.
pub(crate) fn find<'a>(
    ejected: &'a [EjectedEndpoint],
    service: &str,
    address: &str,
) -> Option<&'a EjectedEndpoint> {
    let address = address.parse().ok()?;
    ejected.iter().find(|endpoint| endpoint.address == address && endpoint.service.to_string() == service)
}

/// Returns the cause of an ejection, and when it is probed.
pub(crate) fn describe(endpoint: &EjectedEndpoint) -> String {
    let cause = endpoint.cause.as_str();
    match endpoint.probe_in.as_millis().div_ceil(1000) {
        0 => format!("{cause}, probed by the next request"),
        seconds => format!("{cause}, probed in {seconds} s"),
    }
}

/// Returns the values for the metrics.
pub(crate) fn sample(upstreams: &SharedUpstreams) -> EjectionSample {
    let totals = upstreams.ejection_counts();
    let mut present: BTreeMap<_, u64> = totals.iter().map(|row| (row.service.clone(), 0)).collect();
    for endpoint in upstreams.ejected() {
        *present.entry(endpoint.service).or_default() += 1;
    }
    let totals = totals.into_iter().map(|row| (row.service, row.cause.as_str(), row.count));
    EjectionSample { totals: totals.collect(), present: present.into_iter().collect() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use routing::object::Name;

    use super::*;
    use crate::data::upstream::ejection::FailureCause;

    #[test]
    fn description_has_the_cause_and_whole_seconds() {
        let mut endpoint = EjectedEndpoint {
            service: Name::new("shop", "web"),
            address: ([10, 0, 0, 1], 80).into(),
            cause: FailureCause::Closed,
            probe_in: Duration::ZERO,
        };
        assert_eq!(describe(&endpoint), "upstream_closed, probed by the next request");
        endpoint.probe_in = Duration::from_millis(1_001);
        assert_eq!(describe(&endpoint), "upstream_closed, probed in 2 s");
        let all = [endpoint];
        assert!(find(&all, "shop/web", "10.0.0.1:80").is_some());
        assert!(find(&all, "shop/api", "10.0.0.1:80").is_none());
        assert!(find(&all, "shop/web", "10.0.0.1:81").is_none());
    }
}
