//! A blocking HTTP/1.1 client over any byte stream. It never retries, and never opens a connection by itself.
//!
//! Not supported: chunked and informational responses. The tested programs send neither.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A complete response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    head: String,
    /// The body. Bytes other than UTF-8 are replaced.
    pub body: String,
}

impl Response {
    /// Returns true if status and body are these.
    pub fn is(&self, status: u16, body: &str) -> bool {
        self.status == status && self.body == body
    }

    /// Returns the value of the first field with this name, ignoring case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }
}

/// A connection. Requests on it follow one another.
#[derive(Debug)]
pub struct HttpClient<S> {
    /// The connection, for tests that use it directly.
    pub stream: S,
    received: Vec<u8>,
}

impl HttpClient<TcpStream> {
    /// Connects to an address. `timeout` applies to connecting and to each read and write.
    ///
    /// # Errors
    /// The connection cannot be opened in time.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }
}

impl<S: Read + Write> HttpClient<S> {
    /// Wraps an open connection.
    pub fn new(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Sends a GET and reads the response. The connection stays open.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Response> {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Sends a GET and reads the response until the server closes the connection. `fields` are whole lines with CRLF.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn get_and_close(&mut self, host: &str, path: &str, fields: &str) -> io::Result<Response> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n");
        self.stream.write_all(head.as_bytes())?;
        self.stream.read_to_end(&mut self.received)?;
        self.read_response()
    }

    /// Sends a POST and reads the response. The connection stays open.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn post(&mut self, host: &str, path: &str, body: &str) -> io::Result<Response> {
        let length = body.len();
        self.send(&format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"))
    }

    /// Sends a request in one write and reads the response: by its Content-Length, or else until the connection ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if the connection ends within the response, [`io::ErrorKind::InvalidData`] if
    /// the response is not HTTP/1.1, or the error of the connection.
    pub fn send(&mut self, request: &str) -> io::Result<Response> {
        self.stream.write_all(request.as_bytes())?;
        self.read_response()
    }

    fn read_response(&mut self) -> io::Result<Response> {
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).into_owned();
            }
            self.receive_more()?;
        };
        let invalid =
            |head: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {head:?}"));
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let mut response =
            Response { status: status.ok_or_else(|| invalid(&head))?, head, body: String::new() };
        let body: Vec<u8> = match response.field("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| invalid(&response.head))?;
                while self.received.len() < length {
                    self.receive_more()?;
                }
                self.received.drain(..length).collect()
            }
            None => {
                self.stream.read_to_end(&mut self.received)?;
                std::mem::take(&mut self.received)
            }
        };
        response.body = String::from_utf8_lossy(&body).into_owned();
        Ok(response)
    }

    fn receive_more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let length = self.stream.read(&mut buffer)?;
        if length == 0 {
            let received = String::from_utf8_lossy(&self.received);
            let message = format!("connection closed within a response: {received:?}");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.received.extend_from_slice(buffer.get(..length).unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, ErrorKind, Read, Result, Write};

    use super::HttpClient;

    /// A server that sends a fixed text, one byte per read, and drops what it receives.
    struct FixedServer(Cursor<&'static str>);

    impl Read for FixedServer {
        fn read(&mut self, into: &mut [u8]) -> Result<usize> {
            self.0.read(&mut into[..1])
        }
    }

    impl Write for FixedServer {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn client(text: &'static str) -> HttpClient<FixedServer> {
        HttpClient::new(FixedServer(Cursor::new(text)))
    }

    #[test]
    fn response_with_length_is_read_to_its_end_only() {
        let mut client = client("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\n");
        assert!(client.get("a.example", "/").unwrap().is(200, "ok"));
        assert_eq!(client.stream.0.position(), 40);
    }

    #[test]
    fn response_without_length_is_read_until_close() {
        let response = client("HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\nnone").get("a.example", "/").unwrap();
        assert!(response.is(404, "none"), "{response:?}");
        assert_eq!((response.field("x-a"), response.field("x-b")), (Some("b"), None));
    }

    #[test]
    fn truncated_response_is_an_unexpected_eof() {
        for text in ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "HTTP/1.1 200", ""] {
            let error = client(text).get("a.example", "/").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{text}");
        }
    }

    #[test]
    fn response_other_than_http_1_1_is_invalid() {
        for text in
            ["SSH-2.0\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
        {
            assert_eq!(
                client(text).get("a.example", "/").unwrap_err().kind(),
                ErrorKind::InvalidData,
                "{text}"
            );
        }
    }
}
