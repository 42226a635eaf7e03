//! Parser of h2load's output.

use super::parse;
use crate::bench::wrk::LoadSummary;

const GOOD: &str = "Warm-up phase is over for thread #0.\nTLS Protocol: TLSv1.3\nCipher: TLS_AES_256_GCM_SHA384\n\
    Server Temp Key: X25519 253 bits\nApplication protocol: h2\n\n\
    finished in 302.99ms, 26816.67 req/s, 1.74MB/s\n\
    requests: 20 total, 120 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout\n\
    status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx\n\
    traffic: 200.00MB (209720140) total, 3.83KB (3920) headers (space savings 0.00%), 200.00MB (209715200) data\n";

#[test]
fn parse_good_run_has_no_problems() {
    let output = parse(GOOD).unwrap();
    assert_eq!((output.requests, output.data), (20, 209_715_200));
    assert_eq!(output.summary(Some("h2"), Some(209_715_200)), LoadSummary { requests: 20, problems: vec![] });
}

#[test]
fn parse_reports_failures_and_other_statuses() {
    let text = GOOD.replace("0 failed, 0 errored", "2 failed, 1 errored").replace("0 5xx", "3 5xx");
    let problems = parse(&text).unwrap().problems;
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn summary_reports_other_protocol_suite_or_length() {
    let said = |text: &str, data| parse(text).unwrap().summary(Some("h2"), data).problems.join("; ");
    assert_eq!(
        said(&GOOD.replace("protocol: h2", "protocol: http/1.1"), None),
        "the protocol was \"http/1.1\""
    );
    assert!(said(&GOOD.replace("TLSv1.3", "TLSv1.2"), None).contains("TLS was TLSv1.2"));
    assert!(said(&GOOD.replace("AES_256_GCM_SHA384", "AES_128_GCM_SHA256"), None).contains("AES_128"));
    assert!(said(GOOD, Some(1)).contains("209715200 bytes of bodies"));
}

#[test]
fn parse_without_summary_is_none() {
    assert_eq!(parse("starting benchmark...\n"), None);
}
