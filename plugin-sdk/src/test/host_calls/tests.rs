//! Calls that no host accepts are found.

use super::super::mock_stream::MockStream;
use super::*;

/// A host with a request at its head, as the effective context.
fn host() -> HostCalls {
    let mut state = State::new();
    let mut stream = MockStream::default();
    stream.request.headers = Some(vec![(":path".to_owned(), b"/".to_vec())]);
    state.streams.insert(7, stream);
    state.effective = 7;
    HostCalls(RefCell::new(state))
}

fn reply() -> LocalResponse<'static> {
    LocalResponse { status: 200, details: "", body: b"", headers: b"", grpc_status: None }
}

#[test]
fn calls_that_no_host_accepts_are_found() {
    type Call = fn(&HostCalls) -> HostResult<()>;
    let rows: [(Call, &str); 8] = [
        (
            |host| {
                host.send_local_response(&reply())?;
                host.send_local_response(&reply())
            },
            "proxy_send_local_response: the stream has a response, or there is no stream",
        ),
        (|host| host.continue_stream(Direction::Request), "proxy_continue_stream: the stream does not wait"),
        (
            |host| host.edit_headers(MapKind::ResponseHeaders, Edit::Remove(b"a")),
            "proxy_replace_header_map_value: the message is not there, or has been sent",
        ),
        (
            |host| {
                host.set_buffer_bytes(BufferKind::RequestBody, 0, 100, b"abc")?;
                host.set_buffer_bytes(BufferKind::RequestBody, 1, 1, b"x")
            },
            "proxy_set_buffer_bytes: the range is a part of the buffer",
        ),
        (
            |host| host.set_buffer_bytes(BufferKind::CalloutBody, 0, 0, b""),
            "proxy_set_buffer_bytes: there is no such body",
        ),
        (|host| host.set_effective_context(8), "proxy_set_effective_context: the context does not exist"),
        (|host| host.record_metric(0, 1), "proxy_record_metric: the metric does not exist"),
        (
            |host| {
                let timeout = Duration::ZERO;
                let request = HttpRequest { upstream: "a", headers: b"", body: b"", trailers: b"", timeout };
                host.http_call(&request).map(|_| ())
            },
            "proxy_http_call: a pseudo-header is missing",
        ),
    ];
    for (call, expected) in rows {
        let host = host();
        let error = call(&host).unwrap_err();
        assert_eq!(error.status(), Status::BadArgument, "{expected}");
        assert_eq!(host.0.borrow().misuse, [expected]);
    }
}

#[test]
fn head_cannot_be_edited_after_it_was_sent() {
    let host = host();
    assert_eq!(host.edit_headers(MapKind::RequestHeaders, Edit::Set(b":path", b"/b")), Ok(()));
    if let Some(stream) = host.0.borrow_mut().streams.get_mut(&7) {
        stream.request.flush();
    }
    assert_eq!(host.header_value(MapKind::RequestHeaders, b":path"), Ok(b"/b".to_vec()));
    host.edit_headers(MapKind::RequestHeaders, Edit::Append(b"a", b"b")).unwrap_err();
    host.send_local_response(&reply()).unwrap();
}

#[test]
fn buffers_are_read_up_to_their_end() {
    let host = host();
    host.set_buffer_bytes(BufferKind::RequestBody, 0, 0, b"cd").unwrap();
    host.set_buffer_bytes(BufferKind::RequestBody, 0, 0, b"ab").unwrap();
    host.set_buffer_bytes(BufferKind::RequestBody, 4, 0, b"ef").unwrap();
    for (start, max, expected) in
        [(0, 100, "abcdef"), (2, 2, "cd"), (6, 1, ""), (7, 1, ""), (1, usize::MAX, "bcdef")]
    {
        let bytes = host.buffer_bytes(BufferKind::RequestBody, start, max).unwrap();
        assert_eq!(bytes, expected.as_bytes(), "{start} {max}");
    }
}
