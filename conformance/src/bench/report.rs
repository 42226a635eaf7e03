//! The result: rounds of each workload, and all figures with their targets, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

use super::case::{BenchCase, Workload};
use super::figure::{Figure, Goal, Spread, median, table};
use super::leg::Leg;
use super::peer::PeerKind;
use super::process::{self, Cores};
use super::wrk::Syscalls;
use crate::terminal::print_message;

/// All results of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The command line.
    pub(crate) command: String,
    /// Nominal length of a leg, in seconds.
    pub(crate) seconds: f64,
    /// Connections that wrk keeps open.
    pub(crate) connections: u16,
    /// The cores of proxy and load.
    pub(crate) cores: Cores,
    /// Version of each peer.
    pub(crate) versions: BTreeMap<PeerKind, String>,
    /// Measurements that were skipped because a program is missing.
    pub(crate) skipped: Vec<String>,
    /// CPU time under load.
    pub(crate) series: Vec<Series>,
    /// All figures with a target, including those of the series.
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    /// Records that a measurement is skipped, and prints the reason.
    pub(crate) fn skip(&mut self, reason: String) {
        print_message(&format!("SKIPPED: {reason}"));
        self.skipped.push(reason);
    }

    /// Returns the path of a program that a case needs, or records that the case is skipped.
    pub(crate) fn find_or_skip(&mut self, program: &str, case: BenchCase) -> Option<PathBuf> {
        let found = process::find(program);
        if found.is_none() {
            self.skip(format!("bench case {case:?}: {program} is not installed"));
        }
        found
    }

    /// Returns whether any leg is void.
    pub(crate) fn is_void(&self) -> bool {
        self.series.iter().any(Series::is_void)
    }

    /// Returns the report as JSON.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Returns the report as text: the tables, and one line for each void leg and skipped measurement.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { command, seconds, connections, cores, .. } = self;
        let (proxy, load) = (cores.proxy, cores.load);
        writeln!(out, "`{command}`")?;
        writeln!(
            out,
            "legs of {seconds} s, {connections} keep-alive connections, proxy on core {proxy}, load and backend on \
             core {load}; medians of interleaved rounds, in brackets the lowest and the highest"
        )?;
        for (kind, version) in &self.versions {
            writeln!(out, "{kind}: {version}")?;
        }
        for series in &self.series {
            series.write(out)?;
        }
        writeln!(out, "\n{}", table(&self.figures))?;
        for skipped in &self.skipped {
            writeln!(out, "SKIPPED: {skipped}")?;
        }
        Ok(())
    }
}

/// All legs of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    /// The workload.
    pub(crate) workload: Workload,
    /// Median CPU time in the workload's unit.
    cpu: BTreeMap<PeerKind, f64>,
    /// Ratio of CPU time to HAProxy's in the same round.
    ratios: BTreeMap<PeerKind, Spread>,
    /// Legs in the order of their runs.
    legs: Vec<Leg>,
    /// System calls per request. Empty unless requested.
    pub(crate) syscalls: BTreeMap<PeerKind, Syscalls>,
}

impl Series {
    /// Creates a series without legs.
    pub(crate) fn new(workload: Workload) -> Self {
        Self {
            workload,
            cpu: BTreeMap::new(),
            ratios: BTreeMap::new(),
            legs: Vec::new(),
            syscalls: BTreeMap::new(),
        }
    }

    /// Adds a leg.
    pub(crate) fn add(&mut self, leg: Leg) {
        self.legs.push(leg);
        for kind in self.kinds() {
            if let Some(cpu) = self.figure_of(kind, Leg::cpu) {
                self.cpu.insert(kind, cpu);
            }
            if let Some(ratio) = self.ratio_of(kind) {
                self.ratios.insert(kind, ratio);
            }
        }
    }

    /// Returns whether any leg is void.
    pub(crate) fn is_void(&self) -> bool {
        self.legs.iter().any(|leg| !leg.void.is_empty())
    }

    /// Returns a peer's ratio to HAProxy, or `None` without a round in which both legs count.
    pub(crate) fn ratio(&self, kind: PeerKind) -> Option<Spread> {
        self.ratios.get(&kind).copied()
    }

    /// Returns the row of the summary.
    pub(crate) fn figure(&self) -> Figure {
        let spread = |kind| Spread::from_rounds(&self.good(kind).map(Leg::cpu).collect::<Vec<_>>());
        Figure {
            what: self.workload.title().to_owned(),
            unit: self.workload.unit(),
            values: self.kinds().into_iter().filter_map(|kind| Some((kind, spread(kind)?))).collect(),
            ratio: self.ratio(PeerKind::Gateway),
            target: Goal::RatioAtMost(self.workload.max_ratio()),
        }
    }

    fn ratio_of(&self, kind: PeerKind) -> Option<Spread> {
        let base: BTreeMap<u32, f64> =
            self.good(PeerKind::Haproxy).map(|leg| (leg.round, leg.cpu())).collect();
        let ratios: Vec<f64> =
            self.good(kind).filter_map(|leg| Some(leg.cpu() / base.get(&leg.round)?)).collect();
        Spread::from_rounds(&ratios)
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let rounds = self.legs.iter().map(|leg| leg.round).max().unwrap_or(0);
        let (title, unit) = (self.workload.title(), self.workload.unit());
        writeln!(out, "\n{title}: {rounds} rounds")?;
        writeln!(
            out,
            "| peer | {unit} | user | sys | ratio to HAProxy (rounds) | per second | reuse | syscalls |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for kind in self.kinds() {
            self.write_row(out, kind)?;
        }
        for (kind, calls) in &self.syscalls {
            let mut names: Vec<_> = calls.by_name.iter().filter(|(_, calls)| **calls >= 0.005).collect();
            names.sort_by(|a, b| b.1.total_cmp(a.1));
            let names: Vec<_> = names.into_iter().map(|(name, calls)| format!("{name} {calls:.2}")).collect();
            writeln!(out, "{kind} calls per request: {}", names.join(", "))?;
        }
        for leg in self.legs.iter().filter(|leg| !leg.void.is_empty()) {
            writeln!(out, "VOID: {} in round {}: {}", leg.peer, leg.round, leg.void.join("; "))?;
        }
        Ok(())
    }

    fn write_row(&self, out: &mut String, kind: PeerKind) -> std::fmt::Result {
        let ratio = self.ratio(kind).map_or_else(
            || "–".to_owned(),
            |Spread { median, lowest, highest }| format!("{median:.3} ({lowest:.2}–{highest:.2})"),
        );
        let syscalls =
            self.syscalls.get(&kind).map_or_else(|| "–".to_owned(), |calls| format!("{:.2}", calls.total));
        let cell = |of: fn(&Leg) -> f64, places: usize| match self.figure_of(kind, of) {
            Some(value) => format!("{value:.places$}"),
            None => "–".to_owned(),
        };
        writeln!(
            out,
            "| {kind} | {} | {} | {} | {ratio} | {} | {} | {syscalls} |",
            cell(Leg::cpu, 2),
            cell(|leg| leg.user, 2),
            cell(|leg| leg.system, 2),
            cell(|leg| leg.rate, 0),
            cell(|leg| leg.reuse, 4),
        )
    }

    /// Returns the peers that have a leg.
    fn kinds(&self) -> Vec<PeerKind> {
        let mut kinds: Vec<_> = self.legs.iter().map(|leg| leg.peer).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    fn figure_of(&self, kind: PeerKind, of: fn(&Leg) -> f64) -> Option<f64> {
        median(&self.good(kind).map(of).collect::<Vec<_>>())
    }

    /// Returns the legs of a peer that count.
    fn good(&self, kind: PeerKind) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(move |leg| leg.peer == kind && leg.void.is_empty())
    }
}

#[cfg(test)]
mod tests;
