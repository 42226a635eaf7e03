//! Whether an endpoint is worth asking: what all workers have seen of it.
//!
//! An endpoint that refuses, or fails several answers in a row, is ejected: requests go elsewhere for a while that
//! doubles each time, then one attempt finds out. One value per address and process, made of atomics; a healthy
//! endpoint costs a request one load. Not here: how many may be ejected (`balance`), and attempts (`upstream`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The first ejection takes so many milliseconds; each further one twice as long.
const BASE_EJECTION_MS: u64 = 1_000;

/// Longest ejection of an endpoint that takes no connections. It returns within 10 s of being up again, since
/// finding out costs no request anything: the attempt is made beside them.
const MAX_UNREACHABLE_EJECTION_MS: u64 = 8_000;

/// Longest ejection of an endpoint that fails answers. Finding out costs a request, so it is done less often.
const MAX_FAILING_EJECTION_MS: u64 = 60_000;

/// An endpoint is ejected after so many failed answers in a row (Envoy's outlier detection says 5 too).
const MAX_CONSECUTIVE_FAILURES: u32 = 5;

/// After so many milliseconds without an ejection the next one is short again.
const EJECTION_RESET_MS: u64 = 60_000;

/// An attempt that has not ended after so many milliseconds does not hinder the next one.
const PROBE_TIMEOUT_MS: u64 = 5_000;

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EjectionCause {
    /// It refuses connections, or does not answer attempts to connect.
    Unreachable,
    /// It takes connections, and closes them or sends garbage instead of answers, or nothing in time.
    Failing,
}

/// Whether a request should go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HealthStatus {
    /// Yes.
    Healthy,
    /// No, for this reason.
    Ejected(EjectionCause),
    /// No, but it is time that somebody tries: whoever gets [`Health::try_claim_probe`].
    ProbeDue(EjectionCause),
}

/// What is known of one endpoint. Times are milliseconds since the process's start.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Requests that it has not answered yet.
    in_flight: AtomicU32,
    /// Failed answers since the last good one.
    failures: AtomicU32,
    /// Ejections in a row.
    ejections: AtomicU32,
    /// 0 while it is in; otherwise [`Ejection::pack`].
    ejection: AtomicU64,
    /// When the last ejection ended, or ends.
    last_ejection_end: AtomicU64,
}

/// An ejection as one number, so that it changes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ejection {
    until: u64,
    fault: EjectionCause,
    /// Somebody tries the endpoint, up to `until`.
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
    /// Whether a request should go there now.
    pub(super) fn status(&self, now: u64) -> HealthStatus {
        match Ejection::unpack(self.ejection.load(Relaxed)) {
            None => HealthStatus::Healthy,
            Some(ejection) if ejection.until > now => HealthStatus::Ejected(ejection.fault),
            Some(ejection) => HealthStatus::ProbeDue(ejection.fault),
        }
    }

    /// Takes it upon the caller to try an endpoint that is due; only one caller gets it.
    pub(super) fn try_claim_probe(&self, now: u64) -> bool {
        let packed = self.ejection.load(Relaxed);
        let Some(ejection) = Ejection::unpack(packed).filter(|ejection| ejection.until <= now) else {
            return false;
        };
        let tried = Ejection { until: now + PROBE_TIMEOUT_MS, is_probing: true, ..ejection };
        self.ejection.compare_exchange(packed, tried.pack(), Relaxed, Relaxed).is_ok()
    }

    /// It took a connection.
    pub(super) fn on_connected(&self) {
        self.readmit(EjectionCause::Unreachable);
    }

    /// It answered.
    pub(super) fn on_response(&self) {
        // Stored only if it changes something, so that healthy endpoints' cache lines are not passed around.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.readmit(EjectionCause::Failing);
    }

    /// It failed. An endpoint that takes no connections is ejected at once, one that fails answers after several.
    pub(super) fn on_failure(&self, fault: EjectionCause, now: u64) {
        let packed = self.ejection.load(Relaxed);
        match Ejection::unpack(packed) {
            // What began before the ejection says nothing new.
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
        let longest = match fault {
            EjectionCause::Unreachable => MAX_UNREACHABLE_EJECTION_MS,
            EjectionCause::Failing => MAX_FAILING_EJECTION_MS,
        };
        let span = (BASE_EJECTION_MS << self.ejections.load(Relaxed).min(16)).min(longest);
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
            // Whoever changed it in between knows more.
            let _ = self.ejection.compare_exchange(packed, 0, Relaxed, Relaxed);
        }
    }

    /// Requests in flight, of all workers.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// A request begins.
    pub(super) fn on_request_start(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request has ended.
    pub(super) fn on_request_end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_takes_no_connection_is_out_at_once_for_times_that_double() {
        let health = Health::default();
        let mut now = 5_000;
        for span in [1_000, 2_000, 4_000, 8_000, 8_000] {
            health.on_failure(EjectionCause::Unreachable, now);
            assert_eq!(health.status(now + span - 1), HealthStatus::Ejected(EjectionCause::Unreachable));
            now += span;
            assert_eq!(health.status(now), HealthStatus::ProbeDue(EjectionCause::Unreachable));
            assert!(health.try_claim_probe(now) && !health.try_claim_probe(now), "one retry");
            assert_eq!(health.status(now), HealthStatus::Ejected(EjectionCause::Unreachable));
        }
        health.on_connected();
        assert_eq!(health.status(now), HealthStatus::Healthy);
        health.on_failure(EjectionCause::Unreachable, now + 9_000);
        assert_eq!(
            health.status(now + 16_000),
            HealthStatus::Ejected(EjectionCause::Unreachable),
            "not forgotten yet"
        );
        health.on_connected();
        health.on_failure(EjectionCause::Unreachable, now + 200_000);
        assert_eq!(
            health.status(now + 201_000),
            HealthStatus::ProbeDue(EjectionCause::Unreachable),
            "forgiven"
        );
    }

    #[test]
    fn failed_answers_eject_when_five_come_in_a_row() {
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
            "it always took connections"
        );
        health.on_response();
        assert_eq!(health.status(1), HealthStatus::Healthy);
    }

    #[test]
    fn failures_of_requests_that_began_before_do_not_prolong_an_ejection() {
        let health = Health::default();
        for _ in 0..100 {
            health.on_failure(EjectionCause::Unreachable, 10);
        }
        assert_eq!(health.status(1_010), HealthStatus::ProbeDue(EjectionCause::Unreachable));
    }

    #[test]
    fn an_attempt_that_never_ends_does_not_keep_an_endpoint_out() {
        let health = Health::default();
        health.on_failure(EjectionCause::Unreachable, 0);
        assert!(health.try_claim_probe(1_000));
        assert!(!health.try_claim_probe(5_999) && health.try_claim_probe(6_000));
    }
}
