//! Splits a text into YAML documents: a wrapper of the YAML library with limits and without snippets.
//!
//! Errors never quote a value of the file, because files contain Secrets. Not here: what a document means
//! (`document`).

use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter as _};

use super::node::{Node, ParseError};

/// Maximum nodes of a document. A larger one is rejected. Covers about 25,000 Ingresses in one List, which take 150 MB
/// while they are parsed.
const MAX_NODES: usize = 1_000_000;
/// Maximum nesting of a document. A deeper one is rejected. An Ingress needs 9 levels, inside a List 11.
const MAX_DEPTH: usize = 64;
/// Stack size of a thread that parses documents. A level takes up to 45 KB in a build without optimisation, so the
/// deepest document takes 3 MB. The rest is for builds with instrumentation. Untouched pages use no memory.
pub(super) const STACK_BYTES: usize = 16 * 1024 * 1024;
/// Maximum nodes that the aliases of a document expand to. Stops alias bombs.
const MAX_ALIAS_EVENTS: usize = 100_000;
/// Maximum bytes of text in all documents of a file, with aliases expanded. Twice the size limit of a file, so that
/// only an alias bomb exceeds it.
const MAX_TEXT_BYTES: usize = 128 * 1024 * 1024;

/// Parses a text and calls `handle` for each document. Skips empty documents. Accepts JSON, which is YAML.
///
/// # Errors
/// Returns the first syntax error, duplicate key or exceeded limit. `handle` was called for the documents before it.
pub(crate) fn for_each_document(text: &str, mut handle: impl FnMut(&Node)) -> Result<(), ParseError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
            max_depth: MAX_DEPTH,
            max_aliases: 10_000,
            max_anchors: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIAS_EVENTS,
        },
        emit_comments: false,
        with_snippet: false,
    };
    let mut remaining = MAX_TEXT_BYTES;
    let mut bytes = text.as_bytes();
    for document in serde_saphyr::read_with_options::<_, Node>(&mut bytes, options) {
        let document = document.map_err(|error| ParseError::new(line(&error), message(&error)))?;
        remaining = remaining.checked_sub(document.text_bytes()).ok_or_else(|| {
            ParseError::new(Some(document.line), "aliases make this file too large".to_owned())
        })?;
        handle(&document);
    }
    Ok(())
}

fn line(error: &Error) -> Option<u64> {
    error.location().map(|location| location.line()).filter(|line| *line > 0)
}

/// Describes an error without quoting a value. Uses only those messages of the library that contain none.
fn message(error: &Error) -> String {
    match error.without_snippet() {
        Error::AliasError { error, .. } => message(error),
        Error::DuplicateMappingKey { key: Some(key), .. } if key.len() <= 64 => {
            format!("duplicate key \"{}\"", key.escape_debug())
        }
        Error::DuplicateMappingKey { .. } => "duplicate key".to_owned(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            format!(
                "too large or too deeply nested: at most {MAX_NODES} nodes and {MAX_DEPTH} levels are read"
            )
        }
        // The cause is almost always a wildcard host.
        Error::UnknownAnchor { .. } => {
            "not YAML: a value that starts with a star needs quotes: \"*.example.com\"".to_owned()
        }
        error @ (Error::ExternalMessage { .. }
        | Error::Eof { .. }
        | Error::Unexpected { .. }
        | Error::MergeValueNotMapOrSeqOfMaps { .. }
        | Error::ContainerEndMismatch { .. }
        | Error::InvalidBinaryBase64 { .. }) => {
            format!("not YAML: {}", DefaultMessageFormatter.format_message(error))
        }
        Error::NonFiniteFloat { .. } => "a number is not finite".to_owned(),
        _ => "cannot be read as YAML".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> Result<usize, ParseError> {
        let mut count = 0;
        for_each_document(text, |_| count += 1)?;
        Ok(count)
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert_eq!(count("a: 1\n---\n---\n# nothing\n---\nb: 2\n").unwrap(), 2);
        assert_eq!(count("").unwrap(), 0);
        assert_eq!(
            count("{\n\t\"a\": [\n\t\t1,\n\t\t\"\\u00e9\\/\"\n\t]\n}\n").unwrap(),
            1,
            "JSON with tabs"
        );
    }

    #[test]
    fn errors_have_a_line_and_quote_no_value() {
        let error = count("a: 1\n---\nb: [1,\n").unwrap_err();
        assert!(error.line.is_some_and(|line| line >= 3), "{error:?}");
        let error = count("data:\n  tls.key: |\nsecretsecret\n").unwrap_err();
        assert!(error.line.is_some() && !error.message.contains("secret"), "{error:?}");
        let error = count("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (Some(3), "duplicate key \"a\""));
    }

    #[test]
    fn unquoted_wildcard_error_suggests_quotes() {
        let error = count("rules:\n- host: *.example.com\n").unwrap_err();
        assert_eq!(error.line, Some(2));
        assert!(error.message.ends_with("needs quotes: \"*.example.com\""), "{error:?}");
    }

    #[test]
    fn alias_bombs_are_rejected() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        assert!(count(&bomb).is_err());
        let text = format!("'{}'", "x".repeat(1_000_000)); // Quoted, so that it is not parsed as a number.
        let wide = format!("a: &a {text}\nb: [{}]\n", "*a, ".repeat(5_000));
        assert!(count(&wide).is_err());
        let document = format!("a: &a {text}\nb: [{}]\n---\n", "*a, ".repeat(50));
        assert_eq!(count(&document.repeat(4)).unwrap_err().message, "aliases make this file too large");
        assert!(count("a: &a [*a]\n").is_err());
    }

    #[test]
    fn deep_nesting_is_rejected_within_the_stack() {
        let deep = || {
            for opener in ["[", "- ", "{a: ", "? ", "[{a: "] {
                assert!(count(&opener.repeat(100_000)).is_err());
            }
            let nested = |levels| count(&format!("{}1{}", "[".repeat(levels), "]".repeat(levels)));
            assert!(nested(MAX_DEPTH + 1).is_err());
            assert_eq!(nested(MAX_DEPTH).unwrap(), 1);
            assert_eq!(count(&format!("{}1{}", "{a: ".repeat(MAX_DEPTH), "}".repeat(MAX_DEPTH))).unwrap(), 1);
        };
        // Half the stack of the source's thread.
        std::thread::Builder::new().stack_size(STACK_BYTES / 2).spawn(deep).unwrap().join().unwrap();
    }
}
