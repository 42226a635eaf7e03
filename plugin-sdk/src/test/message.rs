//! Requests of clients and responses of endpoints and callouts.

use api::CaseRequest;
use api::CaseResponse;
use api::FieldLine;

/// Fields in order, with names in lower case.
pub(super) type FieldList = Vec<(String, Vec<u8>)>;

/// A request of a client.
#[derive(Clone, Debug)]
pub struct MockRequest(pub(super) MockMessage);

/// A response of an endpoint or to a callout.
#[derive(Clone, Debug)]
pub struct MockResponse(pub(super) MockMessage);

/// Head, body and trailers.
#[derive(Clone, Debug, Default)]
pub(super) struct MockMessage {
    pub(super) headers: FieldList,
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) trailers: FieldList,
}

impl MockRequest {
    /// Creates a request to `example.com` without a body.
    pub fn new(method: &str, path: &str) -> Self {
        let mut message = MockMessage::default();
        for (name, value) in
            [(":method", method), (":scheme", "http"), (":authority", "example.com"), (":path", path)]
        {
            push(&mut message.headers, name, value);
        }
        Self(message)
    }

    /// Creates a request `GET`.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Sets the host.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.0.headers.retain(|(name, _)| name != ":authority");
        push(&mut self.0.headers, ":authority", authority);
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        push(&mut self.0.headers, name, value);
        self
    }

    /// Adds a piece of the body.
    #[must_use]
    pub fn body(mut self, piece: impl Into<Vec<u8>>) -> Self {
        self.0.pieces.push(piece.into());
        self
    }

    /// Adds a trailer field.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        push(&mut self.0.trailers, name, value);
        self
    }

    pub(super) fn from_case(case: &CaseRequest) -> Self {
        let mut request = Self::new(&case.method, &case.path).authority(&case.authority);
        request.0.extend(&case.headers, &case.pieces(), &case.trailers);
        request
    }
}

impl MockResponse {
    /// Creates a response without a body.
    pub fn new(status: u16) -> Self {
        let mut message = MockMessage::default();
        push(&mut message.headers, ":status", status.to_string());
        Self(message)
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        push(&mut self.0.headers, name, value);
        self
    }

    /// Adds a piece of the body.
    #[must_use]
    pub fn body(mut self, piece: impl Into<Vec<u8>>) -> Self {
        self.0.pieces.push(piece.into());
        self
    }

    /// Adds a trailer field.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        push(&mut self.0.trailers, name, value);
        self
    }

    pub(super) fn from_case(case: &CaseResponse) -> Self {
        let mut response = Self::new(case.status);
        response.0.extend(&case.headers, &case.pieces(), &case.trailers);
        response
    }
}

impl MockMessage {
    fn extend(&mut self, headers: &[FieldLine], pieces: &[&str], trailers: &[FieldLine]) {
        for line in headers {
            push(&mut self.headers, &line.name, &line.value);
        }
        self.pieces.extend(pieces.iter().map(|piece| piece.as_bytes().to_vec()));
        for line in trailers {
            push(&mut self.trailers, &line.name, &line.value);
        }
    }
}

fn push(fields: &mut FieldList, name: &str, value: impl AsRef<[u8]>) {
    fields.push((name.to_ascii_lowercase(), value.as_ref().to_vec()));
}
