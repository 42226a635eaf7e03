//! A body reader behind filters.

use std::task::{Context, Poll};

use super::metered::BodyReadError;
use crate::data::wire::{BodyReader, Piece};
use crate::filter::{BodyEnd, BodyError, BodyPiece, Direction, Progress};

/// Reads a body through the filters that take it.
pub(super) struct Filtered<'a, R> {
    /// Source of the body.
    pub(super) source: R,
    /// Filters of the request; `None` without filters.
    pub(super) filters: Option<&'a mut Progress>,
    /// Direction of the body.
    pub(super) direction: Direction,
}

impl<R: BodyReader<Error = BodyReadError>> BodyReader for Filtered<'_, R> {
    type Error = BodyReadError;

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyReadError>> {
        let Self { source, filters, direction } = self;
        match filters {
            Some(filters) if filters.takes_body(*direction) => {
                let piece = filters.poll_piece(*direction, &mut |cx| poll_source(source, cx), cx);
                piece.map_ok(Piece::from).map_err(BodyReadError::from)
            }
            Some(_) | None => source.poll_piece(cx),
        }
    }
}

/// Reads a piece for filters.
pub(super) fn poll_source<R: BodyReader>(
    source: &mut R,
    cx: &mut Context<'_>,
) -> Poll<Result<BodyPiece, R::Error>> {
    source.poll_piece(cx).map_ok(BodyPiece::from)
}

impl From<Piece> for BodyPiece {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::Data(data),
            Piece::Trailers(trailers) => Self::End(BodyEnd::Trailers(Box::new(trailers))),
            Piece::End => Self::End(BodyEnd::Plain),
        }
    }
}

impl From<BodyPiece> for Piece {
    fn from(piece: BodyPiece) -> Self {
        match piece {
            BodyPiece::Data(data) => Self::Data(data),
            BodyPiece::End(BodyEnd::Trailers(trailers)) => Self::Trailers(*trailers),
            BodyPiece::End(BodyEnd::Plain) => Self::End,
        }
    }
}

impl From<BodyError<BodyReadError>> for BodyReadError {
    fn from(error: BodyError<BodyReadError>) -> Self {
        match error {
            BodyError::Source(error) => error,
            BodyError::Reply(reply) => Self::Refused(reply),
        }
    }
}
