//! The older text format of Prometheus, version 0.0.4, for scrapers that do not ask for OpenMetrics.

/// The media type of the older format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Converts OpenMetrics text. In the older format, a family of counters has the name of its samples, and there is no end
/// mark.
pub fn from_open_metrics(text: &str) -> String {
    let mut converted = String::with_capacity(text.len() + text.len() / 16);
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            break;
        }
        let counter = lines.peek().and_then(|next| counter_name(next)).or(counter_name(line));
        match (line.strip_prefix("# "), counter) {
            (Some(comment), Some(name)) => converted.push_str(&rename(comment, name)),
            _ => converted.push_str(line),
        }
        converted.push('\n');
    }
    converted
}

/// Returns the name in `# TYPE name counter`.
fn counter_name(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" counter")
}

/// Appends the suffix of samples to the name in a comment, if it is this one.
fn rename(comment: &str, name: &str) -> String {
    let parts = comment.split_once(' ').and_then(|(keyword, rest)| Some((keyword, rest.strip_prefix(name)?)));
    match parts {
        Some((keyword, rest)) => format!("# {keyword} {name}_total{rest}"),
        None => format!("# {comment}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_get_the_name_of_their_samples() {
        let text = "# HELP a Help of a.\n# TYPE a counter\na_total{x=\"1\"} 2\n# HELP b Help of b.\n# TYPE b gauge\nb 3\n# EOF\n";
        let expected = "# HELP a_total Help of a.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n# HELP b Help of b.\n# TYPE b gauge\nb 3\n";
        assert_eq!(from_open_metrics(text), expected);
    }
}
