//! Which lines are picked, and what becomes of them when nobody writes.

use std::net::Ipv4Addr;
use std::sync::mpsc::{self, Receiver};

use super::*;

fn lines(waiting: usize, sample: &str) -> (Lines, Receiver<Batch>) {
    let (batches, receiver) = mpsc::sync_channel(waiting);
    let format = "{status}".parse().unwrap();
    let settings = Arc::new(Settings { to: To::Off, format, sample: sample.parse().unwrap() });
    (Lines::new(Sink { batches, dropped: Arc::default(), settings }), receiver)
}

fn answered(status: u16) -> Entry<'static> {
    Entry {
        id: b"0a",
        client: Ipv4Addr::LOCALHOST.into(),
        scheme: "http",
        tls: None,
        asked: None,
        status,
        reason: None,
        abort: None,
        is_unsent: false,
        received: 0,
        sent: 0,
        duration: None,
        first_byte: None,
        upstream: None,
        tries: 0,
        is_reused: false,
        route: None,
    }
}

#[test]
fn a_sample_is_a_share_of_the_lines_and_failures_come_on_top() {
    for (sample, least, most) in
        [("0", 0, 0), ("0.1", 800, 1200), ("0.5", 4700, 5300), ("1.0", 10_000, 10_000)]
    {
        let (lines, receiver) = lines(10_000, sample);
        for _ in 0..10_000 {
            lines.add(&answered(200));
        }
        for _ in 0..7 {
            lines.add(&answered(503));
        }
        drop(lines);
        let text: Vec<u8> = receiver.iter().flat_map(|batch| batch.text).collect();
        let text = String::from_utf8(text).unwrap();
        let count = |status: &str| text.lines().filter(|line| *line == status).count();
        assert!((least..=most).contains(&count("200")), "{sample}: {}", count("200"));
        assert_eq!(count("503"), 7, "{sample}");
    }
    for text in ["-0.1", "1.1", "NaN", "", "all"] {
        assert!(text.parse::<Sample>().is_err(), "{text}");
    }
}

#[test]
fn a_full_channel_costs_the_batch_and_its_lines_are_counted() {
    let (lines, receiver) = lines(1, "1");
    let dropped = Arc::clone(&lines.sink.dropped);
    lines.add(&answered(200));
    lines.flush();
    lines.flush();
    lines.add(&answered(201));
    lines.add(&answered(202));
    lines.flush();
    assert_eq!(dropped.load(Relaxed), 2);
    assert_eq!(receiver.recv().unwrap().text, b"200\n");
    lines.add(&answered(203));
    drop(lines);
    let last = receiver.recv().unwrap();
    assert_eq!((&last.text[..], last.lines), (&b"203\n"[..], 1), "what is left comes at the end");
}

#[test]
fn a_batch_leaves_when_it_is_full_and_never_grows_for_lines_of_usual_length() {
    let (lines, receiver) = lines(100, "1");
    for _ in 0..BATCH / 4 {
        lines.add(&answered(200));
    }
    let batch = receiver.try_recv().unwrap();
    assert_eq!((batch.text.len(), batch.text.capacity()), (BATCH, BATCH + LAST_LINE));
    assert!(receiver.try_recv().is_err());
}
