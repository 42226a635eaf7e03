//! The health of one endpoint (outlier detection), which all workers share.
//!
//! An endpoint that refuses connections, or fails several requests in a row, is ejected for a time that doubles with
//! each ejection. One probe then checks it. The state is one value of atomics for each address; a healthy endpoint costs
//! a request one load. Not here: how many endpoints may be ejected (`balance`), and probes (`connect`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

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

/// The health of one endpoint. Times are milliseconds since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Requests without a complete response.
    in_flight: AtomicU32,
    /// Failed requests since the last response.
    failures: AtomicU32,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// 0 while the endpoint is healthy, otherwise [`Ejection::pack`].
    ejection: AtomicU64,
    /// The end of the last ejection.
    last_ejection_end: AtomicU64,
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

// ===== impl Health =====

impl Health {
    /// Returns the status at `now`.
    pub(super) fn status(&self, now: u64) -> HealthStatus {
        match Ejection::unpack(self.ejection.load(Relaxed)) {
            None => HealthStatus::Healthy,
            Some(ejection) if ejection.until > now => HealthStatus::Ejected(ejection.fault),
            Some(ejection) => HealthStatus::ProbeDue(ejection.fault),
        }
    }

    /// Returns true if the caller must probe the endpoint. Of concurrent callers one succeeds.
    pub(super) fn try_claim_probe(&self, now: u64) -> bool {
        let packed = self.ejection.load(Relaxed);
        let Some(ejection) = Ejection::unpack(packed).filter(|ejection| ejection.until <= now) else {
            return false;
        };
        let probing = Ejection { until: now + PROBE_TIMEOUT_MS, is_probing: true, ..ejection };
        self.ejection.compare_exchange(packed, probing.pack(), Relaxed, Relaxed).is_ok()
    }

    /// Records an accepted connection.
    pub(super) fn on_connected(&self) {
        self.readmit(EjectionCause::Unreachable);
    }

    /// Records a response.
    pub(super) fn on_response(&self) {
        // Conditional, since an unconditional store would move the cache line between cores.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.readmit(EjectionCause::Failing);
    }

    /// Records a failure. An unreachable endpoint is ejected at once, a failing one after
    /// [`MAX_CONSECUTIVE_FAILURES`].
    pub(super) fn on_failure(&self, fault: EjectionCause, now: u64) {
        let packed = self.ejection.load(Relaxed);
        match Ejection::unpack(packed) {
            // The request began before the ejection.
            Some(ejection) if !ejection.is_probing => return,
            Some(_) => {}
            None if fault == EjectionCause::Failing
                && self.failures.fetch_add(1, Relaxed) + 1 < MAX_CONSECUTIVE_FAILURES =>
            {
                return;
            }
            None => {}
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
        }
    }

    fn readmit(&self, fault: EjectionCause) {
        let packed = self.ejection.load(Relaxed);
        if Ejection::unpack(packed).is_some_and(|ejection| ejection.fault == fault) {
            // A concurrent change is newer.
            let _ = self.ejection.compare_exchange(packed, 0, Relaxed, Relaxed);
        }
    }

    /// Returns the requests in flight of all workers.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Counts a request in flight.
    pub(super) fn on_request_start(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Removes a request in flight.
    pub(super) fn on_request_end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
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
        health.on_connected();
        assert_eq!(health.status(now), HealthStatus::Healthy);
        health.on_failure(EjectionCause::Unreachable, now + 9_000);
        assert_eq!(
            health.status(now + 16_000),
            HealthStatus::Ejected(EjectionCause::Unreachable),
            "the duration is not reset yet"
        );
        health.on_connected();
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
        health.on_connected();
        assert_eq!(
            health.status(1),
            HealthStatus::Ejected(EjectionCause::Failing),
            "accepting connections is no recovery"
        );
        health.on_response();
        assert_eq!(health.status(1), HealthStatus::Healthy);
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
