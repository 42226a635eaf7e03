//! Cases on the command line, and the workloads of the CPU cases.
//!
//! Targets are those of DESIGN §8. `wrk`, `h2load` and `new_connections` generate the load.

use clap::ValueEnum;
use serde::Serialize;

use super::http::Scheme;

/// Values of `--case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchCase {
    /// Small GETs, plaintext, keep-alive on both sides.
    Small,
    /// Small GETs over TLS 1.3, HTTP/1.1, keep-alive on both sides.
    TlsH1,
    /// Small GETs, HTTP/2 over TLS 1.3 to HTTP/1.1 upstream.
    TlsH2,
    /// Small GETs, a new plaintext connection for each; keep-alive upstream.
    Connect,
    /// Full TLS 1.3 handshakes without requests.
    Handshake,
    /// Bodies of 10 MiB from the backend, plaintext and TLS.
    Large,
    /// Memory of idle plaintext, idle TLS and slow-header connections.
    Memory,
    /// Reuse of upstream connections by 32 workers at 200 requests/s to 50 Services.
    Reuse,
    /// Memory of each route, and CPU time per request with 100,000 hosts beside one.
    Routes,
    /// CPU time per request of routes with filters beside one without.
    Filters,
    /// CPU time per request of routes with Wasm plugins beside one without, and beside Envoy; memory of an instance.
    Plugins,
    /// Time from an accepted Ingress to its first 200. Runs only inside `conformance cluster run -- …`.
    Kube,
    /// All cases.
    All,
}

impl BenchCase {
    /// Returns the requested cases without duplicates, in the order of this enum.
    pub(crate) fn selected(requested: &[Self]) -> Vec<Self> {
        let all = Self::value_variants().iter().copied().filter(|case| *case != Self::All);
        all.filter(|case| requested.contains(case) || requested.contains(&Self::All)).collect()
    }

    /// Returns the workloads of a CPU case. Empty for all other cases.
    pub(crate) fn workloads(self) -> &'static [Workload] {
        match self {
            Self::Small => &[Workload::Small],
            Self::TlsH1 => &[Workload::TlsH1],
            Self::TlsH2 => &[Workload::TlsH2],
            Self::Connect => &[Workload::Connect],
            Self::Handshake => &[Workload::Handshake],
            Self::Large => &[Workload::Large, Workload::LargeTls],
            Self::Memory
            | Self::Reuse
            | Self::Routes
            | Self::Filters
            | Self::Plugins
            | Self::Kube
            | Self::All => &[],
        }
    }
}

/// A workload under which CPU time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// See [`BenchCase::Small`].
    Small,
    /// See [`BenchCase::TlsH1`].
    TlsH1,
    /// See [`BenchCase::TlsH2`].
    TlsH2,
    /// See [`BenchCase::Connect`].
    Connect,
    /// See [`BenchCase::Handshake`].
    Handshake,
    /// [`BenchCase::Large`], plaintext.
    Large,
    /// [`BenchCase::Large`], TLS.
    LargeTls,
}

/// Bytes of a large body: 10 MiB.
pub(crate) const LARGE_BODY_BYTES: u64 = 10 * 1024 * 1024;

impl Workload {
    /// Returns the title in reports.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "small GET, HTTP/1.1",
            Self::TlsH1 => "small GET, TLS 1.3, HTTP/1.1",
            Self::TlsH2 => "small GET, TLS 1.3, HTTP/2",
            Self::Connect => "small GET, new connection each",
            Self::Handshake => "full TLS 1.3 handshake",
            Self::Large => "10 MiB bodies, plaintext",
            Self::LargeTls => "10 MiB bodies, TLS 1.3",
        }
    }

    /// Returns the unit of CPU time.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Small | Self::TlsH1 | Self::TlsH2 | Self::Connect => "µs CPU/request",
            Self::Handshake => "µs CPU/handshake",
            Self::Large | Self::LargeTls => "ms CPU/GB",
        }
    }

    /// Returns the maximum ratio to HAProxy.
    pub(crate) fn max_ratio(self) -> f64 {
        match self {
            Self::Small => 0.85,
            Self::TlsH1 => 0.95,
            Self::TlsH2 | Self::Connect => 1.0,
            Self::Handshake => 0.75,
            Self::Large => 0.7,
            Self::LargeTls => 0.6,
        }
    }

    /// Returns the scheme of the loaded port.
    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Small | Self::Connect | Self::Large => Scheme::Http,
            Self::TlsH1 | Self::TlsH2 | Self::Handshake | Self::LargeTls => Scheme::Https,
        }
    }

    /// Converts microseconds for `count` responses or handshakes to [`Workload::unit`].
    pub(crate) fn per_unit(self, micros: f64, count: u64) -> f64 {
        let count = count.max(1) as f64;
        match self {
            Self::Large | Self::LargeTls => micros / 1e3 / (count * LARGE_BODY_BYTES as f64 / 1e9),
            Self::Small | Self::TlsH1 | Self::TlsH2 | Self::Connect | Self::Handshake => micros / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BenchCase, Workload};

    #[test]
    fn selected_all_is_every_case_once() {
        assert_eq!(BenchCase::selected(&[BenchCase::All, BenchCase::Small]).len(), 12);
        assert_eq!(
            BenchCase::selected(&[BenchCase::Reuse, BenchCase::Small, BenchCase::Small]),
            [BenchCase::Small, BenchCase::Reuse]
        );
    }

    #[test]
    fn per_unit_counts_large_bodies_in_gigabytes() {
        // 100 bodies are 1.048576 GB.
        let figure = Workload::Large.per_unit(1_048_576.0, 100);
        assert!((figure - 1000.0).abs() < 1e-6, "{figure}");
        assert!((Workload::Small.per_unit(300.0, 100) - 3.0).abs() < 1e-9);
    }
}
