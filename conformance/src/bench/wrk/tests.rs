//! Parsers of wrk's and strace's output.

use super::{LoadSummary, parse_strace, parse_summary};

const GOOD: &str = "Running 10m test @ http://127.0.0.1:1/\n  1 threads and 4 connections\n  \
    Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   107.48us   92.92us   1.62ms   93.90%\n  \
    9163 requests in 0.30s, 2.15MB read\nRequests/sec:  30519.01\n";

#[test]
fn parse_good_run_has_no_problems() {
    assert_eq!(parse_summary(GOOD), Some(LoadSummary { requests: 9163, problems: vec![] }));
}

#[test]
fn parse_reports_other_statuses_and_broken_connections() {
    let text = format!(
        "{GOOD}  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 7\n"
    );
    let summary = parse_summary(&text).unwrap();
    assert_eq!(summary.problems.len(), 2, "{summary:?}");
}

#[test]
fn parse_without_summary_is_none() {
    assert_eq!(parse_summary("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
}

#[test]
fn parse_strace_counts_calls_without_the_total() {
    let text = "% time     seconds  usecs/call     calls    errors syscall\n\
        ------ ----------- ----------- --------- --------- ----------------\n \
        60.00    0.006000           2      3000           sendto\n \
        40.00    0.004000           1      3100       100 recvfrom\n\
        ------ ----------- ----------- --------- --------- ----------------\n\
        100.00    0.010000           1      6100       100 total\n";
    assert_eq!(parse_strace(text), [("sendto".to_owned(), 3000), ("recvfrom".to_owned(), 3100)]);
}
