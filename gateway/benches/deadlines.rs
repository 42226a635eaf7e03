//! What it costs to put a deadline on a wait that ends in time: the case of every wait of every request.
//!
//! `cargo bench -p gateway --bench deadlines`; ARCHITECTURE.md has the figures and what follows from them.

use std::task::Poll;
use std::time::Duration;

use gateway::data::wire::clock::Clock;
use tokio::runtime::{Builder, Runtime};

const LIMIT: Duration = Duration::from_secs(60);

fn main() {
    divan::main();
}

/// A wait that has to be polled twice, as a read does whose bytes have not arrived yet.
async fn second_poll() {
    let mut is_first = true;
    std::future::poll_fn(move |cx| {
        if std::mem::replace(&mut is_first, false) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

fn runtime() -> Option<Runtime> {
    Builder::new_current_thread().enable_all().build().ok()
}

/// Runs `wait` a thousand times in one task, so that starting the runtime does not count.
fn thousand<F: Future>(bencher: divan::Bencher<'_, '_>, wait: impl Fn() -> F) {
    let Some(runtime) = runtime() else { return };
    bencher.counter(divan::counter::ItemsCount::new(1000u32)).bench_local(|| {
        runtime.block_on(async {
            for _ in 0..1000 {
                divan::black_box(wait().await);
            }
        });
    });
}

#[divan::bench]
fn none(bencher: divan::Bencher<'_, '_>) {
    thousand(bencher, second_poll);
}

#[divan::bench]
fn worker_clock(bencher: divan::Bencher<'_, '_>) {
    let Some(runtime) = runtime() else { return };
    let timer = {
        let _inside = runtime.enter();
        Clock::default().timer()
    };
    thousand(bencher, || async {
        timer.set(LIMIT);
        timer.limit(second_poll()).await
    });
}

#[divan::bench]
fn pingora_timeout(bencher: divan::Bencher<'_, '_>) {
    thousand(bencher, || ::pingora_timeout::timeout(LIMIT, second_poll()));
}

#[divan::bench]
fn tokio_timeout(bencher: divan::Bencher<'_, '_>) {
    thousand(bencher, || tokio::time::timeout(LIMIT, second_poll()));
}
