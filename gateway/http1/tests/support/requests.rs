//! Parses request heads with every kind of delivery and compares the outcome.

use bytes::BytesMut;
use http1::parse::request;
use http1::{BodyLength, FramingError, Head, HeadError, HeadLimits, HeadScanner};

use super::deliveries::deliveries;

use ParseOutcome::{Accepted, BadFraming, Incomplete, Rejected};

/// The outcome of parsing a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ParseOutcome {
    Accepted(BodyLength),
    Rejected(HeadError),
    BadFraming(FramingError),
    Incomplete,
}

/// A second request behind the head, as in request smuggling. It must stay in the buffer.
pub(crate) const NEXT_REQUEST: &[u8] = b"GET /rest HTTP/1.1\r\nHost: rest.example\r\n\r\n";

/// Parses the pieces one after another, as a connection delivers them, until there is a result.
pub(crate) fn parse_pieces(
    pieces: &[&[u8]],
    limits: &HeadLimits,
) -> (Result<Option<Head>, HeadError>, BytesMut) {
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

fn outcome(found: &Result<Option<Head>, HeadError>) -> ParseOutcome {
    match found {
        Err(error) => Rejected(*error),
        Ok(None) => Incomplete,
        Ok(Some(head)) => BodyLength::from_request(head).map_or_else(BadFraming, Accepted),
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

pub(crate) fn check_with_limits(limits: &HeadLimits, name: &str, head: &[u8], expected: ParseOutcome) {
    let is_accepted = matches!(expected, Accepted(_) | BadFraming(_));
    // An incomplete head gets no bytes behind it: they could complete it.
    let bytes = if is_accepted { [head, NEXT_REQUEST].concat() } else { head.to_vec() };
    let mut first = None;
    for pieces in deliveries(&bytes) {
        let cut = pieces.first().map_or(0, |piece| piece.len());
        let (found, left) = parse_pieces(&pieces, limits);
        assert_eq!(outcome(&found), expected, "{name}, first piece {cut} bytes");
        let Ok(Some(head)) = found else { continue };
        assert_eq!(left, NEXT_REQUEST, "{name}, first piece {cut} bytes: what follows the head");
        let shape = shape(&head);
        assert_eq!(*first.get_or_insert_with(|| shape.clone()), shape, "{name}, first piece {cut} bytes");
    }
}
