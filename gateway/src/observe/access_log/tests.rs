//! Sampling, batches, and a full channel.

use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver};

use super::*;

fn log_handle(waiting: usize, sample: &str) -> (LogHandle, Receiver<Batch>) {
    let (batches, receiver) = mpsc::sync_channel(waiting);
    let format = "{status}".parse().unwrap();
    let settings =
        Arc::new(LogSettings { destination: Destination::Off, format, sample_rate: sample.parse().unwrap() });
    (LogHandle::new(LogSink { batches, dropped: Arc::default(), settings }), receiver)
}

fn answered(status: u16) -> Entry<'static> {
    Entry {
        id: b"0a",
        client: Ipv4Addr::LOCALHOST.into(),
        scheme: "http",
        tls: None,
        request: None,
        status,
        reason: None,
        abort: None,
        tls_failure: None,
        is_unsent: false,
        received: 0,
        sent: 0,
        duration: None,
        first_byte: None,
        upstream: None,
        attempts: 0,
        is_reused: false,
        route: None,
    }
}

#[test]
fn sample_is_a_share_of_requests_besides_failures() {
    for (sample, least, most) in
        [("0", 0, 0), ("0.1", 800, 1200), ("0.5", 4700, 5300), ("1.0", 10_000, 10_000)]
    {
        let (handle, receiver) = log_handle(10_000, sample);
        for _ in 0..10_000 {
            handle.log(&answered(200));
        }
        for _ in 0..7 {
            handle.log(&answered(503));
        }
        drop(handle);
        let text: Vec<u8> = receiver.iter().flat_map(|batch| batch.text).collect();
        let text = String::from_utf8(text).unwrap();
        let count = |status: &str| text.lines().filter(|line| *line == status).count();
        assert!((least..=most).contains(&count("200")), "{sample}: {}", count("200"));
        assert_eq!(count("503"), 7, "{sample}");
    }
    for text in ["-0.1", "1.1", "NaN", "", "all"] {
        assert!(text.parse::<SampleRate>().is_err(), "{text}");
    }
}

#[test]
fn batch_at_a_full_channel_is_dropped_and_counted() {
    let (handle, receiver) = log_handle(1, "1");
    let dropped = Arc::clone(&handle.sink.dropped);
    handle.log(&answered(200));
    handle.flush();
    handle.flush();
    handle.log(&answered(201));
    handle.log(&answered(202));
    handle.flush();
    assert_eq!(dropped.load(Relaxed), 2);
    assert_eq!(receiver.recv().unwrap().text, b"200\n");
    handle.log(&answered(203));
    drop(handle);
    let last = receiver.recv().unwrap();
    assert_eq!((&last.text[..], last.entries), (&b"203\n"[..], 1), "the last batch is sent on drop");
}

#[test]
fn full_batch_is_sent_and_does_not_grow() {
    let (handle, receiver) = log_handle(100, "1");
    for _ in 0..BATCH_BYTES / 4 {
        handle.log(&answered(200));
    }
    let batch = receiver.try_recv().unwrap();
    assert_eq!((batch.text.len(), batch.text.capacity()), (BATCH_BYTES, BATCH_BYTES + BATCH_SPARE_BYTES));
    assert!(receiver.try_recv().is_err());
}
