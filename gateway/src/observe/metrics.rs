//! Encodes the counters of all workers as OpenMetrics text.
//!
//! Each scrape adds up snapshots; nothing is stored between scrapes. Not here: counting (`counters`).

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use routing::object::Name;

use super::control_metrics::ControlSample;
use super::counters::{CODE_CLASSES, CounterSnapshot};
use super::ejection_metrics::EjectionSample;
use super::encode::{counter_type, gauge};
use super::handler_metrics::{self, HandlerSample};
use super::plugin_metrics::PluginScrape;
use super::process_metrics::ProcessSample;
use super::request_metrics;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const CODE_LABELS: [&str; CODE_CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The values of one scrape.
#[derive(Debug, Default)]
pub struct Scrape {
    /// One snapshot for each worker.
    pub workers: Vec<CounterSnapshot>,
    /// Gauges of the control plane.
    pub control: ControlSample,
    /// Resources of the process.
    pub process: ProcessSample,
    /// Restarts of the control plane after a panic.
    pub control_restarts: u64,
    /// Access log entries that were dropped.
    pub access_log_dropped: u64,
    /// Ejections of endpoints.
    pub ejections: EjectionSample,
    /// Counts and metrics of plugins.
    pub plugins: PluginScrape,
    /// Counts of class handlers.
    pub handlers: Vec<HandlerSample>,
    /// Reports to the API. `None` without an API server.
    pub reports: Option<ReportCounts>,
}

/// Counts of reports to the API.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReportCounts {
    /// Whether this replica is the leader.
    pub is_leader: bool,
    /// Writes of statuses of Ingresses.
    pub statuses: u64,
    /// Writes of Events.
    pub events: u64,
    /// Checks of conditions of our kinds.
    pub conditions: u64,
    /// Requests that failed or were refused.
    pub failures: u64,
}

impl Scrape {
    /// Returns the text.
    ///
    /// # Errors
    /// Never in practice, since the text is written to memory.
    pub fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.process));
        registry.sub_registry_with_prefix("gateway").register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn sum(&self, field: fn(&CounterSnapshot) -> u64) -> u64 {
        self.workers.iter().map(field).sum()
    }

    /// Sums counts by reason over all workers.
    fn by_reason(
        &self,
        field: fn(&CounterSnapshot) -> &BTreeMap<&'static str, u64>,
    ) -> BTreeMap<&'static str, u64> {
        let mut sums = BTreeMap::new();
        for (reason, count) in self.workers.iter().flat_map(field) {
            *sums.entry(*reason).or_insert(0) += count;
        }
        sums
    }

    /// Sums responses by Ingress and class over all workers.
    fn requests(&self) -> BTreeMap<Option<&Name>, [u64; CODE_CLASSES]> {
        let mut sums = BTreeMap::new();
        for requests in self.workers.iter().flat_map(|worker| &worker.requests) {
            let sum = sums.entry(requests.ingress.as_ref()).or_insert([0; CODE_CLASSES]);
            for (sum, count) in sum.iter_mut().zip(requests.by_code) {
                *sum += count;
            }
        }
        sums
    }

    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sum = |field: fn(&CounterSnapshot) -> u64| self.sum(field);
        let counters = [
            (
                "client_connections_accepted",
                "Client connections accepted",
                sum(|worker| worker.connections_accepted),
            ),
            (
                "client_connections_rejected",
                "Client connections reset at the connection limit",
                sum(|worker| worker.connections_rejected),
            ),
            (
                "client_connections_idle_closed",
                "Idle client connections closed at the connection limit in favour of new ones",
                sum(|worker| worker.idle_connections_closed),
            ),
            (
                "client_connections_handed_over",
                "Client connections accepted by one worker and served by another",
                sum(|worker| worker.connections_handed_over),
            ),
            ("upstream_connects", "Connections opened to endpoints", sum(|worker| worker.upstream_connects)),
            (
                "upstream_connect_failures",
                "Failed attempts to open a connection to an endpoint",
                sum(|worker| worker.upstream_connect_failures),
            ),
            (
                "upstream_connection_reuses",
                "Requests sent over an idle connection",
                sum(|worker| worker.upstream_connection_reuses),
            ),
            (
                "request_fields_dropped",
                "Request fields dropped for an underscore in their name",
                sum(|worker| worker.request_fields_dropped),
            ),
            ("panics", "Client connections that ended by a panic", sum(|worker| worker.panics)),
            ("access_log_dropped", "Access log entries that were dropped", self.access_log_dropped),
            ("control_restarts", "Restarts of the control plane after a panic", self.control_restarts),
        ];
        for (name, help, count) in counters {
            ConstCounter::new(count).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                counter_type(),
            )?)?;
        }
        Ok(())
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let sum = |field: fn(&CounterSnapshot) -> u64| self.sum(field);
        let gauges = [
            ("client_connections_open", "Open client connections", sum(|worker| worker.connections_open)),
            (
                "requests_in_flight",
                "Requests without a complete response",
                sum(|worker| worker.requests_in_flight),
            ),
            ("tunnels_open", "Open WebSockets and other tunnels", sum(|worker| worker.tunnels_open)),
        ];
        for (name, help, value) in gauges {
            gauge(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let help = "Open client connections by worker";
        let mut family =
            encoder.encode_descriptor("worker_client_connections", help, None, MetricType::Gauge)?;
        for (index, worker) in self.workers.iter().enumerate() {
            gauge(worker.connections_open).encode(family.encode_family(&[("worker", index)])?)?;
        }
        Ok(())
    }

    fn encode_reports(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reports) = &self.reports else { return Ok(()) };
        let help = "Whether this replica writes the reports to the API";
        gauge(u64::from(reports.is_leader)).encode(encoder.encode_descriptor(
            "leader",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let help = "Reports to the API by kind";
        let mut family = encoder.encode_descriptor("reports", help, None, counter_type())?;
        let counts =
            [("status", reports.statuses), ("event", reports.events), ("conditions", reports.conditions)];
        for (kind, count) in counts {
            ConstCounter::new(count).encode(family.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Reports to the API that failed or were refused";
        ConstCounter::new(reports.failures).encode(encoder.encode_descriptor(
            "report_failures",
            help,
            None,
            counter_type(),
        )?)
    }

    fn encode_reasons(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let families = [
            ("local_replies", "Local replies by reason", self.by_reason(|worker| &worker.local_replies)),
            (
                "aborts",
                "Requests without a complete response by reason",
                self.by_reason(|worker| &worker.aborts),
            ),
        ];
        for (name, help, counts) in families {
            let mut family = encoder.encode_descriptor(name, help, None, counter_type())?;
            for (reason, count) in counts {
                ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
            }
        }
        Ok(())
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "requests",
            "Responses by Ingress and class of the status code",
            None,
            counter_type(),
        )?;
        for (ingress, counts) in self.requests() {
            let (namespace, name) =
                ingress.map_or(("", ""), |ingress| (&ingress.namespace[..], &ingress.name[..]));
            for (code, count) in CODE_LABELS.iter().zip(counts).filter(|(_, count)| *count > 0) {
                let labels = [("namespace", namespace), ("ingress", name), ("code", *code)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode_build_info(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "1, with the version of the program as label";
    let mut family = encoder.encode_descriptor("build_info", help, None, MetricType::Gauge)?;
    gauge(1).encode(family.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        encode_build_info(&mut encoder)?;
        self.encode_counters(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.control.encode(&mut encoder)?;
        self.encode_reasons(&mut encoder)?;
        self.encode_requests(&mut encoder)?;
        request_metrics::encode(&self.workers, &mut encoder)?;
        self.ejections.encode(&mut encoder)?;
        self.encode_reports(&mut encoder)?;
        handler_metrics::encode(&self.handlers, &mut encoder)?;
        self.plugins.encode(&mut encoder)
    }
}
