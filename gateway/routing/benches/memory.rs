//! Allocated bytes per Route: the objects alone, and with the Compiler and the table.
//!
//! Run with `cargo bench -p routing --bench memory`. It measures no time, so it does not use divan.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::alloc::System;
use std::hint::black_box;
use std::io::Write as _;

use routing::Compiler;
use routing::Config;
use routing::object::Change;
use routing::object::Object;
use stats_alloc::INSTRUMENTED_SYSTEM;
use stats_alloc::Region;
use stats_alloc::StatsAlloc;

use route_set::ROUTES;
use route_set::class_policy;
use route_set::ingresses;

mod route_set;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Number of Ingresses.
const COUNT: usize = 10_000;

fn main() {
    measure("", || ingresses(COUNT));
    let with_policy = || [class_policy()].into_iter().chain(ingresses(COUNT)).collect();
    measure(" under a policy of their class", with_policy);
}

fn measure(what: &str, objects: impl FnOnce() -> Vec<Object>) {
    let region = Region::new(COUNTING);
    let live = || {
        let counted = region.change();
        counted.bytes_allocated - counted.bytes_deallocated
    };
    let objects = objects();
    let of_objects = live();
    let mut compiler = Compiler::new(Config::default());
    let compiled = compiler.apply(objects.into_iter().map(Change::Apply).collect());
    let of_all = live();
    black_box((&compiler, &compiled));
    let routes = COUNT * ROUTES;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{routes} Routes of {COUNT} Ingresses{what}: {} bytes of objects per Route, {} with Compiler and table",
        of_objects / routes,
        of_all / routes
    )
    .unwrap();
}
