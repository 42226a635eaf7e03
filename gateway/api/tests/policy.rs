//! Reading and writing RoutePolicy and IngressClassConfig.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use api::Attempts;
use api::AttemptsError;
use api::ByteSize;
use api::Duration;
use api::ExternalNames;
use api::IngressClassConfigSpec;
use api::Method;
use api::RetryOn;
use api::RoutePolicySpec;
use serde_json::json;

#[test]
fn policy_round_trips_with_all_fields() {
    let policy = json!({
        "targetRefs": [
            { "group": "networking.k8s.io", "kind": "Ingress", "name": "web", "host": "a.example", "path": "/a" },
            { "group": "networking.k8s.io", "kind": "IngressClass", "name": "gateway" },
        ],
        "backends": [{ "service": "web", "port": 80, "weight": 9 }, { "service": "next", "port": "http", "weight": 1 }],
        "bodySize": "10Mi",
        "timeouts": {
            "request": "1m", "connect": "800ms", "connectTotal": "2s500ms", "firstByte": "0s", "stall": "5m",
            "tunnelIdle": "1h",
        },
        "retries": { "attempts": 2, "on": ["ConnectFailure", "StaleConnection", "Reset"], "methods": ["GET", "POST"] },
        "loadBalancing": { "type": "LeastRequest" },
        "limits": { "upstreamConnections": 100, "pendingRequests": 0 },
    });
    let read: RoutePolicySpec = serde_json::from_value(policy.clone()).unwrap();
    assert_eq!(read.body_size, Some(ByteSize(10 * 1024 * 1024)));
    assert_eq!(serde_json::to_value(read).unwrap(), policy);
}

#[test]
fn class_config_round_trips_with_all_fields() {
    let config = json!({
        "allowedNamespaces": ["shop"],
        "defaultBackend": { "namespace": "shop", "service": "web", "port": 80 },
        "defaultCertificate": { "name": "cert" },
        "externalNames": "Allow",
        "foreignAnnotations": "Warn",
        "hostOwnership": [{ "host": "*.a.example", "namespaces": ["shop"] }],
    });
    let read: IngressClassConfigSpec = serde_json::from_value(config.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), config);
}

#[test]
fn class_config_empty_refuses_external_names() {
    let read: IngressClassConfigSpec = serde_json::from_value(json!({})).unwrap();
    assert_eq!(read.external_names, ExternalNames::Refuse);
    assert_eq!(read.allowed_namespaces, None);
}

#[test]
fn invalid_policy_field_is_rejected() {
    let target = json!({ "group": "networking.k8s.io", "kind": "Ingress", "name": "web" });
    for (field, value) in [
        ("bodysize", json!("1")),
        ("timeout", json!("1s")),
        ("targetRefs", json!([{ "name": "web" }])),
        ("timeouts", json!({ "request": 30 })),
        ("timeouts", json!({ "backendRequest": "30s" })),
        ("retries", json!({ "attempts": 11 })),
        ("retries", json!({ "on": ["Anything"] })),
        ("retries", json!({ "methods": ["get"] })),
        ("loadBalancing", json!("LeastRequest")),
        ("limits", json!({ "upstreamConnections": 0 })),
        ("limits", json!({ "pendingRequests": -1 })),
    ] {
        let mut policy = json!({ "targetRefs": [target] });
        policy.as_object_mut().unwrap().insert(field.to_owned(), value);
        assert!(serde_json::from_value::<RoutePolicySpec>(policy).is_err(), "{field}");
    }
}

#[test]
fn invalid_target_is_rejected() {
    let gateway = json!({ "group": "networking.k8s.io", "kind": "Gateway", "name": "web" });
    assert!(serde_json::from_value::<RoutePolicySpec>(json!({ "targetRefs": [gateway] })).is_err());
    assert!(serde_json::from_value::<RoutePolicySpec>(json!({})).is_err(), "a policy needs a target");
}

#[test]
fn unknown_class_config_field_is_rejected() {
    assert!(serde_json::from_value::<IngressClassConfigSpec>(json!({ "externalName": "Allow" })).is_err());
}

#[test]
fn byte_size_accepts_whole_quantities_only() {
    let rows = [
        ("0", Some(0)),
        ("1048576", Some(1_048_576)),
        ("500k", Some(500_000)),
        ("1Ki", Some(1024)),
        ("10Mi", Some(10_485_760)),
        ("2G", Some(2_000_000_000)),
        ("16777215Ti", Some(16_777_215 << 40)),
        ("16777216Ti", None),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("Mi", None),
        ("-1", None),
        ("+1", None),
        ("1.5Mi", None),
        ("1 Mi", None),
        ("1mi", None),
        ("1e3", None),
        ("10MB", None),
        ("١", None),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse::<ByteSize>().ok().map(|size| size.0), expected, "{text}");
        assert_eq!(
            serde_json::from_value::<ByteSize>(json!(text)).ok().map(|size| size.0),
            expected,
            "{text}"
        );
    }
    assert_eq!(serde_json::from_value::<ByteSize>(json!(4096)).unwrap(), ByteSize(4096));
    assert!(serde_json::from_value::<ByteSize>(json!(-1)).is_err());
}

#[test]
fn byte_size_prints_its_largest_binary_unit() {
    for (bytes, text) in
        [(0, "0"), (1023, "1023"), (1024, "1Ki"), (3 << 20, "3Mi"), (1 << 40, "1Ti"), (1_000_000, "1000000")]
    {
        assert_eq!(ByteSize(bytes).to_string(), text);
        assert_eq!(text.parse(), Ok(ByteSize(bytes)));
    }
}

#[test]
fn duration_accepts_gateway_api_format_only() {
    let rows = [
        ("0s", Some(0)),
        ("800ms", Some(800)),
        ("1h", Some(3_600_000)),
        ("1h30m30s500ms", Some(5_430_500)),
        ("01h", Some(3_600_000)),
        ("00060m", Some(3_600_000)),
        // As in Go, repeated units add up, and their order does not matter.
        ("1s1h1s", Some(3_602_000)),
        ("99999h59m59s999ms", Some(359_999_999_999)),
        ("", None),
        ("1", None),
        ("s", None),
        ("1.5s", None),
        ("-1s", None),
        ("+1s", None),
        ("1d", None),
        ("1us", None),
        ("100000s", None),
        ("1h1h1h1h1h", None),
        ("1s ", None),
        ("1S", None),
        ("١s", None),
    ];
    for (text, expected) in rows {
        let expected = expected.map(Duration::from_millis);
        assert_eq!(text.parse::<Duration>().ok(), expected, "{text}");
        assert_eq!(serde_json::from_value::<Duration>(json!(text)).ok(), expected, "{text}");
    }
    assert!(serde_json::from_value::<Duration>(json!(30)).is_err(), "a number has no unit");
}

#[test]
fn duration_prints_each_unit_once() {
    for text in ["0s", "1ms", "2s500ms", "1m", "1h", "1h30m30s500ms"] {
        assert_eq!(text.parse::<Duration>().unwrap().to_string(), text);
    }
    assert_eq!(std::time::Duration::from(Duration::from_millis(7)), std::time::Duration::from_millis(7));
}

#[test]
fn policy_schema_matches_the_parsers() {
    let schema = serde_json::to_value(schemars::schema_for!(RoutePolicySpec)).unwrap();
    assert_eq!(schema["required"], json!(["targetRefs"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    let pattern = &schema["$defs"]["ByteSize"]["anyOf"][1]["pattern"];
    assert_eq!(pattern, "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$");
    assert_eq!(schema["$defs"]["Duration"]["pattern"], "^([0-9]{1,5}(h|m|s|ms)){1,4}$");
    assert_eq!(schema["$defs"]["Attempts"]["maximum"], 10);
}

#[test]
fn method_parses_from_its_own_text() {
    for method in Method::ALL {
        assert_eq!(Method::from_bytes(method.as_str().as_bytes()), Some(method));
        assert_eq!(method.as_str().parse(), Ok(method));
    }
    assert_eq!(Method::from_bytes(b"get"), None);
    let error = "CONNECT".parse::<Method>().unwrap_err().to_string();
    assert_eq!(error, "expected one of DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE");
}

#[test]
fn retry_settings_name_the_valid_values() {
    assert_eq!("10".parse::<Attempts>().map(Attempts::get), Ok(10));
    assert_eq!("11".parse::<Attempts>(), Err(AttemptsError::TooMany(11)));
    assert_eq!("256".parse::<Attempts>(), Err(AttemptsError::NotANumber));
    assert_eq!(AttemptsError::TooMany(11).to_string(), "11 is not a number from 0 to 10");
    let error = "Anything".parse::<RetryOn>().unwrap_err().to_string();
    assert_eq!(error, "expected one of ConnectFailure, StaleConnection, Reset");
}
