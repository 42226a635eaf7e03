//! Case files of plugins: defaults, what is refused, and the differences that a record shows.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use api::CaseRecord;
use api::FieldLine;
use api::LogLine;
use api::PluginCase;
use api::RecordedMessage;
use serde_json::Value;
use serde_json::json;

fn parse(case: Value) -> Result<PluginCase, String> {
    serde_json::from_value(case).map_err(|error| error.to_string())
}

fn fields(lines: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn line(text: &str) -> LogLine {
    LogLine::try_from(text.to_owned()).unwrap()
}

/// A record of a request that passed, with one callout.
fn record() -> CaseRecord {
    CaseRecord {
        request: Some(RecordedMessage {
            headers: fields(&[(":method", "GET"), (":path", "/a"), ("x-user", "bob"), ("x-user", "ann")]),
            body: b"text".to_vec(),
            trailers: fields(&[("x-sum", "1")]),
        }),
        response: Some(RecordedMessage {
            headers: fields(&[(":status", "200"), ("x-served-by", "hello")]),
            body: b"ok".to_vec(),
            trailers: Vec::new(),
        }),
        callouts: vec![("shop/authz:8080".to_owned(), RecordedMessage::default())],
        log: vec![line("info: one"), line("warn: two"), line("info: three")],
    }
}

#[test]
fn empty_case_is_a_get_answered_with_200() {
    let case = parse(json!({})).unwrap();
    assert_eq!((case.request.method.as_str(), case.request.path.as_str()), ("GET", "/"));
    assert_eq!(case.upstream.status, 200);
    assert_eq!(case.config, None);
    assert!(case.request.pieces().is_empty());
}

#[test]
fn field_lines_are_split_and_in_lower_case() {
    let case = parse(json!({ "request": { "headers": ["X-Time:  12:30 ", "x-empty:"] } })).unwrap();
    let expected = [("x-time", "12:30"), ("x-empty", "")]
        .map(|(name, value)| FieldLine { name: name.to_owned(), value: value.to_owned() });
    assert_eq!(case.request.headers, expected);
}

#[test]
fn body_is_the_first_piece_and_empty_ones_are_left_out() {
    let case = parse(json!({ "upstream": { "body": "a", "bodyPieces": ["", "b"] } })).unwrap();
    assert_eq!(case.upstream.pieces(), ["a", "b"]);
}

#[test]
fn malformed_cases_are_refused_with_the_reason() {
    for (case, expected) in [
        (json!({ "requests": {} }), "unknown field `requests`"),
        (json!({ "request": { "headers": ["no colon"] } }), "\"no colon\" is not `name: value`"),
        (json!({ "request": { "headers": [": v"] } }), "is not `name: value`"),
        (json!({ "expect": { "log": ["fatal: x"] } }), "with a level of trace, debug"),
        (json!({ "callouts": [{ "response": {} }] }), "missing field `to`"),
        (json!({ "callouts": [{ "to": "a:1", "failure": "Lost" }] }), "unknown variant `Lost`"),
        (json!({ "expect": { "response": { "stat": 1 } } }), "unknown field `stat`"),
        (json!({ "properties": { "a": [1] } }), "did not match any variant"),
    ] {
        let error = parse(case.clone()).unwrap_err();
        assert!(error.contains(expected), "{case}: {error}");
    }
}

#[test]
fn record_that_meets_all_expectations_has_no_difference() {
    let case = parse(json!({
        "callouts": [{ "to": "shop/authz:8080" }],
        "expect": {
            "request": {
                "method": "GET", "path": "/a", "headers": ["x-user: ann"], "absent": ["x-key"], "body": "text",
                "trailers": ["x-sum: 1"]
            },
            "reachesUpstream": true,
            "response": { "status": 200, "headers": ["X-Served-By: hello"], "bodyContains": "k" },
            "log": ["info: one", "info: th"]
        }
    }));
    assert_eq!(case.unwrap().differences(&record()), Vec::<String>::new());
}

#[test]
fn each_difference_is_one_sentence() {
    struct Row {
        expect: Value,
        difference: &'static str,
    }
    for Row { expect, difference } in [
        Row {
            expect: json!({ "request": { "path": "/b" } }),
            difference: "request at the endpoint: `:path`: expected \"/b\", found \"/a\"",
        },
        Row {
            expect: json!({ "request": { "headers": ["x-user: eve"] } }),
            difference: "request at the endpoint: `x-user`: expected \"eve\", found \"bob\", \"ann\"",
        },
        Row {
            expect: json!({ "request": { "absent": ["X-User"] } }),
            difference: "request at the endpoint: `x-user`: expected none, found \"bob\", \"ann\"",
        },
        Row {
            expect: json!({ "request": { "trailers": ["x-sum: 2"] } }),
            difference: "request at the endpoint: trailer `x-sum`: expected \"2\", found \"1\"",
        },
        Row { expect: json!({ "reachesUpstream": false }), difference: "the request reaches the endpoint" },
        Row {
            expect: json!({ "response": { "status": 401 } }),
            difference: "response at the client: `:status`: expected \"401\", found \"200\"",
        },
        Row {
            expect: json!({ "response": { "body": "o" } }),
            difference: "response at the client: body: expected \"o\", found \"ok\"",
        },
        Row {
            expect: json!({ "response": { "bodyContains": "x" } }),
            difference: "response at the client: body: expected one with \"x\", found \"ok\"",
        },
        Row {
            expect: json!({ "log": ["warn: two", "info: one"] }),
            difference: "log line `info: one` is missing; log:\n  info: one\n  warn: two\n  info: three",
        },
    ] {
        let case = json!({ "callouts": [{ "to": "shop/authz:8080" }], "expect": expect });
        assert_eq!(parse(case.clone()).unwrap().differences(&record()), [difference], "{case}");
    }
}

#[test]
fn callouts_are_compared_in_order() {
    let (one, other) = (json!({ "to": "shop/authz:8080" }), json!({ "to": "shop/other:80" }));
    for (callouts, difference) in [
        (json!([]), "callout 0 to `shop/authz:8080` is not expected"),
        (json!([one, other]), "callout 1 to `shop/other:80` is missing"),
        (json!([other]), "callout 0: expected to `shop/other:80`, found to `shop/authz:8080`"),
        (
            json!([{ "to": "shop/authz:8080", "expect": { "method": "GET" } }]),
            "callout 0: `:method`: expected \"GET\", found none",
        ),
    ] {
        let case = parse(json!({ "callouts": callouts })).unwrap();
        assert_eq!(case.differences(&record()), [difference], "{callouts}");
    }
}

#[test]
fn missing_messages_are_differences() {
    let case =
        parse(json!({ "expect": { "request": {}, "response": {}, "reachesUpstream": true } })).unwrap();
    let expected = [
        "the request does not reach the endpoint",
        "there is no request at the endpoint",
        "there is no response at the client",
    ];
    assert_eq!(case.differences(&CaseRecord::default()), expected);
}

#[test]
fn recorded_message_returns_first_values_as_text() {
    let message = RecordedMessage {
        headers: vec![
            (":status".to_owned(), b"404".to_vec()),
            ("a".to_owned(), b"1\xff".to_vec()),
            ("a".to_owned(), b"2".to_vec()),
        ],
        body: b"ok\xff".to_vec(),
        trailers: Vec::new(),
    };
    assert_eq!((message.header("A").as_deref(), message.header("b")), (Some("1\u{fffd}"), None));
    assert_eq!((message.status(), message.text().as_ref()), (404, "ok\u{fffd}"));
    assert_eq!(RecordedMessage::default().status(), 0);
}
