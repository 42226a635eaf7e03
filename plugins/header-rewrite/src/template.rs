//! Values with properties in them.

use plugin_sdk::prelude::*;

/// Start of the path of a header field. The rest is the field's name, dots included.
const REQUEST_HEADERS: &str = "request.headers.";

/// A value: text, and properties as `${PATH}`. `$$` is a dollar sign.
#[derive(Debug, Deserialize, Config)]
#[serde(try_from = "String")]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    /// The segments of a property's path.
    Property(Vec<String>),
}

impl Template {
    /// Returns the value with the present properties. Returns `None` if one is absent.
    pub(crate) fn render(&self) -> Result<Option<Vec<u8>>, Error> {
        let mut value = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.extend_from_slice(text.as_bytes()),
                Part::Property(path) => match read(path)? {
                    Some(property) => value.extend_from_slice(&property),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(value))
    }
}

/// Reads a property as text. Those that are numbers are written in decimal.
fn read(path: &[String]) -> Result<Option<Vec<u8>>, Error> {
    let segments = || path.iter().map(String::as_str);
    let joined = path.join(".");
    if matches!(joined.as_str(), "request.size" | "response.code" | "response.size" | "source.port") {
        return Ok(property::integer(segments())?.map(|number| number.to_string().into_bytes()));
    }
    Ok(property::bytes(segments())?)
}

impl TryFrom<String> for Template {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once('$') {
            push_text(&mut parts, before);
            if let Some(behind) = behind.strip_prefix('$') {
                push_text(&mut parts, "$");
                rest = behind;
                continue;
            }
            let inner = behind.strip_prefix('{').and_then(|inner| inner.split_once('}'));
            let (path, behind) = inner.ok_or("`$` begins `${PROPERTY}`; write `$$` for a dollar sign")?;
            parts.push(Part::Property(segments(path)?));
            rest = behind;
        }
        push_text(&mut parts, rest);
        Ok(Self(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn segments(path: &str) -> Result<Vec<String>, &'static str> {
    let segments: Vec<_> = match path.strip_prefix(REQUEST_HEADERS) {
        Some(name) => vec!["request".to_owned(), "headers".to_owned(), name.to_ascii_lowercase()],
        None => path.split('.').map(str::to_owned).collect(),
    };
    let is_empty = segments.iter().any(String::is_empty);
    if is_empty {
        Err("a property has a name in each part of its path, such as `request.path`")
    } else {
        Ok(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(path: &[&str]) -> Part {
        Part::Property(path.iter().map(|segment| (*segment).to_owned()).collect())
    }

    fn text(text: &str) -> Part {
        Part::Text(text.to_owned())
    }

    #[test]
    fn templates_have_text_and_properties() {
        for (template, expected) in [
            ("", vec![]),
            ("a", vec![text("a")]),
            ("${request.path}", vec![property(&["request", "path"])]),
            ("a${route_name}b$$c", vec![text("a"), property(&["route_name"]), text("b$c")]),
            ("${request.headers.X-A.b}", vec![property(&["request", "headers", "x-a.b"])]),
        ] {
            assert_eq!(Template::try_from(template.to_owned()).unwrap().0, expected, "{template}");
        }
        for wrong in ["$", "a$b", "${", "${a", "${}", "${a..b}", "${request.headers.}"] {
            assert!(Template::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
