//! README of the chart: its table of values is generated from the comments of values.yaml.

use serde_json::Value;

use crate::{expect, read};

const BEGIN: &str = "<!-- generated: values -->\n";
const END: &str = "<!-- end -->";

/// A value of values.yaml.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    default: String,
    about: String,
}

/// Returns all values with their comments. Sections are no values. Panics if a value has no comment.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut sections, mut about) = (Vec::new(), Vec::<(usize, String)>::new(), Vec::new());
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if let Some(comment) = line.strip_prefix("# ") {
            about.push(comment);
            continue;
        }
        let Some((key, default)) = line.split_once(':') else {
            // A comment that an empty line follows is about the file.
            about.clear();
            continue;
        };
        sections.retain(|(depth, _)| *depth < indent);
        let prefix: String = sections.iter().map(|(_, name)| format!("{name}.")).collect();
        let is_section = default.is_empty()
            && lines.get(at + 1).is_some_and(|next| next.len() - next.trim_start().len() > indent);
        if is_section {
            sections.push((indent, key.to_owned()));
            about.clear();
            continue;
        }
        assert!(!about.is_empty(), "values.yaml has no comment for {prefix}{key}");
        let row = Row { path: prefix + key, default: default.trim().to_owned(), about: about.join(" ") };
        rows.push(row);
        about.clear();
    }
    rows
}

fn table(rows: &[Row]) -> String {
    let line = |row: &Row| format!("| `{}` | `{}` | {} |\n", row.path, row.default, row.about);
    "| value | default | meaning |\n|---|---|---|\n".to_owned() + &rows.iter().map(line).collect::<String>()
}

#[test]
fn readme_has_all_values() {
    let page = read("README.md");
    let (before, rest) = page.split_once(BEGIN).expect("a generated table");
    let (_, after) = rest.split_once(END).expect("an end of the table");
    let rows = rows(&read("values.yaml"));
    assert!(rows.len() > 60, "{} values", rows.len());
    expect("README.md", &format!("{before}{BEGIN}{}{END}{after}", table(&rows)));
}

#[test]
fn rows_are_the_leaves_of_the_values() {
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    for row in rows(&read("values.yaml")) {
        let place = format!("/{}", row.path.replace('.', "/"));
        let value = values.pointer(&place).unwrap_or_else(|| panic!("{place}"));
        let default: Value = serde_saphyr::from_str(&row.default).unwrap();
        assert_eq!(*value, default, "{place}");
    }
}

#[test]
fn rows_have_path_default_and_comment() {
    let text =
        "# The file.\n\na:\n  # First\n  # value.\n  b: \"\"\n  c:\n    # Deep.\n    d: 1\n# Top.\ne: []\n";
    let row = |path: &str, default: &str, about: &str| Row {
        path: path.to_owned(),
        default: default.to_owned(),
        about: about.to_owned(),
    };
    let expected = [row("a.b", "\"\"", "First value."), row("a.c.d", "1", "Deep."), row("e", "[]", "Top.")];
    assert_eq!(rows(text), expected);
    assert!(std::panic::catch_unwind(|| rows("a: 1\n")).is_err());
}
