//! Echo servers that the cases share, and which of them are the endpoints of an app.
//!
//! Each case that runs at the same time has a slot: a block of ports. An app has three ports in it, on every address.
//! So the address at which a request arrived names case, app, port and replica.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::net::SocketAddr;

use serde::Deserialize;

/// Maximum number of apps of a case.
pub const MAX_APPS: usize = 5;

/// The app of the runner itself, in every case. No app of a case has this name.
pub const SETTLE_APP: &str = "settle";

/// Number of apps in a slot: those of the case and [`SETTLE_APP`].
const APPS_PER_SLOT: usize = MAX_APPS + 1;

/// Maximum number of endpoints of an app. The load-balancing case of the upstream suite needs ten.
pub const MAX_REPLICAS: usize = 10;

/// Ports of an app: two of its Service, and one for slices with another port.
const PORTS_PER_APP: usize = 3;

/// Maximum number of cases that run at the same time.
pub const MAX_SLOTS: usize = 4;

/// Number of ports on each address.
pub const PORT_COUNT: u16 = 72;

/// The echo servers. Each address listens on [`PORT_COUNT`] ports.
#[derive(Clone, Debug)]
pub struct EchoPool {
    /// One address for each replica.
    pub addresses: Vec<IpAddr>,
    /// The lowest port.
    pub first_port: u16,
}

/// The purpose of a port of an app.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PortUse {
    /// The first port of the Service.
    First,
    /// The second port of the Service.
    Second,
    /// The first port of the Service in slices with another target port.
    Other,
}

/// The endpoint that responded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    /// Name of the app.
    pub app: String,
    /// Number of the replica, from 0.
    pub replica: usize,
    /// The port.
    pub port: PortUse,
}

/// The apps of one case and their echo servers.
#[derive(Clone, Debug)]
pub struct CaseBackends {
    pool: EchoPool,
    slot: usize,
    /// Numbers of the apps, by name.
    apps: BTreeMap<String, usize>,
}

impl CaseBackends {
    /// Assigns echo servers to apps. `slot` is below [`MAX_SLOTS`], and `names` has at most [`MAX_APPS`] elements.
    pub fn new<'a>(pool: &EchoPool, slot: usize, names: impl Iterator<Item = &'a str>) -> Self {
        let mut apps = BTreeMap::new();
        for name in names.chain([SETTLE_APP]) {
            let number = apps.len();
            apps.entry(name.to_owned()).or_insert(number);
        }
        Self { pool: pool.clone(), slot, apps }
    }

    /// Returns the port on which the endpoints of an app listen.
    pub fn port(&self, app: &str, port: PortUse) -> u16 {
        let app = self.apps.get(app).copied().unwrap_or_default();
        let index = (self.slot * APPS_PER_SLOT + app) * PORTS_PER_APP + port as usize;
        self.pool.first_port.saturating_add(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// Returns the address of a replica, or `None` if there are fewer.
    pub fn address(&self, replica: usize) -> Option<IpAddr> {
        self.pool.addresses.get(replica).copied()
    }

    /// Returns the app and replica at an address, or `None` if it belongs to another case.
    pub fn identify(&self, endpoint: &str) -> Option<Responder> {
        let endpoint: SocketAddr = endpoint.parse().ok()?;
        let replica = self.pool.addresses.iter().position(|address| *address == endpoint.ip())?;
        let (app, port) = self.apps.keys().find_map(|app| {
            let ports = [PortUse::First, PortUse::Second, PortUse::Other];
            let port = ports.into_iter().find(|port| self.port(app, *port) == endpoint.port())?;
            Some((app.clone(), port))
        })?;
        Some(Responder { app, replica, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> EchoPool {
        EchoPool { addresses: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()], first_port: 3000 }
    }

    #[test]
    fn endpoint_is_identified_by_its_own_case_only() {
        let first = CaseBackends::new(&pool(), 0, ["a", "b", "a"].into_iter());
        let second = CaseBackends::new(&pool(), 1, ["a"].into_iter());
        assert_eq!(first.port("b", PortUse::Other), 3005);
        let expected = Responder { app: "b".to_owned(), replica: 1, port: PortUse::Other };
        assert_eq!(first.identify("10.0.0.2:3005"), Some(expected));
        for other in ["10.0.0.2:3018", "10.0.0.3:3000", ""] {
            assert_eq!(first.identify(other), None, "{other}");
        }
        assert!(second.identify("10.0.0.2:3018").is_some());
    }

    #[test]
    fn last_port_of_the_last_slot_is_within_the_count() {
        let names: Vec<String> = (0..MAX_APPS).map(|number| format!("app-{number}")).collect();
        let backends = CaseBackends::new(&pool(), MAX_SLOTS - 1, names.iter().map(String::as_str));
        assert_eq!(backends.port(SETTLE_APP, PortUse::Other), 3000 + PORT_COUNT - 1);
    }
}
