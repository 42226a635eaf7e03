//! What a line of the access log costs the worker that writes it, and the thread that takes it.
//!
//! `cargo bench -p gateway --bench access_log`; ARCHITECTURE.md has the figures and what follows from them.

use std::net::Ipv4Addr;
use std::time::Duration;

use gateway::observe::access_log::{
    Destination, Entry, Format, LogHandle, LogSettings, RequestFields, RouteFields, start,
};
use routing::object::{Name, PortRef};
use routing::table::FieldPath;

/// As many lines as a worker writes between two hand-overs, about.
const LINES: usize = 1000;

fn main() {
    divan::main();
}

/// A small GET that was forwarded.
fn entry<'a>(ingress: &'a Name, service: &'a (Name, PortRef)) -> Entry<'a> {
    Entry {
        id: b"8f14e45fceea167a5a36dedd4bea2543",
        client: Ipv4Addr::new(203, 0, 113, 7).into(),
        scheme: "https",
        tls_failure: None,
        tls: Some("1.3"),
        request: Some(RequestFields {
            protocol: "HTTP/2",
            method: b"GET",
            host: b"shop.example.com",
            path: b"/catalogue/items/42",
            has_query: true,
            user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        }),
        status: 200,
        reason: None,
        abort: None,
        is_unsent: false,
        received: 0,
        sent: 1536,
        duration: Some(Duration::from_micros(2345)),
        first_byte: Some(Duration::from_micros(2100)),
        upstream: Some((Ipv4Addr::new(10, 1, 2, 3), 8080).into()),
        attempts: 1,
        is_reused: true,
        route: Some(RouteFields {
            ingress,
            rule: FieldPath::Path { rule: 0, path: 1 },
            service: Some((&service.0, &service.1)),
        }),
    }
}

fn lines(bencher: divan::Bencher<'_, '_>, to: &str, format: Format) {
    let settings =
        LogSettings { destination: Destination::File(to.into()), format, ..LogSettings::default() };
    let Ok(Some((sink, _running))) = start(&settings) else { return };
    let log = LogHandle::new(sink);
    let (ingress, service) =
        (Name::new("shop", "web"), (Name::new("shop", "web"), PortRef::Name("http".into())));
    let entry = entry(&ingress, &service);
    bencher.counter(divan::counter::ItemsCount::new(LINES)).bench_local(|| {
        for _ in 0..LINES {
            log.log(divan::black_box(&entry));
        }
    });
}

#[divan::bench]
fn json(bencher: divan::Bencher<'_, '_>) {
    lines(bencher, "/dev/null", Format::Json);
}

#[divan::bench]
fn template(bencher: divan::Bencher<'_, '_>) {
    let combined =
        "{client} [{time}] \"{method} {path} {protocol}\" {status} {bytesOut} \"{userAgent}\" {durationMs}";
    lines(bencher, "/dev/null", combined.parse().unwrap_or_default());
}
