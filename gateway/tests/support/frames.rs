//! An HTTP/2 client that writes its frames itself, so that a test decides what it never reads or acknowledges.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::DEADLINE;

/// Frame types (RFC 9113 §6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

/// Frame flags.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Initial window of a connection, and of its streams without SETTINGS.
pub(crate) const DEFAULT_WINDOW: u32 = 65_535;

/// A received frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection with prior knowledge. Nothing is read unless a test asks for it.
pub(crate) struct FrameClient {
    pub(crate) stream: TcpStream,
}

impl FrameClient {
    /// Connects with these windows for responses: one for each stream, and one for the connection.
    pub(crate) fn connect(address: SocketAddr, stream_window: u32, connection_window: u32) -> Self {
        let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream };
        client.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let initial_window = [&[0, 4][..], &stream_window.to_be_bytes()].concat();
        client.send(SETTINGS, 0, 0, &initial_window);
        if connection_window > DEFAULT_WINDOW {
            client.add_window(0, connection_window - DEFAULT_WINDOW);
        }
        client
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.stream.write_all(&frame(kind, flags, stream, payload)).unwrap();
    }

    pub(crate) fn add_window(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    /// Sends the head of a request to `a.example` without a body.
    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        let head = request_head("GET", path, &[]);
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head);
    }

    /// Sends the head of a POST to `a.example`. Its body follows as DATA frames.
    pub(crate) fn post(&mut self, stream: u32, path: &str) {
        let head = request_head("POST", path, &[]);
        self.send(HEADERS, END_HEADERS, stream, &head);
    }

    /// Reads the next frame.
    pub(crate) fn read(&mut self) -> io::Result<Frame> {
        let mut header = [0; 9];
        self.stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & (u32::MAX >> 1);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind: header[3], flags: header[4], stream, payload })
    }

    /// Reads frames until one ends this stream, and returns the DATA bytes of the stream and the last frame.
    pub(crate) fn read_stream(&mut self, stream: u32) -> io::Result<(usize, Frame)> {
        let mut bytes = 0;
        loop {
            let frame = self.read()?;
            if frame.stream != stream {
                continue;
            }
            if frame.kind == DATA {
                bytes += frame.payload.len();
            }
            let ends = [DATA, HEADERS].contains(&frame.kind) && frame.flags & END_STREAM != 0;
            if ends || frame.kind == RST_STREAM {
                return Ok((bytes, frame));
            }
        }
    }
}

/// Encodes a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let header = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&header[..], payload].concat()
}

/// Encodes the header block of a request to `a.example`. All fields are literals without indexing (RFC 7541 §6.2.2).
pub(crate) fn request_head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    header_block(&[&pseudo[..], fields].concat())
}

/// Encodes a header block. Names and values have at most 126 bytes.
pub(crate) fn header_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
