//! A served request as one line of a table.
//!
//! Not here: which requests there are.

use std::net::IpAddr;

use routing::RoutingTable;
use routing::table::{FieldPath, PathMatch, PlainRequest, Route};

use super::log::ServedRequest;
use crate::cli::style::{Palette, paint};
use crate::data::exchange;

/// Columns of the wide layout, which is used for pipes too.
pub(super) const WIDE: usize = 100;

/// Width of status codes, the head `CODE` included.
const STATUS: usize = 4;
/// Width of `GET app1.example.com/api/products`.
const REQUEST: usize = 33;
/// Width of a Service's name.
const SERVICE: usize = 9;
/// Width of an IPv4 address with a port.
const ENDPOINT: usize = 15;
/// Width of a duration in milliseconds.
const DURATION: usize = 3;

/// Width of `local tls`.
const CLIENT: usize = 9;

/// The namespace that is not printed: that of all objects that the demo writes.
const NAMESPACE: &str = "demo/";

/// The text for an unknown value.
const UNKNOWN: &str = "-";

/// The columns for one width of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 100 columns: all values.
    Wide,
    /// 80 columns: without the rule's path and the client's address.
    Narrow,
}

impl Layout {
    /// Returns the layout for a terminal of this width.
    pub(super) fn for_width(columns: usize) -> Self {
        if columns < WIDE { Self::Narrow } else { Self::Wide }
    }

    /// Returns the most characters of a line.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Wide => WIDE,
            Self::Narrow => 80,
        }
    }

    /// Returns the width of the rule: `app1 /api/products` or `app1`.
    const fn rule(self) -> usize {
        match self {
            Self::Wide => 18,
            Self::Narrow => 6,
        }
    }

    /// Returns the space between a request, its rule, and its Service.
    const fn gap(self) -> &'static str {
        match self {
            Self::Wide => "  ",
            Self::Narrow => " ",
        }
    }
}

/// The texts of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    status: String,
    request: String,
    rule: String,
    responder: Responder,
    duration: String,
    client: String,
}

/// The component that the client has its response from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Responder {
    /// An endpoint of a Service.
    Endpoint {
        /// The name of the Service.
        service: String,
        /// Address and port.
        endpoint: String,
    },
    /// The gateway, or no component if the request was aborted. The text says which and why.
    Gateway(String),
}

impl Row {
    /// Describes a request by the table that is live.
    pub(super) fn new(record: &ServedRequest, table: &RoutingTable, layout: Layout) -> Self {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.to_owned());
        let query = if record.query.as_deref() == Some("true") { "?…" } else { "" };
        let request = match (&record.method, &record.host, &record.path) {
            (Some(method), Some(host), Some(path)) => format!("{method} {host}{path}{query}"),
            _ => "(no valid request)".to_owned(),
        };
        Self {
            status: text(&record.status),
            request,
            rule: rule(record, table, layout),
            responder: Responder::new(record),
            duration: duration(record.duration.as_deref()),
            client: client(record, layout),
        }
    }

    /// Renders the line. Texts that are longer than their column push the rest to the right while the line has space;
    /// beyond that they are cut.
    pub(super) fn render(&self, layout: Layout, palette: Palette) -> String {
        let plain = self.cells(layout, usize::MAX).concat();
        let limit = if plain.trim_end().chars().count() > layout.width() { 0 } else { usize::MAX };
        let [status, request, rule, service, endpoint, duration, client] = self.cells(layout, limit);
        let code = self.status.parse().unwrap_or(0);
        let status_style = if code == 0 { palette.bad } else { palette.for_status(code) };
        let service_style = match self.responder {
            Responder::Endpoint { .. } => palette.strong,
            Responder::Gateway(_) => status_style,
        };
        let text = format!(
            "{}{}{}{}{}{}{}",
            paint(status_style, status),
            request,
            paint(palette.object, rule),
            paint(service_style, service),
            endpoint,
            paint(palette.dim, duration),
            paint(palette.dim, client.trim_end()),
        );
        text.trim_end().to_owned()
    }

    /// Returns the cells with the space behind them. Each has at most the width of its column or `limit` characters,
    /// whichever is more.
    fn cells(&self, layout: Layout, limit: usize) -> [String; 7] {
        let cell = |text: &str, width: usize| format!("{:width$}", cut(text, width.max(limit)));
        let gap = layout.gap();
        let (service, endpoint) = match &self.responder {
            Responder::Endpoint { service, endpoint } => {
                (cell(service, SERVICE) + " ", cell(endpoint, ENDPOINT) + " ")
            }
            Responder::Gateway(text) => (cell(text, SERVICE + 1 + ENDPOINT) + " ", String::new()),
        };
        [
            cell(&self.status, STATUS) + " ",
            cell(&self.request, REQUEST) + gap,
            cell(&self.rule, layout.rule()) + gap,
            service,
            endpoint,
            format!("{:>DURATION$} ", self.duration),
            cell(&self.client, CLIENT),
        ]
    }

    /// Returns the head of the table.
    pub(super) fn head(layout: Layout) -> String {
        let responder =
            Responder::Endpoint { service: "SERVICE".to_owned(), endpoint: "ENDPOINT".to_owned() };
        let (rule, client) = match layout {
            Layout::Wide => ("INGRESS AND PATH", "CLIENT"),
            Layout::Narrow => ("INGRESS", ""),
        };
        let head = Self {
            status: "CODE".to_owned(),
            request: "REQUEST".to_owned(),
            rule: cut(rule, layout.rule().max(rule.len())),
            responder,
            duration: "MS".to_owned(),
            client: client.to_owned(),
        };
        head.render(layout, Palette::default())
    }
}

impl Responder {
    fn new(record: &ServedRequest) -> Self {
        let service = record.service.as_deref().map(service_name);
        let reason = record.reason.as_deref().or(record.abort.as_deref());
        match (service, &record.endpoint, reason) {
            (Some(service), Some(endpoint), None) => {
                Self::Endpoint { service: service.to_owned(), endpoint: endpoint.clone() }
            }
            (Some(service), _, Some(reason)) => Self::Gateway(format!("{service}: {reason}")),
            (None, _, Some(reason)) => Self::Gateway(format!("gateway: {reason}")),
            (_, _, None) => Self::Gateway(UNKNOWN.to_owned()),
        }
    }
}

/// Returns `service-a` for `demo/service-a:80`.
fn service_name(text: &str) -> &str {
    let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
    without_namespace(name)
}

/// Returns the name of an object of the demo without its namespace. Objects elsewhere keep it.
pub(super) fn without_namespace(name: &str) -> &str {
    name.strip_prefix(NAMESPACE).unwrap_or(name)
}

/// Returns the Ingress and, if there is space, the path of its rule: `app1 /api/products`.
fn rule(record: &ServedRequest, table: &RoutingTable, layout: Layout) -> String {
    let Some(ingress) = &record.ingress else { return UNKNOWN.to_owned() };
    let name = without_namespace(ingress);
    match (layout, matched_route(record, table)) {
        (Layout::Wide, Some(route)) => format!("{name} {}", path(route)),
        // The table may have changed since.
        (Layout::Wide, None) | (Layout::Narrow, _) => name.to_owned(),
    }
}

/// Returns the Route of the live table that the record names.
fn matched_route<'a>(record: &ServedRequest, table: &'a RoutingTable) -> Option<&'a Route> {
    let (host, path) = (record.host.as_deref()?, record.path.as_deref()?);
    let route = exchange::find_route(table, host, path, &PlainRequest).ok()?;
    let is_same = Some(route.origin.ingress.name.to_string()) == record.ingress
        && Some(route.origin.field.to_string()) == record.rule;
    is_same.then_some(route)
}

/// Returns the path of a rule, and its type unless it is Prefix.
pub(super) fn path(route: &Route) -> String {
    match (route.origin.field, &route.path) {
        (FieldPath::DefaultBackend | FieldPath::Parameters, _) => "(default backend)".to_owned(),
        (_, PathMatch::Exact(path)) => format!("{path} (Exact)"),
        (_, PathMatch::Prefix(path)) => path.to_string(),
        (_, PathMatch::Regex(pattern)) => format!("{} (regex)", pattern.text()),
    }
}

/// Returns a duration in milliseconds of at most three characters, or in seconds beyond 999 ms.
fn duration(millis: Option<&str>) -> String {
    match millis.and_then(|millis| millis.parse::<f64>().ok()) {
        None => UNKNOWN.to_owned(),
        Some(millis) if millis < 9.95 => format!("{millis:.1}"),
        Some(millis) if millis < 999.5 => format!("{millis:.0}"),
        Some(millis) => format!("{:.0}s", millis / 1000.0),
    }
}

/// Returns the client: `local` for this machine, else its address. TLS is named, since the request does not show it.
fn client(record: &ServedRequest, layout: Layout) -> String {
    let tls = if record.scheme.as_deref() == Some("https") { "tls" } else { "" };
    let address = record.client.as_deref().unwrap_or(UNKNOWN);
    let is_local = address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match layout {
        Layout::Narrow => tls.to_owned(),
        Layout::Wide => format!("{} {tls}", if is_local { "local" } else { address }).trim_end().to_owned(),
    }
}

/// Cuts a text to a number of characters; the last one then is an ellipsis.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ServedRequest {
        let text = |text: &str| Some(text.to_owned());
        ServedRequest {
            client: text("127.0.0.1"),
            scheme: text("https"),
            method: text("GET"),
            host: text("app1.example.com"),
            path: text("/api/products"),
            query: text("false"),
            status: text("200"),
            duration: text("0.412"),
            endpoint: text("127.0.0.2:47101"),
            ingress: text("demo/app1"),
            rule: text("spec.rules[0].http.paths[0]"),
            service: text("demo/service-a:80"),
            ..ServedRequest::default()
        }
    }

    fn render(record: &ServedRequest, layout: Layout) -> String {
        Row::new(record, &RoutingTable::default(), layout).render(layout, Palette::default())
    }

    #[test]
    fn row_fits_each_layout() {
        let wide = "200  GET app1.example.com/api/products  app1                service-a 127.0.0.2:47101 0.4 local tls";
        assert_eq!(render(&record(), Layout::Wide), wide);
        let narrow = "200  GET app1.example.com/api/products app1   service-a 127.0.0.2:47101 0.4 tls";
        assert_eq!(render(&record(), Layout::Narrow), narrow);
        for layout in [Layout::Wide, Layout::Narrow] {
            assert!(Row::head(layout).chars().count() <= layout.width(), "{}", Row::head(layout));
        }
    }

    #[test]
    fn row_too_long_is_cut_to_the_width() {
        let long = |length| Some("x".repeat(length));
        let record = ServedRequest {
            path: long(300),
            ingress: long(60),
            service: long(80),
            client: long(40),
            ..record()
        };
        for layout in [Layout::Wide, Layout::Narrow] {
            let line = render(&record, layout);
            assert!(line.contains('…') && line.chars().count() <= layout.width(), "{line}");
        }
    }

    #[test]
    fn row_of_a_local_reply_names_its_reason() {
        let reason = Some("no_rule".to_owned());
        let record = ServedRequest { reason, service: None, endpoint: None, ingress: None, ..record() };
        assert!(
            render(&record, Layout::Wide).contains("  -                   gateway: no_rule "),
            "{record:?}"
        );
    }

    #[test]
    fn duration_has_at_most_three_characters() {
        for (millis, text) in [("0.04", "0.0"), ("9.96", "10"), ("999.4", "999"), ("12345.0", "12s")] {
            assert_eq!(duration(Some(millis)), text);
        }
    }
}
