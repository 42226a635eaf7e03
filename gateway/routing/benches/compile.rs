//! Time of compiling all objects at once, and one changed Ingress among many.
//!
//! Run with `cargo bench -p routing --bench compile`. Each Ingress has 2 hosts of 3 paths.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use divan::AllocProfiler;
use divan::Bencher;
use routing::Compiler;
use routing::Config;
use routing::object::Change;
use routing::object::Object;

use route_set::ingress;
use route_set::ingresses;

mod route_set;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// Numbers of Ingresses.
const SIZES: [usize; 2] = [10_000, 100_000];

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES, sample_count = 3, sample_size = 1)]
fn cold(bencher: Bencher<'_, '_>, count: usize) {
    bencher
        .with_inputs(|| ingresses(count))
        .bench_local_values(|objects| routing::compile(Config::default(), objects));
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1)]
fn one_changed(bencher: Bencher<'_, '_>, count: usize) {
    let mut compiler = Compiler::new(Config::default());
    compiler.apply(ingresses(count).into_iter().map(Change::Apply).collect());
    let mut turn = 0_i64;
    let next = || {
        turn += 1;
        let Object::Ingress(mut changed) = ingress(count / 2) else {
            unreachable!("`ingress` returns an Ingress")
        };
        changed.created = Some(turn);
        vec![Change::Apply(Object::Ingress(changed))]
    };
    bencher.with_inputs(next).bench_local_values(|delta| compiler.apply(delta));
}
