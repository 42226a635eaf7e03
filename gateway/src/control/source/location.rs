//! Locations in what a source read: files, lines, and the lines of an object's fields.
//!
//! Problems carry them so that a user can open the file at the line. They cost about 120 bytes an object, and 8 bytes a
//! line of YAML on which a field starts. Not here: reading files, and Problems of sources without files.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use routing::problem::Problem;

/// A line of a file, or a whole file. Displays as `shop/web.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, relative to the folder.
    pub file: Arc<str>,
    /// The line, from 1; `None` for the file as a whole.
    pub line: Option<NonZeroU32>,
}

impl Location {
    /// Returns a location for a line as the YAML library counts it: from 1, or 0 if the line is unknown.
    pub fn new(file: &Arc<str>, line: u64) -> Self {
        // Files are at most 64 MiB, so they have fewer lines.
        let line = NonZeroU32::new(u32::try_from(line).unwrap_or(u32::MAX));
        Self { file: Arc::clone(file), line }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// A Problem of a source, with its location.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocatedProblem {
    /// The Problem.
    pub problem: Problem,
    /// The location; `None` if it is not in a file.
    pub location: Option<Location>,
}

/// The location of an object and of its fields. Clones share the content.
#[derive(Clone, Debug)]
pub struct SourceMap(Arc<SourceMapInner>);

#[derive(Debug, PartialEq, Eq)]
struct SourceMapInner {
    start: Location,
    lines: FieldLines,
}

impl SourceMap {
    /// Combines the start of an object with the lines of its fields.
    pub fn new(start: Location, lines: FieldLines) -> Self {
        Self(Arc::new(SourceMapInner { start, lines }))
    }

    /// Returns the first line of the object.
    pub fn start(&self) -> &Location {
        &self.0.start
    }

    /// Returns the location of a field path such as `spec.rules[0].host`, or of its deepest existing prefix.
    pub fn locate(&self, field: &str) -> Location {
        let line = self.0.lines.find(field).and_then(NonZeroU32::new).or(self.0.start.line);
        Location { file: Arc::clone(&self.0.start.file), line }
    }
}

impl PartialEq for SourceMap {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

/// The lines of an object's fields. Leaves out a field that starts on the line of its parent.
///
/// Keys are 32-bit hashes of field paths. A collision, about one in a million Problems, shows a wrong line only.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FieldLines(Box<[(FieldPathHash, u32)]>);

impl FieldLines {
    /// Collects lines, which may come in any order.
    pub fn new(mut lines: Vec<(FieldPathHash, u32)>) -> Self {
        lines.sort_unstable();
        Self(lines.into())
    }

    /// Returns the line of a field path, or of its deepest prefix with a line. Returns `None` for the object's own
    /// line.
    pub fn find(&self, field: &str) -> Option<u32> {
        let (mut hash, mut line) = (FieldPathHash::ROOT, None);
        for segment in path_segments(field) {
            hash = hash.child(segment);
            let index = self.0.partition_point(|(known, _)| *known < hash);
            line = self.0.get(index).filter(|(known, _)| *known == hash).map(|(_, line)| *line).or(line);
        }
        line
    }
}

/// Returns the keys and indices of a field path. A dot inside brackets is part of a key: `annotations[example.com/x]`.
fn path_segments(field: &str) -> impl Iterator<Item = &str> {
    let parts = field.split(['[', ']']).enumerate().flat_map(|(position, part)| {
        let separator = if position % 2 == 0 { '.' } else { ']' };
        part.split(separator)
    });
    parts.filter(|segment| !segment.is_empty())
}

/// The FNV-1a hash of a field path's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPathHash(u32);

impl FieldPathHash {
    /// The empty path.
    pub const ROOT: Self = Self(0x811c_9dc5);

    /// Returns the path with one more segment: a key, or an index in decimal.
    #[must_use]
    pub fn child(self, segment: &str) -> Self {
        // The byte 0xff does not occur in UTF-8, so it ends a segment.
        let bytes = segment.bytes().chain([0xff]);
        Self(bytes.fold(self.0, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }
}
