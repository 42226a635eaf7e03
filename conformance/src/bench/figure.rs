//! One line of the summary: a quantity, what each peer came to, and the target it is held to.
//!
//! Not here: how it was measured.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::peer::PeerKind;

/// The median of rounds, between the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The figure that counts.
    pub(crate) median: f64,
    /// The lowest round.
    pub(crate) lowest: f64,
    /// The highest round.
    pub(crate) highest: f64,
}

impl Spread {
    /// Of these rounds; none without any.
    pub(crate) fn from_rounds(rounds: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(rounds)?,
            lowest: rounds.iter().copied().reduce(f64::min)?,
            highest: rounds.iter().copied().reduce(f64::max)?,
        })
    }
}

impl fmt::Display for Spread {
    /// With as many places as the formatter asks for, by default two; three for the median of small ones.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lowest, highest } = self;
        let places = f.precision().unwrap_or(2);
        write!(f, "{median:.places$} ({lowest:.places$}–{highest:.places$})")
    }
}

/// What DESIGN §8 asks for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    /// The gateway's ratio to what it is compared with is at most this.
    RatioAtMost(f64),
    /// The gateway's own figure is at most this.
    AtMost(f64),
    /// The gateway's own figure is at least this.
    AtLeast(f64),
    /// There is none: the figure says how others come about.
    None,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtMost(limit) => write!(f, "≤ {limit} ×"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
            Self::None => f.write_str("–"),
        }
    }
}

/// A quantity with its target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// The quantity.
    pub(crate) what: String,
    /// What it is counted in.
    pub(crate) unit: &'static str,
    /// What each peer came to.
    pub(crate) values: BTreeMap<PeerKind, Spread>,
    /// The gateway's ratio, taken within each round, to HAProxy or to what `what` names.
    pub(crate) ratio: Option<Spread>,
    /// What is asked for.
    pub(crate) target: Goal,
}

impl Figure {
    /// Whether the target is met; none if what it is about was not measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        let own = self.values.get(&PeerKind::Gateway).map(|spread| spread.median);
        match self.target {
            Goal::RatioAtMost(limit) => self.ratio.map(|ratio| ratio.median <= limit),
            Goal::AtMost(limit) => own.map(|own| own <= limit),
            Goal::AtLeast(limit) => own.map(|own| own >= limit),
            Goal::None => None,
        }
    }
}

/// The summary as a Markdown table; medians, with the lowest and highest round.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | unit | nginx | HAProxy | HAProxy, splice | gateway | ratio (rounds) | target | met |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let cells = [PeerKind::Nginx, PeerKind::Haproxy, PeerKind::HaproxySplice, PeerKind::Gateway]
            .map(|kind| figure.values.get(&kind).map_or_else(|| "–".to_owned(), |value| places(*value)));
        let ratio = figure.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}"));
        let met = match figure.is_met() {
            Some(true) => "yes",
            Some(false) => "NO",
            None => "–",
        };
        let (what, unit, target) = (&figure.what, figure.unit, figure.target);
        text += &format!("| {what} | {unit} | {} | {ratio} | {target} | {met} |\n", cells.join(" | "));
    }
    text
}

/// A share near 1 needs its fourth place, and a large number no place at all.
fn places(value: Spread) -> String {
    match value.median.abs() {
        size if size > 1000.0 => format!("{value:.0}"),
        size if size > 1.5 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The middle value, or the mean of the two middle ones.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(lower.midpoint(upper))
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Figure, Goal, PeerKind, Spread, median, table};

    fn figure(own: f64, ratio: Option<f64>, target: Goal) -> Figure {
        let spread = |value| Spread { median: value, lowest: value, highest: value };
        Figure {
            what: "something".to_owned(),
            unit: "µs",
            values: BTreeMap::from([(PeerKind::Gateway, spread(own))]),
            ratio: ratio.map(spread),
            target,
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_ones() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_target_is_about_the_ratio_or_the_own_figure() {
        assert_eq!(figure(9.0, Some(0.9), Goal::RatioAtMost(0.85)).is_met(), Some(false));
        assert_eq!(figure(9.0, Some(0.8), Goal::RatioAtMost(0.85)).is_met(), Some(true));
        assert_eq!(figure(9.0, None, Goal::RatioAtMost(0.85)).is_met(), None);
        assert_eq!(figure(2.0, None, Goal::AtMost(2.0)).is_met(), Some(true));
        assert_eq!(figure(0.98, None, Goal::AtLeast(0.99)).is_met(), Some(false));
    }

    #[test]
    fn a_missed_target_stands_out_in_the_table() {
        let text = table(&[figure(9.0, Some(0.9), Goal::RatioAtMost(0.85))]);
        let row = "| something | µs | – | – | – | 9.00 (9.00–9.00) | 0.900 (0.900–0.900) | ≤ 0.85 × | NO |";
        assert!(text.contains(row), "{text}");
    }
}
