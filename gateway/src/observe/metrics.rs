//! The workers' counters as OpenMetrics text.
//!
//! Not here: counting (`counters`). Nothing is kept: each scrape adds up what the workers just said.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use routing::object::Name;

use super::counters::{CODE_CLASSES, CounterSnapshot};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const CODE_LABELS: [&str; CODE_CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What one scrape shows.
#[derive(Debug, Default)]
pub struct Scrape {
    /// One entry per worker.
    pub workers: Vec<CounterSnapshot>,
    /// Problems of this moment.
    pub problems: usize,
    /// The number of the live table.
    pub generation: u64,
    /// Times that everything was read anew after a panic.
    pub control_restarts: u64,
    /// Lines of the access log that were dropped.
    pub access_log_dropped: u64,
}

impl Scrape {
    /// Writes the text.
    ///
    /// # Errors
    /// Never in practice: the text goes to memory.
    pub fn render(self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("gateway");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn sum(&self, field: fn(&CounterSnapshot) -> u64) -> u64 {
        self.workers.iter().map(field).sum()
    }

    fn gauge(&self, field: fn(&CounterSnapshot) -> u64) -> ConstGauge<i64> {
        ConstGauge::new(i64::try_from(self.sum(field)).unwrap_or(i64::MAX))
    }

    /// A count by reason, over all workers.
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

    /// Answers by Ingress and class, over all workers.
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

    fn encode_requests(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<(), fmt::Error> {
        let mut family = encoder.encode_descriptor("requests", "Answers by Ingress and class", None, kind)?;
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

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        type Field = fn(&CounterSnapshot) -> u64;
        let counters: [(&str, &str, Field); 7] = [
            ("client_connections_accepted", "Connections that clients opened", |counts| {
                counts.connections_accepted
            }),
            (
                "client_connections_rejected",
                "Connections reset because as many were open as may be",
                |counts| counts.connections_rejected,
            ),
            (
                "client_connections_handed_over",
                "Connections accepted for a worker that had fewer",
                |counts| counts.connections_handed_over,
            ),
            ("upstream_connects", "Connections opened to endpoints", |counts| counts.upstream_connects),
            ("upstream_connect_failures", "Attempts to open one that failed", |counts| {
                counts.upstream_connect_failures
            }),
            ("upstream_connection_reuses", "Requests sent over a connection that stood", |counts| {
                counts.upstream_connection_reuses
            }),
            ("panics", "Connections that ended by a panic", |counts| counts.panics),
        ];
        for (name, help, field) in counters {
            let value = ConstCounter::new(self.sum(field));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let others = [
            (
                "access_log_dropped",
                "Lines of the access log that could not be written in time",
                self.access_log_dropped,
            ),
            (
                "control_restarts",
                "Times that all objects were read anew after a panic",
                self.control_restarts,
            ),
        ];
        for (name, help, count) in others {
            let value = ConstCounter::new(count);
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let gauges = [
            (
                "client_connections_open",
                "Connections of clients",
                self.gauge(|counts| counts.connections_open),
            ),
            (
                "requests_in_flight",
                "Requests not answered yet",
                self.gauge(|counts| counts.requests_in_flight),
            ),
            ("tunnels_open", "WebSockets and other tunnels", self.gauge(|counts| counts.tunnels_open)),
            ("problems", "Objects, or parts of them, not accepted as written", signed(self.problems as u64)),
            ("generation", "Number of the live routing table", signed(self.generation)),
        ];
        for (name, help, value) in gauges {
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let help = "Connections of clients by worker";
        let mut family =
            encoder.encode_descriptor("worker_client_connections", help, None, MetricType::Gauge)?;
        for (worker, counts) in self.workers.iter().enumerate() {
            signed(counts.connections_open).encode(family.encode_family(&[("worker", worker)])?)?;
        }
        let type_of_counter = ConstCounter::new(0u64).metric_type();
        type Reasons = fn(&CounterSnapshot) -> &BTreeMap<&'static str, u64>;
        let by_reason: [(&str, &str, Reasons); 2] = [
            ("local_replies", "Answers of the gateway's own, by reason", |counts| &counts.local_replies),
            ("aborts", "Requests without a whole answer, by reason", |counts| &counts.aborts),
        ];
        for (name, help, field) in by_reason {
            let mut family = encoder.encode_descriptor(name, help, None, type_of_counter)?;
            for (reason, count) in self.by_reason(field) {
                ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
            }
        }
        self.encode_requests(&mut encoder, type_of_counter)
    }
}

fn signed(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
