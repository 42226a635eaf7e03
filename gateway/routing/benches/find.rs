//! Time and allocations of lookups, by result and by number of Routes.
//!
//! Run with `cargo bench -p routing --bench find`. The order of hosts is scattered, so that caches help as
//! little as in production.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::sync::OnceLock;

use divan::AllocProfiler;
use divan::Bencher;
use divan::black_box;
use routing::Config;
use routing::RoutingTable;

use route_set::ROUTES;
use route_set::ingresses;
use route_set::on_one_host;

mod route_set;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// Approximate numbers of Routes.
const SIZES: [usize; 4] = [1, 1_000, 100_000, 1_000_000];
/// Numbers of Routes on one host. The first two are scanned, the others have an index.
const ON_ONE_HOST: [usize; 4] = [4, 16, 17, 1_000];
/// Number of lookups in a measured iteration. divan shows the time of all, and the throughput per lookup.
const LOOKUPS: usize = 1_000;

fn main() {
    divan::main();
}

/// Returns the table with about this number of Routes, built once, and its number of Ingresses.
fn table(routes: usize) -> &'static (RoutingTable, usize) {
    static TABLES: [OnceLock<(RoutingTable, usize)>; SIZES.len()] = [const { OnceLock::new() }; SIZES.len()];
    let size = SIZES.iter().position(|size| *size == routes).and_then(|size| TABLES.get(size));
    size.expect("a size of the list").get_or_init(|| {
        let count = routes.div_ceil(ROUTES);
        (routing::compile(Config::default(), ingresses(count)).0, count)
    })
}

/// Returns hosts of the table, each far from the previous one.
fn scattered(hosts: usize, write: impl Fn(usize) -> String) -> Vec<String> {
    // A prime that divides no size, so the walk reaches all hosts.
    (0..LOOKUPS).map(|turn| write(turn * 7_919 % hosts)).collect()
}

fn run(bencher: Bencher<'_, '_>, table: &RoutingTable, hosts: &[String], path: &str) {
    bencher.counter(divan::counter::ItemsCount::new(LOOKUPS)).bench_local(|| {
        for host in hosts {
            black_box(table.find(black_box(host), black_box(path)));
        }
    });
}

#[divan::bench(args = SIZES)]
fn hit(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, hosts) = table(routes);
    run(bencher, table, &scattered(*hosts, |index| format!("h{index}.example")), "/api/v1/users/17");
}

#[divan::bench(args = SIZES)]
fn miss_host(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, hosts) = table(routes);
    run(bencher, table, &scattered(*hosts, |index| format!("none{index}.other.test")), "/api");
}

#[divan::bench(args = SIZES)]
fn miss_path(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, hosts) = table(routes);
    run(bencher, table, &scattered(*hosts, |index| format!("h{index}.example")), "/none/such/path");
}

#[divan::bench(args = SIZES)]
fn wildcard(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, hosts) = table(routes);
    run(bencher, table, &scattered(*hosts, |index| format!("any.w{index}.example")), "/api/v1");
}

#[divan::bench(args = ON_ONE_HOST)]
fn one_host(bencher: Bencher<'_, '_>, routes: usize) {
    let (table, _) = routing::compile(Config::default(), on_one_host(routes));
    let hosts = vec!["h0.example".to_owned(); LOOKUPS];
    run(bencher, &table, &hosts, &format!("/api/v{}/users/17", routes / 2));
}
