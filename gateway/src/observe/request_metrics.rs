//! Durations and bytes of requests by Ingress and Service, summed over all workers.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use routing::object::Name;

use super::counters::{CounterSnapshot, RequestTotals};
use super::encode::counter_type;
use super::histogram::Histogram;

/// The label `ingress` of requests that are counted together. No Ingress has this name.
const OTHER: &str = "_other";

/// Name, help and value of a family.
type Family<T> = (&'static str, &'static str, fn(&RequestTotals) -> T);

type Labels<'a> = [(&'static str, &'a str); 3];

/// Encodes all families.
pub(super) fn encode(
    workers: &[CounterSnapshot],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let totals = totals(workers);
    let histograms: [Family<Histogram>; 2] = [
        (
            "request_duration_seconds",
            "Time from the head of a request to the end of its response",
            |totals| totals.durations,
        ),
        (
            "upstream_first_byte_seconds",
            "Time from the head of a request to that of the endpoint's response",
            |totals| totals.first_bytes,
        ),
    ];
    for (name, help, histogram) in histograms {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, totals) in &totals {
            histogram(totals).encode(family.encode_family(labels)?)?;
        }
    }
    let counters: [Family<u64>; 2] = [
        ("request_body_bytes", "Bytes of request bodies", |totals| totals.received_bytes),
        ("response_body_bytes", "Bytes of response bodies", |totals| totals.sent_bytes),
    ];
    for (name, help, count) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, counter_type())?;
        for (labels, totals) in &totals {
            ConstCounter::new(count(totals)).encode(family.encode_family(labels)?)?;
        }
    }
    let mut connects = Histogram::default();
    workers.iter().for_each(|worker| connects.add(&worker.connects));
    let help = "Duration of connects to endpoints that succeeded";
    connects.encode(encoder.encode_descriptor(
        "upstream_connect_seconds",
        help,
        None,
        MetricType::Histogram,
    )?)
}

/// Sums over all workers, by the labels.
fn totals(workers: &[CounterSnapshot]) -> BTreeMap<Labels<'_>, RequestTotals> {
    let mut sums = BTreeMap::<_, RequestTotals>::new();
    for worker in workers {
        for requests in &worker.requests {
            for service in &requests.services {
                let labels = labels(requests.ingress.as_ref(), service.service.as_ref());
                sums.entry(labels).or_default().add(&service.totals);
            }
        }
        if worker.other.durations != Histogram::default() {
            let labels = [("namespace", ""), ("ingress", OTHER), ("service", "")];
            sums.entry(labels).or_default().add(&worker.other);
        }
    }
    sums
}

fn labels<'a>(ingress: Option<&'a Name>, service: Option<&'a Name>) -> Labels<'a> {
    let (namespace, name) = ingress.map_or(("", ""), |ingress| (&*ingress.namespace, &*ingress.name));
    [("namespace", namespace), ("ingress", name), ("service", service.map_or("", |service| &*service.name))]
}
