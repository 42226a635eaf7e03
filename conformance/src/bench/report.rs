//! The result: medians over rounds, as a table for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::leg::Leg;
use super::load::Syscalls;
use super::peer::Kind;
use super::process::Cores;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Length of a leg.
    seconds: f64,
    /// Connections that the load kept open.
    connections: u16,
    /// Who ran where.
    cores: Cores,
    /// What each peer says about its version.
    pub(crate) versions: BTreeMap<Kind, String>,
    /// Peers that were asked for and are not installed.
    pub(crate) missing: Vec<Kind>,
    /// In the order in which they ran.
    pub(crate) legs: Vec<Leg>,
    /// Per request; empty if not asked for.
    pub(crate) syscalls: BTreeMap<Kind, Syscalls>,
}

/// What JSON has besides the report's own fields.
#[derive(Serialize)]
struct Json<'a> {
    /// Medians of CPU time per request, microseconds.
    cpu: BTreeMap<Kind, f64>,
    /// Against HAProxy.
    ratios: BTreeMap<Kind, Ratio>,
    #[serde(flatten)]
    report: &'a Report,
}

/// A peer's CPU time per request over HAProxy's in the same round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The figure that counts.
    pub(crate) median: f64,
    /// The lowest round.
    lowest: f64,
    /// The highest round.
    highest: f64,
}

impl Report {
    /// A report without legs.
    pub(crate) fn new(seconds: f64, connections: u16, cores: Cores) -> Self {
        Self {
            seconds,
            connections,
            cores,
            versions: BTreeMap::new(),
            missing: Vec::new(),
            legs: Vec::new(),
            syscalls: BTreeMap::new(),
        }
    }

    /// Whether any leg does not count.
    pub(crate) fn is_void(&self) -> bool {
        self.legs.iter().any(|leg| !leg.void.is_empty())
    }

    /// A peer's ratio to HAProxy; none without a round in which both legs count.
    pub(crate) fn ratio(&self, kind: Kind) -> Option<Ratio> {
        let base: BTreeMap<u32, f64> = self.good(Kind::Haproxy).map(|leg| (leg.round, leg.cpu())).collect();
        let ratios: Vec<f64> =
            self.good(kind).filter_map(|leg| Some(leg.cpu() / base.get(&leg.round)?)).collect();
        Some(Ratio {
            median: median(&ratios)?,
            lowest: ratios.iter().copied().reduce(f64::min)?,
            highest: ratios.iter().copied().reduce(f64::max)?,
        })
    }

    /// Every leg and the medians, as JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let kinds = || self.versions.keys().copied();
        let cpu = |kind| median(&self.good(kind).map(Leg::cpu).collect::<Vec<_>>());
        serde_json::to_string_pretty(&Json {
            cpu: kinds().filter_map(|kind| Some((kind, cpu(kind)?))).collect(),
            ratios: kinds().filter_map(|kind| Some((kind, self.ratio(kind)?))).collect(),
            report: self,
        })
    }

    /// The table, and a line for each void leg and each missing peer.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { seconds, connections, cores, .. } = self;
        let rounds = self.legs.iter().map(|leg| leg.round).max().unwrap_or(0);
        let (proxy, load) = (cores.proxy, cores.load);
        writeln!(
            out,
            "CPU per request: {rounds} interleaved rounds of {seconds} s, {connections} connections, \
             proxy on core {proxy}, load and backend on core {load}; medians of rounds"
        )?;
        writeln!(
            out,
            "| peer | µs | user | sys | ratio to HAProxy (rounds) | requests/s | reuse | syscalls |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for &kind in self.versions.keys() {
            self.write_row(out, kind)?;
        }
        for (kind, calls) in &self.syscalls {
            let mut names: Vec<_> = calls.by_name.iter().filter(|(_, calls)| **calls >= 0.005).collect();
            names.sort_by(|a, b| b.1.total_cmp(a.1));
            let names: Vec<_> = names.into_iter().map(|(name, calls)| format!("{name} {calls:.2}")).collect();
            writeln!(out, "{kind} calls per request: {}", names.join(", "))?;
        }
        for (kind, version) in &self.versions {
            writeln!(out, "{kind}: {version}")?;
        }
        for kind in &self.missing {
            writeln!(out, "SKIPPED: bench peer {kind}: the program is not installed")?;
        }
        for leg in self.legs.iter().filter(|leg| !leg.void.is_empty()) {
            writeln!(out, "VOID: {} in round {}: {}", leg.peer, leg.round, leg.void.join("; "))?;
        }
        Ok(())
    }

    fn write_row(&self, out: &mut String, kind: Kind) -> std::fmt::Result {
        let ratio = match self.ratio(kind) {
            Some(Ratio { median, lowest, highest }) => format!("{median:.3} ({lowest:.2}–{highest:.2})"),
            None => "–".to_owned(),
        };
        let syscalls =
            self.syscalls.get(&kind).map_or_else(|| "–".to_owned(), |calls| format!("{:.2}", calls.total));
        let figure = |of: fn(&Leg) -> f64| median(&self.good(kind).map(of).collect::<Vec<_>>());
        let cell = |value: Option<f64>, places: usize| match value {
            Some(value) => format!("{value:.places$}"),
            None => "–".to_owned(),
        };
        let (total, user, system) = (figure(Leg::cpu), figure(|leg| leg.user), figure(|leg| leg.system));
        writeln!(
            out,
            "| {kind} | {} | {} | {} | {ratio} | {} | {} | {syscalls} |",
            cell(total, 2),
            cell(user, 2),
            cell(system, 2),
            cell(figure(|leg| leg.rate), 0),
            cell(figure(|leg| leg.reuse), 4),
        )
    }

    /// The legs of a peer that count.
    fn good(&self, kind: Kind) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(move |leg| leg.peer == kind && leg.void.is_empty())
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(lower.midpoint(upper))
}

#[cfg(test)]
mod tests;
