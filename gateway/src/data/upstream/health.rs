//! The health of endpoints (outlier detection), which all workers share.
//!
//! An endpoint that refuses connections, or fails several requests in a row, is ejected for a time that doubles with
//! each ejection. One probe then checks it. The state is one value of atomics for each address; a healthy endpoint costs
//! a request two loads.
//!
//! Whether an address accepts connections is a fact, which all Services with that address share. What else fails may be
//! due to the requests or the timeouts of one Service, so it counts for that Service only. Not here: how many endpoints may be ejected (`balance`), and probes (`connect`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::ConnectError;

/// Duration of the first ejection in milliseconds. Each further ejection lasts twice as long.
const BASE_EJECTION_MS: u64 = 1_000;

/// Maximum ejection of an endpoint that accepts no connection, in milliseconds. It gets requests within 10 s of its
/// recovery. The probe costs no request, since it is a separate connect.
const MAX_UNREACHABLE_EJECTION_MS: u64 = 8_000;

/// Maximum ejection of an endpoint that fails requests, in milliseconds. Longer, since the probe is a client's request.
const MAX_FAILING_EJECTION_MS: u64 = 60_000;

/// Failed requests in a row after which an endpoint is ejected (Envoy's outlier detection: 5).
const MAX_CONSECUTIVE_FAILURES: u32 = 5;

/// Milliseconds without an ejection after which the duration starts at [`BASE_EJECTION_MS`] again.
const EJECTION_RESET_MS: u64 = 60_000;

/// Milliseconds after which a probe without a result is abandoned, and another one may start.
const PROBE_TIMEOUT_MS: u64 = 5_000;

/// Minimum timeout of a connect whose failure is a fact about the address. A RoutePolicy can set less, and then learns of
/// its own timeout. 800 ms is the default of `timeouts.connect`.
const MIN_SHARED_TIMEOUT: Duration = Duration::from_millis(800);

/// Milliseconds in which several failed connects are one observation: all that one tick of the workers' clocks can see.
const OBSERVATION_MS: u64 = 50;

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EjectionCause {
    /// It refuses connections or does not accept them in time.
    Unreachable,
    /// It accepts connections, but sends no response in time, an invalid one, or closes the connection.
    Failing,
}

/// Whether an endpoint gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthStatus {
    /// It gets requests.
    Healthy,
    /// It gets none.
    Ejected(EjectionCause),
    /// It gets none, but the caller that succeeds with [`Health::try_claim_probe`] probes it.
    ProbeDue(EjectionCause),
}

/// The health of one endpoint, as a Service port knows it.
#[derive(Debug, Default)]
pub(super) struct EndpointHealth {
    /// What all Services with the address share: whether it accepts connections, and the requests in flight.
    address: Arc<AddressHealth>,
    /// What the requests of this Service found.
    service: Arc<Health>,
}

/// What all Services with an address share.
#[derive(Debug, Default)]
pub(super) struct AddressHealth {
    health: Health,
    /// Requests without a complete response.
    in_flight: AtomicU32,
}

/// The health of one endpoint, as one observer knows it. Times are milliseconds since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failed requests since the last response.
    failures: AtomicU32,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// 0 while the endpoint is healthy, otherwise [`Ejection::pack`].
    ejection: AtomicU64,
    /// The end of the last ejection.
    last_ejection_end: AtomicU64,
    /// Until then, a failed connect is part of the observation that caused the last ejection.
    observed_until: AtomicU64,
}

/// An ejection. Packed into one number, so that it changes atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ejection {
    until: u64,
    fault: EjectionCause,
    /// Whether a probe runs, at most until `until`.
    is_probing: bool,
}

// ===== impl Ejection =====

impl Ejection {
    fn pack(self) -> u64 {
        (self.until.max(1) << 2)
            | (u64::from(self.fault == EjectionCause::Failing) << 1)
            | u64::from(self.is_probing)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let fault = if packed & 2 == 0 { EjectionCause::Unreachable } else { EjectionCause::Failing };
        (packed != 0).then_some(Self { until: packed >> 2, fault, is_probing: packed & 1 == 1 })
    }
}

// ===== impl EndpointHealth =====

impl EndpointHealth {
    pub(super) fn new(address: Arc<AddressHealth>, service: Arc<Health>) -> Self {
        Self { address, service }
    }

    /// Returns the status at `now`.
    pub(super) fn status(&self, now: u64) -> HealthStatus {
        match self.address.health.status(now) {
            HealthStatus::Healthy => self.service.status(now),
            status @ (HealthStatus::Ejected(_) | HealthStatus::ProbeDue(_)) => status,
        }
    }

    /// Returns true if the caller must probe the endpoint. Of concurrent callers one succeeds.
    pub(super) fn try_claim_probe(&self, now: u64) -> bool {
        match self.address.health.status(now) {
            HealthStatus::Healthy => self.service.try_claim_probe(now),
            HealthStatus::Ejected(_) => false,
            HealthStatus::ProbeDue(_) => self.address.health.try_claim_probe(now),
        }
    }

    /// Records an accepted connection.
    pub(super) fn on_connected(&self) {
        self.address.health.readmit(EjectionCause::Unreachable);
        self.service.readmit(EjectionCause::Unreachable);
    }

    /// Records that a connect was refused, or was not accepted within `timeout`.
    pub(super) fn on_connect_failure(&self, error: ConnectError, timeout: Duration, now: u64) {
        let is_own_timeout = error == ConnectError::TimedOut && timeout < MIN_SHARED_TIMEOUT;
        let observer = if is_own_timeout { &self.service } else { &self.address.health };
        observer.on_failure(EjectionCause::Unreachable, now);
    }

    /// Records that the machine of the endpoint acknowledges no data.
    pub(super) fn on_peer_dead(&self, now: u64) {
        self.address.health.on_failure(EjectionCause::Unreachable, now);
    }

    /// Records a response.
    pub(super) fn on_response(&self) {
        self.service.on_response();
    }

    /// Records a request without a valid response.
    pub(super) fn on_request_failure(&self, now: u64) {
        self.service.on_failure(EjectionCause::Failing, now);
    }

    /// Returns the requests in flight of all workers and Services.
    pub(super) fn in_flight(&self) -> u32 {
        self.address.in_flight.load(Relaxed)
    }

    /// Counts a request in flight.
    pub(super) fn on_request_start(&self) {
        self.address.in_flight.fetch_add(1, Relaxed);
    }

    /// Removes a request in flight.
    pub(super) fn on_request_end(&self) {
        self.address.in_flight.fetch_sub(1, Relaxed);
    }
}

// ===== impl Health =====

impl Health {
    /// Returns the status at `now`.
    fn status(&self, now: u64) -> HealthStatus {
        match Ejection::unpack(self.ejection.load(Relaxed)) {
            None => HealthStatus::Healthy,
            Some(ejection) if ejection.until > now => HealthStatus::Ejected(ejection.fault),
            Some(ejection) => HealthStatus::ProbeDue(ejection.fault),
        }
    }

    /// Returns true if the caller must probe the endpoint. Of concurrent callers one succeeds.
    fn try_claim_probe(&self, now: u64) -> bool {
        let packed = self.ejection.load(Relaxed);
        let Some(ejection) = Ejection::unpack(packed).filter(|ejection| ejection.until <= now) else {
            return false;
        };
        let probing = Ejection { until: now + PROBE_TIMEOUT_MS, is_probing: true, ..ejection };
        self.ejection.compare_exchange(packed, probing.pack(), Relaxed, Relaxed).is_ok()
    }

    /// Records a response.
    fn on_response(&self) {
        // Conditional, since an unconditional store would move the cache line between cores.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.readmit(EjectionCause::Failing);
    }

    /// Records a failure. An unreachable endpoint is ejected at once, a failing one after
    /// [`MAX_CONSECUTIVE_FAILURES`].
    fn on_failure(&self, fault: EjectionCause, now: u64) {
        let packed = self.ejection.load(Relaxed);
        match Ejection::unpack(packed) {
            // The request began before the ejection.
            Some(ejection) if !ejection.is_probing && ejection.until > now => return,
            // The probe of an unreachable endpoint is a connect, and that of a failing one is a request.
            Some(ejection) if ejection.is_probing => {}
            // After an ejection, until the probe, an endpoint gets requests if too many others are ejected, too.
            Some(_) | None
                if fault == EjectionCause::Failing
                    && self.failures.fetch_add(1, Relaxed) + 1 < MAX_CONSECUTIVE_FAILURES =>
            {
                return;
            }
            Some(_) | None => {}
        }
        // Connects that were in flight together fail together, also if one of them succeeds meanwhile.
        if fault == EjectionCause::Unreachable && now < self.observed_until.load(Relaxed) {
            return;
        }
        if now > self.last_ejection_end.load(Relaxed).saturating_add(EJECTION_RESET_MS) {
            self.ejections.store(0, Relaxed);
        }
        let max_ms = match fault {
            EjectionCause::Unreachable => MAX_UNREACHABLE_EJECTION_MS,
            EjectionCause::Failing => MAX_FAILING_EJECTION_MS,
        };
        let span = (BASE_EJECTION_MS << self.ejections.load(Relaxed).min(16)).min(max_ms);
        let ejection = Ejection { until: now + span, fault, is_probing: false };
        if self.ejection.compare_exchange(packed, ejection.pack(), Relaxed, Relaxed).is_ok() {
            self.ejections.fetch_add(1, Relaxed);
            self.failures.store(0, Relaxed);
            self.last_ejection_end.store(now + span, Relaxed);
            if fault == EjectionCause::Unreachable {
                self.observed_until.store(now + OBSERVATION_MS, Relaxed);
            }
        }
    }

    fn readmit(&self, fault: EjectionCause) {
        let packed = self.ejection.load(Relaxed);
        if Ejection::unpack(packed).is_some_and(|ejection| ejection.fault == fault) {
            // A concurrent change is newer.
            let _ = self.ejection.compare_exchange(packed, 0, Relaxed, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreachable_endpoint_is_ejected_for_doubling_times() {
        let health = Health::default();
        let mut now = 5_000;
        for span in [1_000, 2_000, 4_000, 8_000, 8_000] {
            health.on_failure(EjectionCause::Unreachable, now);
            assert_eq!(health.status(now + span - 1), HealthStatus::Ejected(EjectionCause::Unreachable));
            now += span;
            assert_eq!(health.status(now), HealthStatus::ProbeDue(EjectionCause::Unreachable));
            assert!(health.try_claim_probe(now) && !health.try_claim_probe(now), "one probe");
            assert_eq!(health.status(now), HealthStatus::Ejected(EjectionCause::Unreachable));
        }
        health.readmit(EjectionCause::Unreachable);
        assert_eq!(health.status(now), HealthStatus::Healthy);
        health.on_failure(EjectionCause::Unreachable, now + 9_000);
        assert_eq!(
            health.status(now + 16_000),
            HealthStatus::Ejected(EjectionCause::Unreachable),
            "the duration is not reset yet"
        );
        health.readmit(EjectionCause::Unreachable);
        health.on_failure(EjectionCause::Unreachable, now + 200_000);
        assert_eq!(
            health.status(now + 201_000),
            HealthStatus::ProbeDue(EjectionCause::Unreachable),
            "the duration is reset"
        );
    }

    #[test]
    fn failing_endpoint_is_ejected_after_five_failures_in_a_row() {
        let health = Health::default();
        for _ in 0..4 {
            health.on_failure(EjectionCause::Failing, 1);
        }
        health.on_response();
        for _ in 0..4 {
            health.on_failure(EjectionCause::Failing, 1);
        }
        assert_eq!(health.status(1), HealthStatus::Healthy);
        health.on_failure(EjectionCause::Failing, 1);
        assert_eq!(health.status(1), HealthStatus::Ejected(EjectionCause::Failing));
        health.readmit(EjectionCause::Unreachable);
        assert_eq!(
            health.status(1),
            HealthStatus::Ejected(EjectionCause::Failing),
            "accepting connections is no recovery"
        );
        health.on_response();
        assert_eq!(health.status(1), HealthStatus::Healthy);
    }

    #[test]
    fn failures_after_an_ejection_count_before_the_probe() {
        for (cause, failures) in [(EjectionCause::Failing, 5), (EjectionCause::Unreachable, 1)] {
            let health = Health::default();
            (0..failures).for_each(|_| health.on_failure(cause, 0));
            // The endpoint gets requests before a probe if more than half of the endpoints are ejected.
            for failed in 1..=failures {
                assert_eq!(health.status(1_000), HealthStatus::ProbeDue(cause), "{failed}");
                health.on_failure(cause, 1_000);
            }
            assert_eq!(health.status(2_999), HealthStatus::Ejected(cause));
        }
    }

    #[test]
    fn connects_that_fail_in_one_tick_are_one_observation() {
        let health = Health::default();
        for _ in 0..10 {
            health.on_failure(EjectionCause::Unreachable, 0);
            health.readmit(EjectionCause::Unreachable);
        }
        health.on_failure(EjectionCause::Unreachable, OBSERVATION_MS);
        let second = OBSERVATION_MS + 2 * BASE_EJECTION_MS;
        assert_eq!(health.status(second - 1), HealthStatus::Ejected(EjectionCause::Unreachable));
        assert_eq!(health.status(second), HealthStatus::ProbeDue(EjectionCause::Unreachable));
    }

    #[test]
    fn failures_count_for_their_service_and_facts_for_all() {
        let address = Arc::<AddressHealth>::default();
        let services = [(); 2].map(|()| EndpointHealth::new(Arc::clone(&address), Arc::default()));
        let [own, other] = &services;
        let statuses = |now| [own.status(now), other.status(now)];
        let short = Duration::from_millis(50);
        (0..5).for_each(|_| own.on_request_failure(0));
        let failing = HealthStatus::Ejected(EjectionCause::Failing);
        assert_eq!(statuses(0), [failing, HealthStatus::Healthy], "failed requests");
        own.on_response();
        own.on_connect_failure(ConnectError::TimedOut, short, 0);
        let unreachable = HealthStatus::Ejected(EjectionCause::Unreachable);
        assert_eq!(statuses(0), [unreachable, HealthStatus::Healthy], "the policy's own connect timeout");
        own.on_connected();
        own.on_connect_failure(ConnectError::Refused, short, 0);
        assert_eq!(statuses(0), [unreachable, unreachable], "a refused connect");
        other.on_connected();
        assert_eq!(statuses(0), [HealthStatus::Healthy; 2]);
        other.on_connect_failure(ConnectError::TimedOut, MIN_SHARED_TIMEOUT, 1_000);
        assert_eq!(statuses(1_000), [unreachable, unreachable], "a connect without an answer");
        assert!(own.try_claim_probe(9_000) && !other.try_claim_probe(9_000), "one probe for all");
    }

    #[test]
    fn failures_during_an_ejection_do_not_prolong_it() {
        let health = Health::default();
        for _ in 0..100 {
            health.on_failure(EjectionCause::Unreachable, 10);
        }
        assert_eq!(health.status(1_010), HealthStatus::ProbeDue(EjectionCause::Unreachable));
    }

    #[test]
    fn probe_without_result_is_abandoned() {
        let health = Health::default();
        health.on_failure(EjectionCause::Unreachable, 0);
        assert!(health.try_claim_probe(1_000));
        assert!(!health.try_claim_probe(5_999) && health.try_claim_probe(6_000));
    }
}
