//! Everything that can be wrong with a configuration. Each error names the file and line, the variable or the flag.

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

use super::origin::Origin;

/// Why a configuration is unusable. Lists all mistakes, one on each line.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used:{}", Lines(.0))]
pub struct ConfigError(pub Vec<Mistake>);

/// One mistake in a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Mistake {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// The file is not YAML.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// The line, if the parser reports one.
        line: Option<u64>,
        /// The parser's message.
        message: String,
    },
    /// The file has several YAML documents.
    #[error("{}: one document is expected, not {count}", path.display())]
    Documents {
        /// The file.
        path: PathBuf,
        /// The number of documents.
        count: usize,
    },
    /// The file, or a section of it, is not a map.
    #[error("{origin}: {what} must be a map")]
    NotAMap {
        /// Where it is.
        origin: Origin,
        /// The section, or `the file`.
        what: String,
    },
    /// A key has a map, or no value.
    #[error("{origin}: {key} must be one value or a list of values")]
    NotAValue {
        /// Where it is.
        origin: Origin,
        /// The key.
        key: String,
    },
    /// No setting has this key.
    #[error("{origin}: unknown key {key:?}{}", DidYouMean(.similar))]
    UnknownKey {
        /// Where it is.
        origin: Origin,
        /// The key.
        key: String,
        /// A key that may be meant.
        similar: Option<String>,
    },
    /// An environment variable has the prefix of a section, but no setting has this variable.
    #[error("{name}: no setting has this variable{}", DidYouMean(.similar))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// A variable that may be meant.
        similar: Option<String>,
    },
    /// A setting cannot have this value.
    #[error("{origin}: {key}: {error}")]
    Value {
        /// Where it is.
        origin: Origin,
        /// The key.
        key: String,
        /// The cause.
        error: ValueError,
    },
    /// Two settings contradict each other.
    #[error("{small} must not be larger than {large}")]
    Order {
        /// The setting that must not be larger.
        small: Shown,
        /// The other setting.
        large: Shown,
    },
}

/// A setting with its value and the source of the value. Prints as `drain.delay (5s, default)`.
#[derive(Debug)]
pub struct Shown {
    /// The key.
    pub key: &'static str,
    /// The value, as the file has it.
    pub value: String,
    /// The source of the value.
    pub origin: Origin,
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, origin } = self;
        write!(f, "{key} ({value}, {origin})")
    }
}

/// Why a text is not a value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The type of the setting does not parse the text.
    #[error("{text:?} cannot be read: {cause}")]
    Unreadable {
        /// The text.
        text: String,
        /// The parser's message.
        cause: String,
    },
    /// The text is none of the words of the setting.
    #[error("{words} is expected, not {text:?}")]
    NotAWord {
        /// All words.
        words: String,
        /// The text.
        text: String,
    },
    /// The value is out of bounds.
    #[error("{value} is not between {min} and {max}")]
    OutOfBounds {
        /// The value.
        value: String,
        /// The smallest value.
        min: String,
        /// The largest value.
        max: String,
    },
    /// The text is not the path of a request.
    #[error("a path such as /health is expected, without query, not {0:?}")]
    NotAPath(String),
    /// A list has an empty element.
    #[error("an empty name is among {0:?}")]
    EmptyName(String),
    /// The text is not an IP network.
    #[error("networks such as 10.0.0.0/8 are expected, not {0:?}")]
    NotANetwork(String),
    /// The text is not a whole number.
    #[error("a whole number is expected, not {0:?}")]
    NotANumber(String),
    /// The text is not a number of bytes.
    #[error("a size such as 1048576 or 32Ki is expected, not {0:?}")]
    NotASize(String),
    /// The text is not a duration.
    #[error("a duration such as 800ms, 10s or 1h30m is expected, not {0:?}")]
    NotADuration(String),
    /// A placeholder of the access log format does not exist.
    #[error("{{{name}}} is no field{}", DidYouMean(.similar))]
    UnknownField {
        /// The name between the braces.
        name: String,
        /// A field that may be meant.
        similar: Option<String>,
    },
    /// The access log format is malformed.
    #[error("{0}")]
    Format(String),
    /// The path does not begin with a slash.
    #[error("an absolute path is expected, not {0:?}")]
    NotAbsolute(String),
    /// The text is not the name of a Service.
    #[error("a Service is named as NAMESPACE/NAME")]
    NotAService,
    /// The text is neither an IP address nor a DNS name.
    #[error("an IP address or a DNS name is expected, not {0:?}")]
    NotAnAddress(String),
    /// The text is no name of an object.
    #[error("a name of lower-case letters, digits, '-' and '.' is expected, not {0:?}")]
    NotALease(String),
}

struct Lines<'a>(&'a [Mistake]);

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mistake| write!(f, "\n{mistake}"))
    }
}

struct DidYouMean<'a>(&'a Option<String>);

impl Display for DidYouMean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|similar| write!(f, "; did you mean {similar}?"))
    }
}
