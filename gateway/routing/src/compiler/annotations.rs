//! Judges the annotations of an Ingress by the ledger: which are notes, which close its paths, which leave it out.
//!
//! A class handler speaks for its own dialect: the ledger has no verdict on it then. Not here: the rows (`ledger`), and the
//! verdicts of handlers (`answered`).

use api::ForeignAnnotations;

use crate::handler::HandlerDefinition;
use crate::ledger;
use crate::ledger::LedgerRow;
use crate::ledger::LedgerVerdict;
use crate::object::Ingress;
use crate::object::Kind;
use crate::object::ObjectRef;
use crate::problem::Problem;
use crate::problem::Reason;

/// The settings of a class that decide about annotations.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnnotationRules<'a> {
    pub(super) foreign: ForeignAnnotations,
    /// Name of the IngressClassConfig. Empty if there is none.
    pub(super) config: &'a str,
    /// The class handler.
    pub(super) handler: Option<&'a HandlerDefinition>,
}

/// How the annotations of an Ingress affect its rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AnnotationEffect {
    /// The Ingress is served.
    #[default]
    None,
    /// All its paths get a 503.
    Closed,
    /// It is not served.
    LeftOut,
}

/// The effect of all annotations, and their Problems.
#[derive(Debug, Default)]
pub(super) struct AnnotationReport {
    pub(super) effect: AnnotationEffect,
    pub(super) problems: Vec<Problem>,
}

pub(super) fn judge(ingress: &Ingress, rules: AnnotationRules<'_>) -> AnnotationReport {
    let mut report = AnnotationReport::default();
    let is_of_handler = |key: &str| rules.handler.is_some_and(|handler| handler.speaks_for(key));
    for annotation in ingress.annotations.iter().filter(|annotation| !is_of_handler(&annotation.key)) {
        let Some(row) = ledger::find(&annotation.key, &annotation.value) else { continue };
        let Some((effect, reason, message)) = judge_row(&row, rules, ingress) else { continue };
        report.effect = report.effect.max(effect);
        report.problems.push(Problem {
            object: ObjectRef { kind: Kind::Ingress, name: ingress.name.clone() },
            field: format!("metadata.annotations[{}]", annotation.key),
            reason,
            message,
        });
    }
    report
}

fn judge_row(
    row: &LedgerRow,
    rules: AnnotationRules<'_>,
    ingress: &Ingress,
) -> Option<(AnnotationEffect, Reason, String)> {
    let about = row.about;
    Some(match (row.verdict, rules.foreign) {
        (LedgerVerdict::Harmless, _) => return None,
        (LedgerVerdict::NotHonoured, _) => {
            (AnnotationEffect::None, Reason::AnnotationIgnored, format!("it has no effect here: {about}"))
        }
        (LedgerVerdict::Closes, ForeignAnnotations::Warn) => {
            let message = format!(
                "it has no effect here: {about}; the paths are served without it, because IngressClassConfig {} has \
                 foreignAnnotations: Warn",
                rules.config
            );
            (AnnotationEffect::None, Reason::AnnotationIgnored, message)
        }
        (LedgerVerdict::Closes, ForeignAnnotations::Close) => {
            let message = format!(
                "it is not honoured: {about}; all paths of this Ingress get a 503 until the annotation is removed, or \
                 \"foreignAnnotations: Warn\" is written in {}",
                config(rules, ingress)
            );
            (AnnotationEffect::Closed, Reason::AnnotationNotHonoured, message)
        }
        (LedgerVerdict::LeavesOut, _) => {
            let message = format!("it is not honoured: {about}; this Ingress is not served");
            (AnnotationEffect::LeftOut, Reason::AnnotationNotHonoured, message)
        }
    })
}

/// Names the IngressClassConfig of a class, or how to give it one.
fn config(rules: AnnotationRules<'_>, ingress: &Ingress) -> String {
    if rules.config.is_empty() {
        let class = ingress.class_name().map(|class| format!(" {class}")).unwrap_or_default();
        return format!("the IngressClassConfig that spec.parameters of IngressClass{class} names");
    }
    format!("IngressClassConfig {}", rules.config)
}
