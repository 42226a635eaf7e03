//! Entries as JSON and text, and invalid templates.

use super::*;

fn name(namespace: &str, name: &str) -> Name {
    Name::new(namespace, name)
}

fn request_fields() -> RequestFields<'static> {
    RequestFields {
        protocol: "HTTP/1.1",
        method: b"GET",
        host: b"a.example",
        path: b"/x",
        has_query: true,
        user_agent: Some(b"curl \"8\"\r\n{status}"),
    }
}

fn malformed() -> Entry<'static> {
    Entry {
        id: b"0a",
        client: IpAddr::from([192, 0, 2, 1]),
        scheme: "http",
        tls_failure: None,
        tls: None,
        request: None,
        status: 400,
        reason: Some("bare_lf"),
        abort: None,
        is_unsent: false,
        received: 0,
        sent: 12,
        duration: None,
        first_byte: None,
        upstream: None,
        attempts: 0,
        is_reused: false,
        route: None,
    }
}

fn line(format: &str, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    format.parse::<Format>().unwrap().write(&mut out, entry, "T");
    String::from_utf8(out).unwrap()
}

#[test]
fn json_has_known_fields_with_their_types() {
    let (ingress, service) = (name("shop", "web"), name("shop", "api"));
    let port = PortRef::Number(std::num::NonZeroU16::MIN);
    let entry = Entry {
        tls: Some("1.3"),
        scheme: "https",
        request: Some(request_fields()),
        status: 200,
        reason: None,
        duration: Some(Duration::from_nanos(1_002_003_999)),
        first_byte: Some(Duration::from_micros(7)),
        upstream: Some(([10, 0, 0, 1], 80).into()),
        attempts: 2,
        is_reused: true,
        route: Some(RouteFields {
            ingress: &ingress,
            rule: table::FieldPath::Path { rule: 0, path: 1 },
            service: Some((&service, &port)),
        }),
        ..malformed()
    };
    assert_eq!(
        line("json", &entry),
        r#"{"time":"T","requestId":"0a","client":"192.0.2.1","scheme":"https","protocol":"HTTP/1.1","tls":"1.3","method":"GET","host":"a.example","path":"/x","query":true,"status":200,"bytesIn":0,"bytesOut":12,"durationMs":1002.003,"firstByteMs":0.007,"upstream":"10.0.0.1:80","attempts":2,"reused":true,"ingress":"shop/web","rule":"spec.rules[0].http.paths[1]","service":"shop/api:1","userAgent":"curl \"8\"\u000d\u000a{status}"}
"#
    );
    assert_eq!(
        line("json", &malformed()),
        r#"{"time":"T","requestId":"0a","client":"192.0.2.1","scheme":"http","status":400,"reason":"bare_lf","bytesIn":0,"bytesOut":12}
"#
    );
}

#[test]
fn template_escapes_values_within_quotes() {
    let entry = Entry { request: Some(request_fields()), abort: Some("client_closed"), ..malformed() };
    assert_eq!(
        line("{client} - \"{method} {host}{path}\" {{{status}}} {abort} {upstream} \"{userAgent}\"", &entry),
        "192.0.2.1 - \"GET a.example/x\" {400} client_closed - \"curl \\\"8\\\"\\x0d\\x0a{status}\"\n"
    );
    assert_eq!(line("{method}\t{durationMs}", &malformed()), "-\t-\n");
}

#[test]
fn every_field_is_a_placeholder() {
    for field in Field::ALL {
        let template = format!("{{{}}}", field.name());
        assert_eq!(template.parse::<Format>().unwrap().to_string(), template);
    }
}

#[test]
fn invalid_templates_are_rejected() {
    for (text, error) in [
        ("{stauts}", FormatError::Unknown("stauts".to_owned())),
        ("{}", FormatError::Unknown(String::new())),
        ("{status", FormatError::Brace),
        ("status}", FormatError::Brace),
        ("{status}}", FormatError::Brace),
        ("{{status}}", FormatError::Constant),
        ("jsno", FormatError::Constant),
        ("", FormatError::Constant),
        ("{status}\n{client}", FormatError::Control),
    ] {
        assert_eq!(text.parse::<Format>(), Err(error), "{text:?}");
    }
}

#[test]
fn failures_are_always_logged() {
    let plain = malformed();
    assert!(!plain.is_always_logged());
    assert!(Entry { status: 500, ..plain }.is_always_logged());
    let aborted = Entry { abort: Some("client_closed"), ..plain };
    assert!(Entry { request: Some(request_fields()), ..aborted }.is_always_logged());
    assert!(!aborted.is_always_logged(), "there was no request");
    assert!(Entry { is_unsent: true, ..plain }.is_always_logged());
}
