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

/// Returns the clause `; did you mean …?` with the known name that differs in the fewest characters, in the part after the
/// last slash. Returns an empty text if more than a third of the characters differ.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let wanted = last(name);
    let distances = known.map(|known| (strsim::damerau_levenshtein(&wanted, &last(known)), known));
    let nearest = distances.min().filter(|(distance, _)| 3 * distance <= wanted.len());
    nearest.map(|(_, known)| format!("; did you mean {known}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["web", "api", "wasm-gateway.dev/endpoints"];
        for (name, expected) in [
            ("wbe", "; did you mean web?"),
            ("Api", "; did you mean api?"),
            ("wasm-gateway.dev/endpoint", "; did you mean wasm-gateway.dev/endpoints?"),
            ("wasm-gateway.dev/timeout", ""),
            ("colour", ""),
            ("", ""),
        ] {
            assert_eq!(did_you_mean(name, known.into_iter()), expected, "{name}");
        }
    }
}
