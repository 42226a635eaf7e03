//! Feeds request heads to the parser in every way and compares what becomes of them.

use bytes::BytesMut;
use http1::parse::request;
use http1::{BodyLength, FramingError, Head, HeadError, HeadScanner, Limits};

use super::deliveries::deliveries;

use Expected::{Framing, Refused, Taken, Waits};

/// What becomes of a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    Taken(BodyLength),
    Refused(HeadError),
    Framing(FramingError),
    Waits,
}

/// What follows the head in the buffer and must stay there: a second request, as a smuggler would hide it.
pub(crate) const REST: &[u8] = b"GET /rest HTTP/1.1\r\nHost: rest.example\r\n\r\n";

/// Feeds the pieces as a connection would, and stops at the first answer.
pub(crate) fn feed(pieces: &[&[u8]], limits: &Limits) -> (Result<Option<Head>, HeadError>, BytesMut) {
    let (mut buffer, mut scanner) = (BytesMut::new(), HeadScanner::default());
    let mut pieces = pieces.iter();
    for piece in pieces.by_ref() {
        buffer.extend_from_slice(piece);
        let found = request(&mut buffer, &mut scanner, limits);
        if !matches!(found, Ok(None)) {
            pieces.for_each(|piece| buffer.extend_from_slice(piece));
            return (found, buffer);
        }
    }
    (Ok(None), buffer)
}

fn outcome(found: &Result<Option<Head>, HeadError>) -> Expected {
    match found {
        Err(error) => Refused(*error),
        Ok(None) => Waits,
        Ok(Some(head)) => BodyLength::of_request(head).map_or_else(Framing, Taken),
    }
}

fn shape(head: &Head) -> String {
    let fields: Vec<_> = head
        .fields()
        .map(|(known, name, value)| (known, name.escape_ascii(), value.escape_ascii()))
        .collect();
    format!(
        "{} {} {:?} {fields:?}",
        head.method().escape_ascii(),
        head.target().escape_ascii(),
        head.version()
    )
}

pub(crate) fn check_within(limits: &Limits, name: &str, head: &[u8], expected: Expected) {
    let takes = matches!(expected, Taken(_) | Framing(_));
    // A head that is not complete must not be completed by what follows it.
    let bytes = if takes { [head, REST].concat() } else { head.to_vec() };
    let mut first = None;
    for pieces in deliveries(&bytes) {
        let cut = pieces.first().map_or(0, |piece| piece.len());
        let (found, left) = feed(&pieces, limits);
        assert_eq!(outcome(&found), expected, "{name}, first piece {cut} bytes");
        let Ok(Some(head)) = found else { continue };
        assert_eq!(left, REST, "{name}, first piece {cut} bytes: what follows the head");
        let shape = shape(&head);
        assert_eq!(*first.get_or_insert_with(|| shape.clone()), shape, "{name}, first piece {cut} bytes");
    }
}
