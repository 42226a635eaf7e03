//! Ejections as people see them: causes, log lines, counts by Service, and the endpoints that are ejected now.
//!
//! Not here: when an endpoint is ejected (`health`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use routing::object::Name;

/// Maximum Services with counts of their own. Further ones are counted together.
const MAX_SERVICES: usize = 1000;

/// The name of the Services that are counted together. No Service has it.
const OTHER: &str = "_other";

/// What an endpoint did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureCause {
    /// It refused or reset a connection.
    Refused,
    /// It did not accept a connection in time.
    ConnectTimeout,
    /// Its machine acknowledges no packets.
    PeerDead,
    /// It closed or reset connections before its response.
    Closed,
    /// It did not begin its response in time.
    NoResponse,
    /// It sent malformed responses.
    Malformed,
    /// It does not speak HTTP.
    NotHttp,
    /// It switched protocols without a request for it.
    UnsolicitedUpgrade,
}

impl FailureCause {
    /// All causes, in the order of their numbers.
    const ALL: [Self; 8] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::PeerDead,
        Self::Closed,
        Self::NoResponse,
        Self::Malformed,
        Self::NotHttp,
        Self::UnsolicitedUpgrade,
    ];

    /// Returns the cause as the log, the metrics and the admin pages name it: the reason of the local reply where one
    /// exists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "upstream_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::PeerDead => "peer_dead",
            Self::Closed => "upstream_closed",
            Self::NoResponse => "first_byte_timeout",
            Self::Malformed => "upstream_malformed",
            Self::NotHttp => "upstream_not_http",
            Self::UnsolicitedUpgrade => "upstream_unsolicited_upgrade",
        }
    }

    /// Returns the number of the cause, for an atomic cell.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// Returns the cause with this number.
    pub(super) fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Refused)
    }
}

/// An endpoint that gets no requests because of its failures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EjectedEndpoint {
    /// The Service whose requests do not reach it.
    pub service: Name,
    /// Its address.
    pub address: SocketAddr,
    /// Its last failure.
    pub cause: FailureCause,
    /// Time until it is probed.
    pub probe_in: Duration,
}

/// The number of ejections of one Service by one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EjectionCount {
    /// The Service whose request found the failure.
    pub service: Name,
    /// The failure.
    pub cause: FailureCause,
    /// Ejections since the start of the process.
    pub count: u64,
}

/// Counts and logs ejections. Locked for each ejection, and for no request.
#[derive(Debug, Default)]
pub(super) struct EjectionLog(Mutex<BTreeMap<Name, BTreeMap<FailureCause, u64>>>);

/// Whether an endpoint was healthy before an ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EjectionStart {
    /// It was.
    First,
    /// It was ejected before, and its probe failed.
    Repeated,
}

impl EjectionLog {
    /// Counts an ejection. Logs it unless it prolongs an earlier one.
    pub(super) fn on_ejected(
        &self,
        service: &Name,
        address: SocketAddr,
        cause: FailureCause,
        start: EjectionStart,
    ) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = counts.contains_key(service) || counts.len() < MAX_SERVICES;
        let counted = if is_known { service.clone() } else { Name::new("", OTHER) };
        *counts.entry(counted).or_default().entry(cause).or_default() += 1;
        drop(counts);
        if start == EjectionStart::First {
            tracing::warn!(
                %service, endpoint = %address, cause = cause.as_str(),
                "endpoint ejected: it gets no requests until a probe succeeds"
            );
        }
    }

    /// Logs the end of an ejection.
    pub(super) fn on_readmitted(&self, service: &Name, address: SocketAddr) {
        tracing::info!(%service, endpoint = %address, "endpoint readmitted: it gets requests again");
    }

    /// Returns all counts, by Service and cause.
    pub(super) fn counts(&self) -> Vec<EjectionCount> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = counts.iter().flat_map(|(service, causes)| causes.iter().map(move |row| (service, row)));
        rows.map(|(service, (cause, count))| EjectionCount {
            service: service.clone(),
            cause: *cause,
            count: *count,
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_cause_returns_the_cause() {
        for cause in FailureCause::ALL {
            assert_eq!(FailureCause::from_number(cause.number()), cause);
        }
    }

    #[test]
    fn services_beyond_the_limit_are_counted_together() {
        let log = EjectionLog::default();
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let names: Vec<_> = (0..MAX_SERVICES + 2).map(|n| Name::new("shop", &format!("s{n}"))).collect();
        for name in names.iter().chain(&names[..1]) {
            log.on_ejected(name, address, FailureCause::Refused, EjectionStart::First);
        }
        let counts = log.counts();
        let count_of = |name: &Name| counts.iter().find(|row| row.service == *name).map(|row| row.count);
        assert_eq!(counts.len(), MAX_SERVICES + 1);
        assert_eq!(count_of(&Name::new("", OTHER)), Some(2));
        assert_eq!(count_of(&names[0]), Some(2));
    }
}
