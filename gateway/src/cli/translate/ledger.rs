//! The verdicts of handlers on all annotations, as values and as text for people.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use api::class_handler::AnnotationVerdict;
use routing::handler::{HandlerAnswer, HandlerOutcome};
use serde::Serialize;

/// All verdicts, by Ingress and host.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// One for each Ingress and host.
    pub entries: Vec<LedgerEntry>,
}

/// The verdicts on one Ingress on one host.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// The Ingress, as namespace/name.
    pub ingress: String,
    /// The host.
    pub host: String,
    /// One for each annotation.
    pub annotations: Vec<LedgerVerdict>,
    /// Why the handler failed. The paths are closed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// The verdict on one annotation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerVerdict {
    /// Key.
    pub annotation: String,
    /// Verdict.
    pub verdict: AnnotationVerdict,
    /// The handler's reason. Empty if it is exact.
    pub message: String,
    /// Whether paths get a 503.
    pub closes: bool,
}

impl Ledger {
    /// Returns the ledger of answers.
    pub fn new(answers: &[HandlerAnswer]) -> Self {
        let entries = answers.iter().map(|answer| {
            let (annotations, failure) = match &answer.outcome {
                HandlerOutcome::Failed(reason) => (Vec::new(), Some(reason.to_string())),
                HandlerOutcome::Translated(part) => {
                    let verdicts = part.results.iter().filter_map(|result| {
                        Some(LedgerVerdict {
                            annotation: result.annotation.clone()?,
                            verdict: result.verdict,
                            message: result.message.clone(),
                            closes: result.closes,
                        })
                    });
                    (verdicts.collect(), None)
                }
            };
            let (ingress, host) = (answer.ingress.to_string(), answer.host.to_string());
            LedgerEntry { ingress, host, annotations, failure }
        });
        Self { entries: entries.collect() }
    }

    /// Returns true if an annotation is refused.
    pub fn has_refusals(&self) -> bool {
        let mut verdicts = self.entries.iter().flat_map(|entry| &entry.annotations);
        verdicts.any(|verdict| verdict.closes || verdict.verdict == AnnotationVerdict::Refused)
    }
}

impl Display for Ledger {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<AnnotationVerdict, usize> = BTreeMap::new();
        for entry in &self.entries {
            writeln!(f, "Ingress {} on {}", entry.ingress, entry.host)?;
            if let Some(reason) = &entry.failure {
                writeln!(f, "  failed: {reason}")?;
            }
            for LedgerVerdict { annotation, verdict, message, closes } in &entry.annotations {
                *counts.entry(*verdict).or_default() += 1;
                write!(f, "  {:<8} {annotation}", word(*verdict))?;
                if !message.is_empty() {
                    write!(f, ": {}", message.escape_debug())?;
                }
                writeln!(f, "{}", if *closes { " (its paths get a 503)" } else { "" })?;
            }
        }
        let count = |verdict| counts.get(&verdict).copied().unwrap_or_default();
        writeln!(
            f,
            "{} Ingress hosts: {} annotations exact, {} with differences, {} ignored, {} refused",
            self.entries.len(),
            count(AnnotationVerdict::Exact),
            count(AnnotationVerdict::Differs),
            count(AnnotationVerdict::Ignored),
            count(AnnotationVerdict::Refused)
        )
    }
}

fn word(verdict: AnnotationVerdict) -> &'static str {
    match verdict {
        AnnotationVerdict::Exact => "exact",
        AnnotationVerdict::Differs => "differs",
        AnnotationVerdict::Ignored => "ignored",
        AnnotationVerdict::Refused => "refused",
    }
}
