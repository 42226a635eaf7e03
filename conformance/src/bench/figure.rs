//! One row of the summary: a quantity, the value of each peer, and the target.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::peer::PeerKind;

/// Median, minimum and maximum of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// The median, which is compared with the target.
    pub(crate) median: f64,
    /// The lowest round.
    pub(crate) lowest: f64,
    /// The highest round.
    pub(crate) highest: f64,
}

impl Spread {
    /// Returns the spread of these rounds, or `None` without rounds.
    pub(crate) fn from_rounds(rounds: &[f64]) -> Option<Self> {
        Some(Self {
            median: median(rounds)?,
            lowest: rounds.iter().copied().reduce(f64::min)?,
            highest: rounds.iter().copied().reduce(f64::max)?,
        })
    }
}

impl fmt::Display for Spread {
    /// Writes as many decimals as the formatter's precision, by default two.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, lowest, highest } = self;
        let places = f.precision().unwrap_or(2);
        write!(f, "{median:.places$} ({lowest:.places$}–{highest:.places$})")
    }
}

/// A target of DESIGN §8.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    /// Upper limit of the gateway's ratio.
    RatioAtMost(f64),
    /// Upper limit of the gateway's figure.
    AtMost(f64),
    /// Lower limit of the gateway's figure.
    AtLeast(f64),
    /// No target. The figure explains other figures.
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

/// A measured quantity and its target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// The quantity.
    pub(crate) what: String,
    /// The unit.
    pub(crate) unit: &'static str,
    /// The value of each peer.
    pub(crate) values: BTreeMap<PeerKind, Spread>,
    /// The gateway's ratio within each round, to HAProxy or to the object that `what` names.
    pub(crate) ratio: Option<Spread>,
    /// The target.
    pub(crate) target: Goal,
}

impl Figure {
    /// Returns whether the target is met, or `None` if there is no target or no figure.
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

/// Returns the summary as a Markdown table of medians with the lowest and highest round.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | unit | nginx | HAProxy | HAProxy, splice | Envoy | gateway | ratio (rounds) | target | met |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for figure in figures {
        let cells =
            [PeerKind::Nginx, PeerKind::Haproxy, PeerKind::HaproxySplice, PeerKind::Envoy, PeerKind::Gateway]
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

/// Returns the number of decimals: four for shares near 1, none for large numbers.
fn places(value: Spread) -> String {
    match value.median.abs() {
        size if size > 1000.0 => format!("{value:.0}"),
        size if size > 1.5 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Returns the middle value, or the mean of the two middle values.
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
    fn median_of_even_count_is_the_mean_of_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn target_compares_ratio_or_own_figure() {
        assert_eq!(figure(9.0, Some(0.9), Goal::RatioAtMost(0.85)).is_met(), Some(false));
        assert_eq!(figure(9.0, Some(0.8), Goal::RatioAtMost(0.85)).is_met(), Some(true));
        assert_eq!(figure(9.0, None, Goal::RatioAtMost(0.85)).is_met(), None);
        assert_eq!(figure(2.0, None, Goal::AtMost(2.0)).is_met(), Some(true));
        assert_eq!(figure(0.98, None, Goal::AtLeast(0.99)).is_met(), Some(false));
    }

    #[test]
    fn table_marks_missed_targets() {
        let text = table(&[figure(9.0, Some(0.9), Goal::RatioAtMost(0.85))]);
        let row =
            "| something | µs | – | – | – | – | 9.00 (9.00–9.00) | 0.900 (0.900–0.900) | ≤ 0.85 × | NO |";
        assert!(text.contains(row), "{text}");
    }
}
