//! Lookups: time and allocations, by what is found and by how many hosts there are.
//!
//! Run with `cargo bench -p routing --bench find`. Hosts are asked for in a scattered order, so that caches help
//! as little as they do in life.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use divan::AllocProfiler;
use divan::Bencher;
use divan::black_box;
use routing::Config;
use routing::RoutingTable;

use set::ingresses;

mod set;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// How many hosts.
const SIZES: [usize; 3] = [1, 1_000, 100_000];
/// How many lookups are one measured turn; divan then shows the sum, and the throughput per lookup.
const LOOKUPS: usize = 1_000;

fn main() {
    divan::main();
}

fn table(hosts: usize) -> RoutingTable {
    routing::compile(Config::default(), ingresses(hosts)).0
}

/// Hosts of the table, each far from the one before.
fn scattered(hosts: usize, write: impl Fn(usize) -> String) -> Vec<String> {
    // A prime that divides no size, so the walk meets all hosts.
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
fn hit(bencher: Bencher<'_, '_>, hosts: usize) {
    run(bencher, &table(hosts), &scattered(hosts, |index| format!("h{index}.example")), "/api/v1/users/17");
}

#[divan::bench(args = SIZES)]
fn miss_host(bencher: Bencher<'_, '_>, hosts: usize) {
    run(bencher, &table(hosts), &scattered(hosts, |index| format!("none{index}.other.test")), "/api");
}

#[divan::bench(args = SIZES)]
fn miss_path(bencher: Bencher<'_, '_>, hosts: usize) {
    run(bencher, &table(hosts), &scattered(hosts, |index| format!("h{index}.example")), "/none/such/path");
}

#[divan::bench(args = SIZES)]
fn wildcard(bencher: Bencher<'_, '_>, hosts: usize) {
    run(bencher, &table(hosts), &scattered(hosts, |index| format!("any.w{index}.example")), "/api/v1");
}
