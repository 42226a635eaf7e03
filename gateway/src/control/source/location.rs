//! Where things stand in what a source read: files, lines, and the lines of an object's fields.
//!
//! A person who is told of a Problem wants to go there. Costs about 120 bytes an object and 8 a line of YAML that
//! begins with a field of it. Not here: reading files, and Problems of sources that have no files.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use routing::problem::Problem;

/// A place in a file. Prints as `shop/web.yaml:12`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, relative to the folder.
    pub file: Arc<str>,
    /// The line, from 1; nothing: the file as a whole.
    pub line: Option<NonZeroU32>,
}

impl Location {
    /// Makes a location from a line as the YAML library counts it: from 1, or 0 if it does not know.
    pub fn new(file: &Arc<str>, line: u64) -> Self {
        // No file that is read has so many lines.
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

/// A Problem that a source found itself, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocatedProblem {
    /// The Problem.
    pub problem: Problem,
    /// Where it stands, if that is a file.
    pub location: Option<Location>,
}

/// Where an object stands, and where its fields do. A clone shares everything.
#[derive(Clone, Debug)]
pub struct SourceMap(Arc<SourceMapInner>);

#[derive(Debug, PartialEq, Eq)]
struct SourceMapInner {
    start: Location,
    lines: FieldLines,
}

impl SourceMap {
    /// Puts together where an object starts and the lines of its fields.
    pub fn new(start: Location, lines: FieldLines) -> Self {
        Self(Arc::new(SourceMapInner { start, lines }))
    }

    /// Where the object starts.
    pub fn start(&self) -> &Location {
        &self.0.start
    }

    /// Where a field path such as `spec.rules[0].host` stands, or else the deepest part of it that is there.
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

/// The lines of an object's fields, for those that do not begin in the line of what is around them.
///
/// Field paths are kept as 32-bit hashes: a wrong line for one in a million Problems costs nobody anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FieldLines(Box<[(FieldPathHash, u32)]>);

impl FieldLines {
    /// Takes lines in any order.
    pub fn new(mut lines: Vec<(FieldPathHash, u32)>) -> Self {
        lines.sort_unstable();
        Self(lines.into())
    }

    /// The line of a field path, or of the deepest part of it that has one; nothing: that of the object.
    pub fn find(&self, field: &str) -> Option<u32> {
        let (mut hash, mut line) = (FieldPathHash::ROOT, None);
        for segment in path_segments(field) {
            hash = hash.child(segment);
            let at = self.0.partition_point(|(known, _)| *known < hash);
            line = self.0.get(at).filter(|(known, _)| *known == hash).map(|(_, line)| *line).or(line);
        }
        line
    }
}

/// Keys and indices of a field path. Inside brackets dots belong to the key: `annotations[example.com/x]`.
fn path_segments(field: &str) -> impl Iterator<Item = &str> {
    let parts = field.split(['[', ']']).enumerate().flat_map(|(position, part)| {
        let separator = if position % 2 == 0 { '.' } else { ']' };
        part.split(separator)
    });
    parts.filter(|segment| !segment.is_empty())
}

/// A field path as a number: FNV-1a over its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPathHash(u32);

impl FieldPathHash {
    /// The empty path.
    pub const ROOT: Self = Self(0x811c_9dc5);

    /// The path that goes on with a key, or with an index in decimal.
    #[must_use]
    pub fn child(self, segment: &str) -> Self {
        // A byte that no UTF-8 text holds ends each step.
        let bytes = segment.bytes().chain([0xff]);
        Self(bytes.fold(self.0, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
    }
}
