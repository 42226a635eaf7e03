//! "Did you mean …?": finds the known name that is most like an unknown one.

/// Minimum Jaro-Winkler similarity of a suggestion. Below it, suggestions mislead more often than they help.
const MIN_SIMILARITY: f64 = 0.7;

/// Returns the known name that is most similar to `name`, or `None` if none is similar.
///
/// The last part of a dotted name also counts, so that a key without its section finds the full key.
pub fn most_similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let similarity =
        |known: &str| strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(&last(name), &last(known)));
    let best = known.max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > MIN_SIMILARITY).then_some(best)
}

/// Returns `; did you mean …?` with the most similar known name, or an empty text.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    most_similar(name, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}
