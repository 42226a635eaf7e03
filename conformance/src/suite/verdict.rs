//! Compares a response with what a case expects.

use std::collections::BTreeMap;

use super::backends::CaseBackends;
use super::backends::Responder;
use super::case::ExpectedResponse;
use super::certificate::Pair;
use super::client::ReceivedResponse;

/// What a comparison needs besides the response.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// The expected response.
    pub expect: &'a ExpectedResponse,
    /// The apps of the case.
    pub backends: &'a CaseBackends,
    /// The newest certificate of each Secret.
    pub certificates: &'a BTreeMap<String, Pair>,
}

impl Expectation<'_> {
    /// Returns the app that responded, or the differences, one a line.
    ///
    /// # Errors
    /// At least one expectation is not met.
    pub fn compare(&self, received: &anyhow::Result<ReceivedResponse>) -> Result<Option<Responder>, String> {
        let received = match received {
            Ok(received) => received,
            Err(_) if self.expect.or_refused => return Ok(None),
            Err(error) => return Err(format!("no response: {error:#}")),
        };
        let responder = received.endpoint().and_then(|endpoint| self.backends.identify(endpoint));
        let mut differences = Vec::new();
        self.compare_status(received, &mut differences);
        self.compare_app(received, responder.as_ref(), &mut differences);
        self.compare_request(received, &mut differences);
        self.compare_response(received, &mut differences);
        self.compare_certificate(received, &mut differences);
        if differences.is_empty() { Ok(responder) } else { Err(differences.join("\n")) }
    }

    fn compare_status(&self, received: &ReceivedResponse, differences: &mut Vec<String>) {
        let expect = self.expect;
        let expected: Vec<u16> = expect.status.iter().chain(&expect.status_in).copied().collect();
        if !expected.is_empty() && !expected.contains(&received.status) {
            differences.push(format!("status: {}, expected {}", received.status, one_of(&expected)));
        }
    }

    fn compare_app(
        &self,
        received: &ReceivedResponse,
        responder: Option<&Responder>,
        differences: &mut Vec<String>,
    ) {
        let expected: Vec<&String> = self.expect.app.iter().chain(&self.expect.app_in).collect();
        let actual = match (responder, received.endpoint()) {
            (Some(responder), _) => responder.app.clone(),
            (None, Some(endpoint)) => format!("an app of another case ({endpoint})"),
            (None, None) => "none".to_owned(),
        };
        if !expected.is_empty() && !expected.iter().any(|app| **app == actual) {
            differences.push(format!("app: {actual}, expected {}", one_of(&expected)));
        }
        if let (Some(expected), Some(responder)) = (self.expect.port, responder)
            && expected != responder.port
        {
            differences.push(format!("port of the app: {:?}, expected {expected:?}", responder.port));
        }
        if self.expect.not_app.contains(&actual) {
            differences.push(format!("app: {actual}, which must not receive the request"));
        }
    }

    /// Compares what the app received.
    fn compare_request(&self, received: &ReceivedResponse, differences: &mut Vec<String>) {
        let expect = self.expect;
        let Some(echo) = &received.echo else {
            if expect.path.is_some() || expect.host.is_some() || !expect.request_headers.is_empty() {
                differences.push("the response is not from an app".to_owned());
            }
            return;
        };
        let pairs = [
            ("path", &expect.path, &echo.path),
            ("host", &expect.host, &echo.host),
            ("method", &expect.method, &echo.method),
            ("version", &expect.version, &echo.version),
        ];
        for (name, expected, actual) in pairs {
            if expected.as_ref().is_some_and(|expected| expected != actual) {
                let expected = expected.as_deref().unwrap_or_default();
                differences.push(format!("{name} at the app: {actual:?}, expected {expected:?}"));
            }
        }
        if expect.received_bytes.is_some_and(|expected| expected != echo.body_bytes) {
            differences.push(format!("request body at the app: {} bytes", echo.body_bytes));
        }
        for (name, expected) in &expect.request_headers {
            let values = echo.headers.get(&name.to_ascii_lowercase());
            let actual = values.map(|values| values.join(", "));
            if !matches(expected, actual.as_deref()) {
                differences
                    .push(format!("request header {name} at the app: {actual:?}, expected {expected:?}"));
            }
        }
    }

    fn compare_response(&self, received: &ReceivedResponse, differences: &mut Vec<String>) {
        for (name, expected) in &self.expect.headers {
            let actual = received.field(name);
            if !matches(expected, actual) {
                differences.push(format!("header {name}: {actual:?}, expected {expected:?}"));
            }
        }
        if self.expect.body_bytes.is_some_and(|expected| expected != received.body_bytes) {
            differences.push(format!("body: {} bytes", received.body_bytes));
        }
    }

    fn compare_certificate(&self, received: &ReceivedResponse, differences: &mut Vec<String>) {
        let presents = |name: &String| {
            let pair = self.certificates.get(name);
            pair.is_some_and(|pair| received.certificate.as_deref() == Some(pair.der()))
        };
        if let Some(name) = self.expect.certificate.as_ref().filter(|name| !presents(name)) {
            differences.push(format!("certificate: not the one in Secret {name:?}"));
        }
        if let Some(name) = self.expect.not_certificate.as_ref().filter(|name| presents(name)) {
            differences.push(format!("certificate: the one in Secret {name:?}"));
        }
    }
}

fn matches(expected: &str, actual: Option<&str>) -> bool {
    actual.is_some_and(|actual| expected == "*" || expected == actual)
}

fn one_of<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
