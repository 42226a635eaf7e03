//! Whether an endpoint is worth asking: what all workers have seen of it.
//!
//! An endpoint that refuses, or fails several answers in a row, is ejected: requests go elsewhere for a while that
//! doubles each time, then one attempt finds out. One value per address and process, made of atomics; a healthy
//! endpoint costs a request one load. Not here: how many may be ejected (`balance`), and attempts (`upstream`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The first ejection takes so many milliseconds; each further one twice as long.
const FIRST_EJECTION: u64 = 1_000;

/// Longest ejection of an endpoint that takes no connections. It returns within 10 s of being up again, since
/// finding out costs no request anything: the attempt is made beside them.
const LONGEST_UNREACHABLE: u64 = 8_000;

/// Longest ejection of an endpoint that fails answers. Finding out costs a request, so it is done less often.
const LONGEST_FAILING: u64 = 60_000;

/// An endpoint is ejected after so many failed answers in a row (Envoy's outlier detection says 5 too).
const MOST_FAILURES: u32 = 5;

/// After so many milliseconds without an ejection the next one is short again.
const FORGIVEN: u64 = 60_000;

/// An attempt that has not ended after so many milliseconds does not hinder the next one.
const LONGEST_ATTEMPT: u64 = 5_000;

/// Why an endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It refuses connections, or does not answer attempts to connect.
    Unreachable,
    /// It takes connections, and closes them or sends garbage instead of answers, or nothing in time.
    Failing,
}

/// Whether a request should go to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Yes.
    In,
    /// No, for this reason.
    Out(Fault),
    /// No, but it is time that somebody tries: whoever gets [`Health::claim`].
    Due(Fault),
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
    forgiven_from: AtomicU64,
}

/// An ejection as one number, so that it changes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ejection {
    until: u64,
    fault: Fault,
    /// Somebody tries the endpoint, up to `until`.
    is_tried: bool,
}

// ===== impl Ejection =====

impl Ejection {
    fn pack(self) -> u64 {
        (self.until.max(1) << 2) | (u64::from(self.fault == Fault::Failing) << 1) | u64::from(self.is_tried)
    }

    fn unpack(packed: u64) -> Option<Self> {
        let fault = if packed & 2 == 0 { Fault::Unreachable } else { Fault::Failing };
        (packed != 0).then_some(Self { until: packed >> 2, fault, is_tried: packed & 1 == 1 })
    }
}

// ===== impl Health =====

impl Health {
    /// Whether a request should go there now.
    pub(super) fn standing(&self, now: u64) -> Standing {
        match Ejection::unpack(self.ejection.load(Relaxed)) {
            None => Standing::In,
            Some(ejection) if ejection.until > now => Standing::Out(ejection.fault),
            Some(ejection) => Standing::Due(ejection.fault),
        }
    }

    /// Takes it upon the caller to try an endpoint that is due; only one caller gets it.
    pub(super) fn claim(&self, now: u64) -> bool {
        let packed = self.ejection.load(Relaxed);
        let Some(ejection) = Ejection::unpack(packed).filter(|ejection| ejection.until <= now) else {
            return false;
        };
        let tried = Ejection { until: now + LONGEST_ATTEMPT, is_tried: true, ..ejection };
        self.ejection.compare_exchange(packed, tried.pack(), Relaxed, Relaxed).is_ok()
    }

    /// It took a connection.
    pub(super) fn connected(&self) {
        self.readmit(Fault::Unreachable);
    }

    /// It answered.
    pub(super) fn answered(&self) {
        // Stored only if it changes something, so that healthy endpoints' cache lines are not passed around.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.readmit(Fault::Failing);
    }

    /// It failed. An endpoint that takes no connections is ejected at once, one that fails answers after several.
    pub(super) fn failed(&self, fault: Fault, now: u64) {
        let packed = self.ejection.load(Relaxed);
        match Ejection::unpack(packed) {
            // What began before the ejection says nothing new.
            Some(ejection) if !ejection.is_tried => return,
            Some(_) => {}
            None if fault == Fault::Failing && self.failures.fetch_add(1, Relaxed) + 1 < MOST_FAILURES => {
                return;
            }
            None => {}
        }
        if now > self.forgiven_from.load(Relaxed).saturating_add(FORGIVEN) {
            self.ejections.store(0, Relaxed);
        }
        let longest = match fault {
            Fault::Unreachable => LONGEST_UNREACHABLE,
            Fault::Failing => LONGEST_FAILING,
        };
        let span = (FIRST_EJECTION << self.ejections.load(Relaxed).min(16)).min(longest);
        let ejection = Ejection { until: now + span, fault, is_tried: false };
        if self.ejection.compare_exchange(packed, ejection.pack(), Relaxed, Relaxed).is_ok() {
            self.ejections.fetch_add(1, Relaxed);
            self.failures.store(0, Relaxed);
            self.forgiven_from.store(now + span, Relaxed);
        }
    }

    fn readmit(&self, fault: Fault) {
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
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// A request has ended.
    pub(super) fn end(&self) {
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
            health.failed(Fault::Unreachable, now);
            assert_eq!(health.standing(now + span - 1), Standing::Out(Fault::Unreachable));
            now += span;
            assert_eq!(health.standing(now), Standing::Due(Fault::Unreachable));
            assert!(health.claim(now) && !health.claim(now), "one tries");
            assert_eq!(health.standing(now), Standing::Out(Fault::Unreachable));
        }
        health.connected();
        assert_eq!(health.standing(now), Standing::In);
        health.failed(Fault::Unreachable, now + 9_000);
        assert_eq!(health.standing(now + 16_000), Standing::Out(Fault::Unreachable), "not forgotten yet");
        health.connected();
        health.failed(Fault::Unreachable, now + 200_000);
        assert_eq!(health.standing(now + 201_000), Standing::Due(Fault::Unreachable), "forgiven");
    }

    #[test]
    fn failed_answers_eject_when_five_come_in_a_row() {
        let health = Health::default();
        for _ in 0..4 {
            health.failed(Fault::Failing, 1);
        }
        health.answered();
        for _ in 0..4 {
            health.failed(Fault::Failing, 1);
        }
        assert_eq!(health.standing(1), Standing::In);
        health.failed(Fault::Failing, 1);
        assert_eq!(health.standing(1), Standing::Out(Fault::Failing));
        health.connected();
        assert_eq!(health.standing(1), Standing::Out(Fault::Failing), "it always took connections");
        health.answered();
        assert_eq!(health.standing(1), Standing::In);
    }

    #[test]
    fn failures_of_requests_that_began_before_do_not_prolong_an_ejection() {
        let health = Health::default();
        for _ in 0..100 {
            health.failed(Fault::Unreachable, 10);
        }
        assert_eq!(health.standing(1_010), Standing::Due(Fault::Unreachable));
    }

    #[test]
    fn an_attempt_that_never_ends_does_not_keep_an_endpoint_out() {
        let health = Health::default();
        health.failed(Fault::Unreachable, 0);
        assert!(health.claim(1_000));
        assert!(!health.claim(5_999) && health.claim(6_000));
    }
}
