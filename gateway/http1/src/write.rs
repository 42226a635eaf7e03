//! Writes message heads. The caller decides which fields are sent.

use bytes::{BufMut, BytesMut};

use crate::framing::BodyLength;

/// Writes a request line for HTTP/1.1.
pub fn request_line(out: &mut BytesMut, method: &[u8], target: &[u8]) {
    out.reserve(method.len() + target.len() + 12);
    out.put_slice(method);
    out.put_u8(b' ');
    out.put_slice(target);
    out.put_slice(b" HTTP/1.1\r\n");
}

/// Writes a status line for HTTP/1.1. `status` is 100 to 599.
pub fn status_line(out: &mut BytesMut, status: u16, reason: &[u8]) {
    out.reserve(reason.len() + 16);
    out.put_slice(b"HTTP/1.1 ");
    number(out, u64::from(status));
    out.put_u8(b' ');
    out.put_slice(reason);
    out.put_slice(b"\r\n");
}

/// Writes a field line. Name and value must not contain CR, LF or NUL.
pub fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name);
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes the field that frames the body. Writes nothing for [`BodyLength::Empty`] and [`BodyLength::UntilClose`].
pub fn framing(out: &mut BytesMut, length: BodyLength) {
    match length {
        BodyLength::Empty | BodyLength::UntilClose => {}
        BodyLength::Exact(length) => {
            out.put_slice(b"content-length: ");
            number(out, length);
            out.put_slice(b"\r\n");
        }
        BodyLength::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// Writes the empty line that ends a head.
pub fn end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

/// Writes a decimal number.
pub fn number(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut length = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - length..).unwrap_or_default());
}
