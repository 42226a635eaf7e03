//! Text styles for terminals.
//!
//! A [`Palette`] without colours renders nothing, so that callers have one code path. Not here: layout.

use std::fmt::{self, Display};
use std::io;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// The styles of one output. The default one is plain text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// Titles and table heads.
    pub heading: Style,
    /// The main fact of a line.
    pub strong: Style,
    /// Objects that the reader wrote.
    pub object: Style,
    /// Success.
    pub good: Style,
    /// Something to look at.
    pub warning: Style,
    /// Failure.
    pub bad: Style,
    /// Details.
    pub dim: Style,
}

impl Palette {
    /// Returns the sixteen-colour styles that all terminals with colours have.
    pub const fn coloured() -> Self {
        const fn colour(colour: AnsiColor) -> Style {
            colour.on_default()
        }
        Self {
            heading: Style::new().bold(),
            strong: Style::new().bold(),
            object: colour(AnsiColor::Cyan),
            good: colour(AnsiColor::Green),
            warning: colour(AnsiColor::Yellow),
            bad: colour(AnsiColor::Red),
            dim: Style::new().dimmed(),
        }
    }

    /// Returns colours if standard output is a terminal that shows them and `NO_COLOR` is unset; else plain text.
    pub fn for_stdout() -> Self {
        match AutoStream::choice(&io::stdout()) {
            ColorChoice::Never => Self::default(),
            ColorChoice::Auto | ColorChoice::Always | ColorChoice::AlwaysAnsi => Self::coloured(),
        }
    }

    /// Returns whether it renders colours.
    pub fn is_coloured(&self) -> bool {
        *self != Self::default()
    }

    /// Returns the style for an HTTP status.
    pub fn for_status(&self, status: u16) -> Style {
        match status {
            0..400 => self.good,
            400..500 => self.warning,
            500.. => self.bad,
        }
    }
}

/// Renders a value in a style.
pub fn paint(style: Style, value: impl Display) -> impl Display {
    fmt::from_fn(move |f| write!(f, "{style}{value}{style:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_palette_renders_text_only() {
        assert_eq!(paint(Palette::default().bad, "x").to_string(), "x");
        assert_eq!(paint(Palette::coloured().bad, "x").to_string(), "\u{1b}[31mx\u{1b}[0m");
    }
}
